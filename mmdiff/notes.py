"""What a generated file says of itself."""

from __future__ import annotations

from mmdiff import __version__
from mmdiff.data.folders import GENERATED
from mmdiff.sampling import Sampling


def generated(model: str, seed: int, sampling: Sampling) -> dict[str, str]:
    """Text entries: that the file is generated, by which model, seed and settings."""
    said = {
        "Software": f"mmdiff {__version__}",
        "Description": GENERATED,
        "Model": model,
        "Seed": str(seed),
        "Solver": sampling.solver,
        "Steps": str(sampling.steps),
        "Guidance": _guidance(sampling),
    }
    return said | ({"Spin": str(sampling.spin)} if sampling.spin else {})


def _guidance(sampling: Sampling) -> str:
    if sampling.guidance in (None, 1):
        return "none"
    low, high = sampling.interval
    where = "" if (low, high) == (0, 1) else f", at t from {low:g} to {high:g}"
    return f"{sampling.guidance:g}{where}"
