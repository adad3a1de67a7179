"""Do sound and picture of bouncing digits go together: is each touch heard when it is seen?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor

from mmdiff.bounce import FPS, LASTS, PACKING, RATE, SCALE, Bounce, pitch
from mmdiff.data.turns import evenly
from mmdiff.errors import UserError
from mmdiff.joint import Joint
from mmdiff.metrics.joint import Drawing
from mmdiff.metrics.judge import load_judge
from mmdiff.metrics.video import centres, judged
from mmdiff.sampling import Sampling
from mmdiff.video import moving

NEAR = 1 / FPS  # seconds: a frame

_HOP = 32  # samples: 4 ms
_BANDS, _HEARD = 40, 40.0  # mel bands; decibels below the loudest
_TONE = RATE // 8  # samples
_SPEEDS, _STARTS = torch.linspace(-25, 25, 101), 24  # pixels a second; from wall to wall
_STILL = 3.0  # pixels a second: what is slower along an axis tells no touch


@dataclass(frozen=True)
class Sync:
    """How often what is seen is heard, of `count` clips.

    Attributes:
        heard: share of the touches in the picture with an onset at most a frame away.
        seen: share of the onsets with a touch at most a frame away.
        pitch: share of the clips whose tone is the digit's that the judge reads.
    """

    count: int
    heard: float
    seen: float
    pitch: float


@dataclass(frozen=True)
class BounceReport:
    """What `evaluate_bounce` found: of clips that are made, of real ones, and of both views."""

    together: Sync
    real: Sync
    sound_from_video: Sync
    video_from_sound: Sync

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """A few lines for people."""
        names = {
            "made together": self.together,
            "sound for a video": self.sound_from_video,
            "video for a sound": self.video_from_sound,
            "real clips": self.real,
        }
        lines = ["                    touches heard  tones seen  pitch right"]
        lines += [
            f"{name:<20}{s.heard:13.1%}{s.seen:12.1%}{s.pitch:13.1%}" for name, s in names.items()
        ]
        return "\n".join(lines)


def touches(video: Tensor) -> list[float]:
    """When the digit in a clip [1, T, H, W] touches a wall, in seconds.

    Of the centre of the ink a triangle wave is fitted along each axis, in the room that the ink
    leaves: of all speeds and starts on a grid, that with the least squares.
    """
    place = centres(video[None])[0]  # [T, 2]
    ink = video[0] > -0.5
    time = torch.arange(len(place)) / FPS
    found: list[float] = []
    for axis, side in enumerate(video.shape[2:]):
        extent = ink.any(2 - axis).sum(1).float().median()
        room = (side - extent).clamp(min=1.0)
        found += _reversals(place[:, axis], time, room)
    return sorted(found)


def _reversals(place: Tensor, time: Tensor, room: Tensor) -> list[float]:
    starts = torch.linspace(0, 1, _STARTS) * room
    speed, start = torch.cartesian_prod(_SPEEDS, starts).unbind(1)
    # [N, T], contiguous: sums in another order would choose another of two fits that are as good.
    wave = moving.bounced(start, speed, room, time).T.contiguous()
    off = (place - wave).mean(1, keepdim=True)
    best = int((place - wave - off).square().sum(1).argmin())
    if speed[best].abs() < _STILL:
        return []
    return moving.touches(start[best : best + 1], speed[best : best + 1], room[None], LASTS)


def onsets(sound: Tensor) -> list[float]:
    """When tones begin in a sound [1, L] in [-1, 1], in seconds (librosa's spectral flux).

    In decibels, of which what lies far below the loudest is none: faint noise begins all the time.
    """
    power = librosa.feature.melspectrogram(
        y=sound[0].numpy(), sr=RATE, n_fft=256, hop_length=_HOP, n_mels=_BANDS
    )
    heard = librosa.power_to_db(power, ref=np.max, top_db=_HEARD)
    strength = librosa.onset.onset_strength(S=heard, sr=RATE, n_fft=256, hop_length=_HOP)
    found = librosa.onset.onset_detect(
        onset_envelope=strength, sr=RATE, hop_length=_HOP, delta=0.15, units="time"
    )
    return [float(t) for t in found]


def heard_digit(sound: Tensor) -> int:
    """The digit whose tone is the strongest in a sound [1, L]: over all windows of an eighth s."""
    windows = sound[0].unfold(0, _TONE, _TONE // 4) * torch.hann_window(_TONE)
    phase = 2 * torch.pi * torch.arange(_TONE) / RATE
    waves = torch.tensor([pitch(digit) for digit in range(10)])[:, None] * phase
    found = windows.to(torch.complex64) @ torch.polar(torch.ones_like(waves), waves).T
    return int(found.abs().square().sum(0).argmax())


def sync(video: Tensor, sound: Tensor) -> Sync:
    """Of videos [N, 1, T, H, W] and their sounds [N, 1, L], in the units of the data."""
    judge = load_judge()
    read = judged(video, judge)[1].mean(1).argmax(1)
    pairs = [
        (touches(v), onsets((s / SCALE).clamp(-1, 1)), heard_digit(s))
        for v, s in zip(video, sound, strict=True)
    ]
    right = [digit == int(one) for (_, _, digit), one in zip(pairs, read, strict=True)]
    return Sync(
        len(video),
        _near([(seen, heard) for seen, heard, _ in pairs]),
        _near([(heard, seen) for seen, heard, _ in pairs]),
        sum(right) / len(right),
    )


def _near(pairs: list[tuple[list[float], list[float]]]) -> float:
    """The share of the first times that have one of the second at most a frame away.

    What is after the last frame cannot be seen, and is not asked for.
    """
    last = LASTS - NEAR
    near = [
        any(abs(a - b) <= NEAR for b in second)
        for first, second in pairs
        for a in first
        if a <= last
    ]
    return sum(near) / len(near) if near else float("nan")


def evaluate_bounce(
    model: Joint,
    sampling: Sampling,
    count: int = 300,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    progress: bool = True,
) -> BounceReport:
    """Draw `count` clips with their sound, and each from the other of held-out clips.

    Raises:
        UserError: a model of something else; data that are missing.
    """
    if model.packing != PACKING:
        raise UserError("only a joint model of recipes/bounce.py is judged by its bounces.")
    data = Bounce("test", data_dir)
    rows = evenly(len(data), count)
    real = PACKING.unpack(torch.stack([data[index]["x"] for index in rows]))

    how = Drawing(count, sampling, seed, batch, progress)
    both = how.pairs(model)
    sound = how.given(model, "sound", video=real["video"])
    video = how.given(model, "video", sound=real["sound"])
    return BounceReport(
        sync(both["video"], both["sound"]),
        sync(real["video"], real["sound"]),
        sync(real["video"], sound),
        sync(video, real["sound"]),
    )
