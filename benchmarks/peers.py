"""Access to a peer that does not import as it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any
from unittest.mock import Mock


def k_diffusion_sampling() -> Any:
    """`k_diffusion.sampling` alone: the package's own __init__ wants a dozen packages more.

    Raises:
        ImportError: k-diffusion is not installed.
    """
    if "k_diffusion" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None:
            raise ImportError("k-diffusion is not installed: pip install --no-deps k-diffusion")
        sys.modules["k_diffusion"] = importlib.util.module_from_spec(spec)  # and not executed
    names = ("torchdiffeq", "torchsde")
    stubs = {name: Mock() for name in names if importlib.util.find_spec(name) is None}
    sys.modules.update(stubs)
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        for name in stubs:  # others ask whether these exist
            del sys.modules[name]
