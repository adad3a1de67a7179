"""Which device to compute on."""

from __future__ import annotations

import torch

from mmdiff.errors import UserError


def choose(device: str | torch.device = "auto") -> torch.device:
    """Any device of torch, such as "cpu", "cuda:1" or "mps"; "auto" is CUDA, MPS or the CPU.

    Raises:
        UserError: a device that torch does not know, or that is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (AssertionError, ImportError, RuntimeError) as error:  # torch's are of many kinds
        raise UserError(f"there is no device {str(device)!r} here: use cpu or auto.") from error
    return chosen
