"""What the tests of training share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# `train_tiny` is a script to launch, and a module to import here.
sys.path.insert(0, str(Path(__file__).parent))

from train_tiny import trainer


@pytest.fixture(autouse=True, scope="session")
def _impatient() -> Iterator[None]:
    """Waiting for the disk at every save guards against power cuts, and takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("reference")
    trainer(out).fit()
    return out
