"""Networks that know nothing of diffusion."""

from mmdiff.nn.ema import EMA
from mmdiff.nn.unet import UNet

__all__ = ["EMA", "UNet"]
