"""Bouncing digits and their sound: what touches is heard, and the judge hears and sees it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mmdiff
from mmdiff.bounce import FPS, LASTS, PACKING, RATE, SHAPE, Bounce, pitch, tones
from mmdiff.metrics.bounce import NEAR, heard_digit, onsets, sync, touches
from mmdiff.video.moving import MovingDigits, Way, bounced


@given(
    st.floats(0, 1), st.floats(-30, 30).filter(lambda v: abs(v) > 1), st.integers(4, 30)
)  # fmt: skip
def test_what_touches_is_at_a_wall(start: float, speed: float, room: int) -> None:
    way = Way(
        torch.ones(2, 2),
        torch.tensor([start * room], dtype=torch.float64),
        torch.tensor([speed], dtype=torch.float64),
        torch.tensor([float(room)], dtype=torch.float64),
    )
    times = torch.tensor(way.touches(2.0), dtype=torch.float64)
    assert ((times >= -1e-6) & (times <= 2 + 1e-6)).all()
    place = bounced(way.start, way.velocity, way.room, times)[:, 0]
    torch.testing.assert_close(torch.minimum(place, room - place), 0 * place, atol=1e-5, rtol=0)
    crossed = abs(speed) * 2.0 / room
    assert abs(len(times) - crossed) <= 1


def test_each_touch_sounds_at_the_pitch_of_the_digit() -> None:
    for digit in (0, 4, 9):
        wave = tones([0.25, 1.0], digit)[0]
        assert wave[: round(0.25 * RATE)].abs().max() == 0
        peak = torch.fft.rfft(wave).abs().argmax() / LASTS
        assert peak == pytest.approx(pitch(digit), abs=3)
        assert heard_digit(wave[None]) == digit


def test_the_judge_finds_what_is_there_and_no_more() -> None:
    blot = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    blot[0, 0, 4:24, 9:21] = 255
    moving = MovingDigits(blot, SHAPE, FPS)
    ways = [moving.way(0, 0, visit) for visit in range(20)]
    near, far = [], []
    for index, way in enumerate(ways):
        times = [time for time in way.touches(LASTS) if 0.05 < time < LASTS - NEAR]
        seen = touches(way.clip(SHAPE[1], FPS, SHAPE[2:]))
        heard = onsets(tones(times, index % 10))
        near += [min(abs(time - t) for t in found) for time in times for found in (seen, heard)]
        other = ways[index - 1].touches(LASTS)
        far += [min((abs(time - t) for t in seen), default=LASTS) for time in other]
    assert sorted(near)[int(0.95 * len(near))] < NEAR / 2
    assert sorted(far)[len(far) // 2] > NEAR


def test_video_and_sound_are_of_one_way(data_dir: Any) -> None:
    data = Bounce("test", data_dir)
    item, again = data.visit(5, 2), data.visit(5, 2)
    assert torch.equal(item["x"], again["x"])
    assert not torch.equal(item["x"], data.visit(5, 3)["x"])
    parts = data.packing.unpack(item["x"])
    way = data.moving.way(0, 5, 2)
    expected = tones(way.touches(LASTS), item["label"])
    torch.testing.assert_close(parts["sound"] / 4, expected)
    assert torch.equal(parts["video"], way.clip(SHAPE[1], FPS, SHAPE[2:]))


def test_real_clips_are_in_time_and_swapped_ones_are_not(data_dir: Any) -> None:
    data = Bounce("test", data_dir)
    parts = data.packing.unpack(torch.stack([data[index]["x"] for index in range(40)]))
    real = sync(parts["video"], parts["sound"])
    swapped = sync(parts["video"], parts["sound"].roll(1, 0))
    assert min(real.heard, real.seen) > 0.9
    assert real.pitch > 0.9
    assert max(swapped.heard, swapped.seen) < 0.5


def test_the_bundled_model_hears_what_it_sees() -> None:
    """Of digits that a bundled model draws, on ways that are known."""
    labels, how = torch.arange(40) % 10, mmdiff.DPMpp2MSDE(12)
    drawn = mmdiff.sample(mmdiff.load("digits"), (40, 1, 28, 28), how, label=labels, clip=(-1, 1))
    pixels = ((drawn + 1) * 127.5).to(torch.uint8)
    moving = MovingDigits(torch.where(pixels < 24, 0, pixels), SHAPE, FPS)
    video = torch.stack([moving.way(0, k, 0).clip(SHAPE[1], FPS, SHAPE[2:]) for k in range(40)])
    model: Any = mmdiff.load("bounce")
    sound = mmdiff.sample(
        model.view("sound", "video"), (40, *PACKING.shapes["sound"]), how,
        guidance=mmdiff.Guidance(2.0), video=video,
    )  # fmt: skip
    found, swapped = sync(video, sound), sync(video.roll(1, 0), sound)
    assert min(found.heard, found.seen, found.pitch) > 0.8
    assert max(swapped.heard, swapped.seen) < 0.5
