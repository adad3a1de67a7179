"""The audio backend: front ends, networks, data sets, files and pictures of sound."""

from mmdiff.audio.frontends import STFT, FrontEnd, LearnedConv, Patch, Raw
from mmdiff.audio.mdct import MDCT
from mmdiff.audio.unet_v0 import UNetV0

__all__ = ["MDCT", "STFT", "FrontEnd", "LearnedConv", "Patch", "Raw", "UNetV0"]
