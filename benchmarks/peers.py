"""Access to a peer that does not import as it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


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
    stubs = [
        name
        for name in ("torchdiffeq", "torchsde")
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]
    for name in stubs:
        sys.modules[name] = ModuleType(name)
    if "torchdiffeq" in stubs:
        sys.modules["torchdiffeq"].odeint = None  # type: ignore[attr-defined]
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        for name in stubs:  # others ask whether these exist
            del sys.modules[name]
