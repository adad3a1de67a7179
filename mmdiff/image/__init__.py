"""The image backend: networks, data sets and pictures."""

from mmdiff.image.diffunet import DiffUNet

__all__ = ["DiffUNet"]
