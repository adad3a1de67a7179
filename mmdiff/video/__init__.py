"""The video backend: data sets, clips and films."""

from mmdiff.video.modality import Video

__all__ = ["Video"]
