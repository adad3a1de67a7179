"""Which device is computed on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmdiff import devices
from mmdiff.devices import choose
from mmdiff.errors import UserError


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")])
def test_any_device_of_torch(device: Any) -> None:
    chosen = choose(device)
    assert chosen == torch.device(device)
    assert torch.zeros(2, device=chosen).tolist() == [0, 0]


@pytest.mark.parametrize("device", ["banana", "", "cpu:x", "gpu", "meta", "hpu", "vulkan"])
def test_unknown_ones_are_refused(device: str) -> None:
    with pytest.raises(UserError) as caught:
        choose(device)
    assert str(caught.value) == f"there is no device {device!r} here: use cpu or auto."


@pytest.mark.parametrize("error", [AssertionError, RuntimeError, NotImplementedError])
def test_so_is_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    """As torch says it: without CUDA, without a driver, without a kernel."""

    def refuse(*size: int, device: torch.device) -> None:
        raise error(f"Torch not compiled with {device}")

    monkeypatch.setattr(devices.torch, "zeros", refuse)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(UserError, match=f"no device '{device}' here: use cpu or auto"):
            choose(device)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose() == torch.device(kind)
