"""The report on moving digits, held against clips whose answers are known beforehand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmdiff.checkpoints import Info
from mmdiff.conditions import Class
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.metrics import video
from mmdiff.metrics.batches import DIGITS
from mmdiff.metrics.video import (
    centred,
    centres,
    clip_features,
    evaluate_video_model,
    evaluate_videos,
    kept,
    motion,
)
from mmdiff.sampling import Sampling
from mmdiff.schedules import LinearBeta
from mmdiff.video import Video


def blots(places: Tensor, side: int = 32) -> Tensor:
    """Clips [N, 1, T, side, side] of round spots around `places` [N, T, 2]."""
    axis = torch.arange(side) - (side - 1) / 2
    rows, columns = (places[..., k, None] - axis for k in (0, 1))
    distance = rows[..., :, None] ** 2 + columns[..., None, :] ** 2
    return ((-distance / 8).exp() * 2 - 1)[:, None]


def straight(count: int = 40, frames: int = 6) -> Tensor:
    """Ways [N, T, 2] at up to one pixel a frame."""
    start, step = torch.rand(2, count, 1, 2) * 8 - 4
    return start + step / 4 * torch.arange(frames)[:, None]


def test_the_centre_is_where_the_ink_is() -> None:
    places = straight()
    torch.testing.assert_close(centres(blots(places)), places, atol=0.05, rtol=0)
    assert centres(torch.full((1, 1, 2, 8, 8), -1.0)).abs().max() == 0
    crops = centred(blots(places), places)
    assert crops.shape == (240, 1, 28, 28)
    middle = blots(torch.zeros(1, 1, 2), side=28)[0]
    assert (crops - middle).abs().max() < 0.05


def test_motion_in_closed_form() -> None:
    places = straight()
    found = motion(places)
    steps = places.diff(dim=1).norm(dim=2)[:, 0]
    expected = steps.double().quantile(torch.tensor([0.5, 0.95, 1.0]).double())
    torch.testing.assert_close(torch.tensor(found.step).double(), expected, atol=1e-4, rtol=0)
    assert found.wobble < 1e-5
    places[:, ::2, 0] += 1
    assert motion(places).wobble == pytest.approx(2, abs=1e-4)


def test_one_digit_is_kept_or_not() -> None:
    logits = torch.zeros(4, 3, 10)
    logits[:, :, 7] = 1
    there = torch.ones(4, dtype=torch.bool)
    assert kept(logits, there) == 1
    logits[1, 2, 3] = 2
    assert kept(logits, there) == 0.75
    there[3] = False
    assert kept(logits, there) == 0.5


def test_what_is_empty_shows_no_digit() -> None:
    """The judge reads black frames all alike."""
    test, label = blots(straight()), torch.full((40,), 1)
    black = test.clone()
    black[:10, :, 2:] = -1
    black[10:20] = -1
    train = blots(straight())
    found = evaluate_videos({"x": black, "label": label}, {"x": test}, {"x": train})
    assert found.empty == 0.5
    assert max(found.kept, found.accuracy or 0) <= 0.5
    assert "50.00% have some" in found.as_text()


def test_features_see_what_changes_and_what_moves() -> None:
    features, places = torch.rand(5, 6, 4), straight(5)
    found = clip_features(features, places)
    assert found.shape == (5, 8 + 12)
    torch.testing.assert_close(found[:, :4], features.mean(1))
    still = clip_features(features[:, :1].expand(-1, 6, -1), places)
    assert still[:, 4:8].abs().max() < 1e-6
    torch.testing.assert_close(still[:, 8:], found[:, 8:])


def test_a_report_on_clips_that_jump() -> None:
    test, train, places = blots(straight()), blots(straight()), straight(20)
    honest = evaluate_videos({"x": blots(places)}, {"x": test}, {"x": train})
    places[:10, 3:] += 5  # beyond what any moves in one frame
    jumping = evaluate_videos({"x": blots(places)}, {"x": test}, {"x": train})
    assert (honest.count, honest.accuracy, honest.real_motion) == (20, None, jumping.real_motion)
    assert honest.jumps < 0.3
    assert jumping.jumps >= 0.5
    assert jumping.frechet > honest.frechet
    assert evaluate_videos({"x": test}, {"x": test}, {"x": train}).frechet < 1e-4
    assert json.loads(json.dumps(jumping.as_dict()))["motion"]["step"] == list(jumping.motion.step)
    text = jumping.as_text()
    assert f"{jumping.jumps:.2%} step farther" in text
    assert f"{jumping.kept:.2%}" in text


class Recital(nn.Module):
    """Predicts x0: the same clip at any time."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        places = torch.arange(16) - 7.5  # whole pixels apart: every frame is read alike
        self.stored = nn.Parameter(blots(torch.stack((places, places), dim=1)[None])[0])
        self.conditions = {"label": Class(len(names), names)} if names else {}

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stored.expand_as(x)


def recital(names: tuple[str, ...] = DIGITS, **info: Any) -> Diffusion:
    model = Diffusion(Recital(names), LinearBeta(), "x0")
    about: dict[str, Any] = {
        "shape": (1, 16, 32, 32),
        "modality": Video(10),
        "dataset": "moving-mnist",
    } | info
    model.info = Info(**about)
    return model


@pytest.mark.parametrize(
    "info", [{"shape": (3, 16, 32, 32)}, {"shape": (1, 2, 32, 32)}, {"names": ("a", "b")}]
)
def test_models_of_anything_else_are_refused(info: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="only models of moving digits"):
        evaluate_video_model(recital(**info), Sampling("ddim", 2))


def test_a_model_is_judged_beside_real_digits(
    data_dir: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "MOST", 200)
    report = evaluate_video_model(
        recital(), Sampling("ddim", 2), 20, data_dir=data_dir, progress=False
    )
    assert (report.count, report.jumps, report.kept) == (20, 0.0, 1.0)
    assert report.real_kept > 0.99
    assert report.frechet > 3 * report.floor
