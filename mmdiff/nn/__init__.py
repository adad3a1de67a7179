"""Networks, their blocks, and codecs; they know nothing of diffusion."""

from mmdiff.nn.bridge import Bridge
from mmdiff.nn.codecs import Patch, Raw
from mmdiff.nn.ema import EMA
from mmdiff.nn.frontends import FrontEnd
from mmdiff.nn.gated import Gated
from mmdiff.nn.learned import LearnedConv
from mmdiff.nn.magnitudes import Magnitudes
from mmdiff.nn.mdct import MDCT
from mmdiff.nn.residual import Residual
from mmdiff.nn.shared import Ends, SharedTrunk
from mmdiff.nn.stft import STFT
from mmdiff.nn.time_frequency import TimeFrequency
from mmdiff.nn.transformer import Transformer
from mmdiff.nn.unet import UNet

__all__ = [
    "EMA",
    "MDCT",
    "STFT",
    "Bridge",
    "Ends",
    "FrontEnd",
    "Gated",
    "LearnedConv",
    "Magnitudes",
    "Patch",
    "Raw",
    "Residual",
    "SharedTrunk",
    "TimeFrequency",
    "Transformer",
    "UNet",
]
