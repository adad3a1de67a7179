"""Networks, their blocks, and codecs; they know nothing of diffusion."""

from mmdiff.nn.codecs import Patch, Raw
from mmdiff.nn.ema import EMA
from mmdiff.nn.frontends import FrontEnd
from mmdiff.nn.learned import LearnedConv
from mmdiff.nn.mdct import MDCT
from mmdiff.nn.stft import STFT
from mmdiff.nn.unet import UNet

__all__ = ["EMA", "MDCT", "STFT", "FrontEnd", "LearnedConv", "Patch", "Raw", "UNet"]
