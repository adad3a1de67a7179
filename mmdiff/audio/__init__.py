"""The audio backend: networks, data sets, files and pictures of sound."""

from mmdiff.audio.modality import Sound
from mmdiff.audio.unet_v0 import UNetV0

__all__ = ["Sound", "UNetV0"]
