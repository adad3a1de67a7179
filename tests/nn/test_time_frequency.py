import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmdiff.nn import TimeFrequency


def lively(net: TimeFrequency) -> TimeFrequency:
    """With a last layer that is not zero."""
    nn.init.normal_(net.network.head.weight, std=0.1)  # type: ignore[arg-type]
    return net


@given(
    st.integers(1, 2), st.integers(4, 40), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9)
)
def test_any_spectrum_comes_back(
    signals: int, bins: int, outputs: int, group: int, frames: int
) -> None:
    """The bins that groups leave over come out as 0, and not told is silence."""
    net = lively(TimeFrequency(signals, bins, outputs, (8, 8), group=group))
    x, t = torch.randn(2, signals * 2 * bins, frames), torch.ones(2)
    y = net(x, t, source=torch.full_like(x, torch.nan))
    assert y.shape == (2, outputs * signals * 2 * bins, frames)
    spectra = y.reshape(2, -1, bins, frames)
    whole = bins // group * group
    assert (spectra[:, :, whole:] == 0).all()
    assert (spectra[:, :, :whole] != 0).all()
    assert torch.equal(y, net(x, t))
    assert torch.equal(y, net(x, t, source=torch.zeros_like(x)))


def test_what_is_higher_comes_out_higher() -> None:
    """But for the channels that say how high it is: by one position, away from both ends."""
    net = lively(TimeFrequency(1, 64, 1, (8,), group=4))
    x, source = (torch.zeros(2, 1, 2, 64, 5) for _ in range(2))
    for spectrum in (x, source):
        spectrum[..., 24:40, :] = torch.randn(2, 1, 2, 16, 5)

    def made(by: int) -> torch.Tensor:
        moved = (v.roll(by, 3).flatten(1, 3) for v in (x, source))
        return net(next(moved), torch.ones(2), source=next(moved)).reshape(2, 2, 64, 5)[:, :, 16:48]

    def difference() -> float:
        return float((made(4)[:, :, 4:] - made(0)[:, :, :-4]).abs().max())

    as_placed = difference()
    nn.init.zeros_(net.places)
    assert difference() < 1e-5 < 1e-2 < as_placed


def test_a_group_of_no_bins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1 \.\. 9 bins, not 0"):
        TimeFrequency(1, 9, group=0)
