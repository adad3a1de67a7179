"""The audio backend: networks, data sets, files and pictures of sound; sound from sound."""

from mmdiff.audio.convert import enhance, upsample, vocode
from mmdiff.audio.mel import Mel
from mmdiff.audio.modality import Sound
from mmdiff.audio.paired import PairedSounds
from mmdiff.audio.tasks import Enhance, Upsample, Vocode
from mmdiff.audio.unet_v0 import UNetV0

__all__ = [
    "Enhance",
    "Mel",
    "PairedSounds",
    "Sound",
    "UNetV0",
    "Upsample",
    "Vocode",
    "enhance",
    "upsample",
    "vocode",
]
