"""Windows cover a sound once, and what is made in them is what the whole would give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mmdiff
from mmdiff.audio.windows import cut, grid, mirrored, noise_at, reach, windows
from mmdiff.conditions import Signal
from mmdiff.nn import MDCT, UNet

GRID, MARGIN = 8, 16


@settings(max_examples=100, deadline=None, derandomize=True)
@given(length=st.integers(1, 500), margins=st.integers(3, 9), seed=st.integers(0, 99))
def test_windows_keep_each_sample_once(length: int, margins: int, seed: int) -> None:
    size = margins * MARGIN
    found = list(windows(length, size, MARGIN, GRID))
    assert [w.first for w in found] == [0, *(w.last for w in found[:-1])]
    assert found[-1].last == length
    for w in found:
        assert w.start % GRID == w.stop % GRID == 0
        assert w.start == 0 or w.first - w.start >= MARGIN
        assert w.last == length or w.stop - w.last >= MARGIN
        assert w.stop - w.start == min(size, -(-length // GRID) * GRID)

    x = torch.arange(2 * length).view(2, length)
    whole = mirrored(x, -(-length // GRID) * GRID)
    torch.manual_seed(seed)
    sizes = torch.randint(0, 40, (length,)).tolist()
    parts, at = [], 0
    for part in sizes:
        parts.append(x[:, at : at + part])
        at += part
    held = list(cut([*parts, x[:, at:]], found))
    assert all(torch.equal(y, whole[:, w.start : w.stop]) for w, y in held)
    assert torch.equal(torch.cat([w.kept(y) for w, y in held], 1), x)


def test_a_mirror_at_the_end() -> None:
    x = torch.tensor([1, 2, 3])
    assert mirrored(x, 8).tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert mirrored(x, 2).tolist() == [1, 2]


def test_noise_is_of_the_place() -> None:
    """Normal numbers: the same wherever a window begins, others for each signal and seed."""
    home = torch.device("cpu")
    whole = noise_at(3, 2, (4, 5000), 100, home)
    assert torch.equal(noise_at(3, 2, (4, 50), 150, home), whole[..., 50:100])
    assert abs(float(whole.std()) - 1) < 0.02
    rows = torch.cat((whole.flatten(0, 1), noise_at(4, 2, (4, 5000), 100, home).flatten(0, 1)))
    assert float((torch.corrcoef(rows) - torch.eye(16)).abs().max()) < 0.08


def model(local: bool = True, levels: int = 3, codec: MDCT | None = None) -> mmdiff.Diffusion:
    net = UNet(1, 16, 16, (8,) * levels, 1, local=local, conditions={"mel": Signal(3, 16)})
    made = mmdiff.Diffusion(net, mmdiff.Linear(), "flow", codec=codec or MDCT(16))
    made.info = mmdiff.Info((1, 4096))
    return made.eval()


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_reach_is_how_far_a_change_is_seen(levels: int) -> None:
    """Of the network it is less than a grid more than what its convolutions add up to."""
    net = model(levels=levels)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    before = torch.zeros(1, 16, 2048)
    after, t = before.clone(), torch.full((1,), 0.5)
    after[..., 1024] = 1

    def seen(x: Tensor) -> Tensor:
        return net.backbone(x, t)

    with torch.no_grad():
        places = (seen(before) != seen(after)).any(1).nonzero()[:, 1]
    found = 16 * max(1024 - int(places.min()), int(places.max()) - 1024)
    assert found <= reach(net) <= found + 2 * 16 * 2**levels


def test_a_network_that_looks_everywhere_is_refused() -> None:
    with pytest.raises(ValueError, match="local=True"):
        reach(model(local=False))


def test_grids_hold_whole_frames_and_blocks() -> None:
    assert grid(model()) == 4096
    assert grid(model(codec=MDCT(20))) % 20 == 0
