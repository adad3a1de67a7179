"""Digits that move as billiard balls do, and are what they were."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdiff.metrics.video import centred, centres
from mmdiff.video.moving import MovingDigits, bounced, cropped, drawn


def digits() -> torch.Tensor:
    """Two blots of different sizes."""
    x = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    x[0, 0, 4:24, 9:19] = 200
    x[1, 0, 10:20, 6:22] = torch.arange(10, dtype=torch.uint8)[:, None] * 20 + 40
    return x


@given(
    st.floats(0, 1), st.floats(-30, 30), st.integers(4, 30), st.integers(2, 40), st.floats(5, 30)
)
def test_walls_reflect(start: float, velocity: float, room: int, frames: int, fps: float) -> None:
    time = torch.arange(frames) / fps
    place, speed = torch.tensor([start * room], dtype=torch.float64), torch.tensor([velocity])
    way = bounced(place, speed, torch.tensor([room]), time)[:, 0]
    at, now, expected = float(place), velocity / fps, []
    for _ in range(frames):  # a ball, step by step
        expected.append(at)
        at += now
        while not 0 <= at <= room:
            at, now = (-at if at < 0 else 2 * room - at), -now
    torch.testing.assert_close(way, torch.tensor(expected).double(), atol=1e-3, rtol=0)


def test_whole_pixels_are_exact() -> None:
    ink = cropped(digits()[1, 0])
    assert ink.shape == (10, 16)
    x = drawn(ink, torch.tensor([[3.0, 5.0], [0.0, 0.0]]), (24, 32))
    expected = torch.full((2, 24, 32), -1.0)
    expected[0, 3:13, 5:21] = expected[1, :10, :16] = ink / 127.5 - 1
    torch.testing.assert_close(x[0], expected, atol=1e-5, rtol=0)


def test_between_pixels_the_centre_of_mass_moves_with_the_place() -> None:
    ink = cropped(digits()[0, 0])
    places = torch.tensor([[2.0, 3.0], [2.25, 3.0], [2.25, 3.5], [2.75, 3.9]])
    found = centres(drawn(ink, places, (32, 32))[None])[0]
    torch.testing.assert_close(found - found[0], places - places[0], atol=0.06, rtol=0)


@given(st.integers(24, 48), st.integers(24, 48), st.integers(1, 20))
def test_any_shape_and_all_of_the_ink(height: int, width: int, frames: int) -> None:
    data = MovingDigits(digits(), (1, frames, height, width), 10)
    for index in range(2):
        x = data.clip(3, index, 0)
        assert x.shape == (1, frames, height, width)
        assert -1 <= x.min() <= x.max() <= 1
        mass = ((x + 1) / 2).sum((0, 2, 3)) / (digits()[index] / 255).sum()
        torch.testing.assert_close(mass, torch.ones(frames), atol=0.06, rtol=0)


def test_a_clip_is_a_function_of_seed_index_and_visit() -> None:
    data = MovingDigits(digits(), (1, 16, 32, 32), 10)
    first = data.clip(0, 0, 0)
    assert torch.equal(first, MovingDigits(digits(), (1, 16, 32, 32), 10).clip(0, 0, 0))
    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(first, data.clip(*other))
    longer = MovingDigits(digits(), (1, 20, 32, 32), 10).clip(0, 0, 0)
    torch.testing.assert_close(longer[:, :16], first)


def test_a_judge_of_digits_gets_them_as_they_were() -> None:
    """Centred again, whatever the way: MNIST has the centre of mass in the middle."""
    still = digits()[:, :, None].float() / 127.5 - 1
    want = centred(still, centres(still))
    x = MovingDigits(digits(), (1, 6, 32, 32), 10).clip(0, 0, 0)[None]
    crops = centred(x, centres(x))
    assert crops.shape == (6, 1, 28, 28)
    assert (crops - want[:1]).abs().mean() < 0.03
