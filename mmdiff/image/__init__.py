"""The image backend: networks, data sets and pictures."""

from mmdiff.image.diffunet import DiffUNet
from mmdiff.image.modality import Pictures

__all__ = ["DiffUNet", "Pictures"]
