"""A folder that holds a small MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """20 training digits and 10 of the test set: upright strokes of as many widths as classes."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 20), ("t10k", 10)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[5:23, 9 : 10 + label] = 255
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(head + values.tobytes())
    return tmp_path / "data"
