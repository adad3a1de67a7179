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
        "Guidance": "none" if sampling.guidance in (None, 1) else f"{sampling.guidance:g}",
    }
    return said | ({"Spin": str(sampling.spin)} if sampling.spin else {})
