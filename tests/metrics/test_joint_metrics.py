"""Pairs that agree are known from pairs that do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff.audio import Sound
from mmdiff.bounce import Bounce
from mmdiff.data.turns import evenly
from mmdiff.image import Pictures
from mmdiff.joint import Joint
from mmdiff.metrics import joint
from mmdiff.metrics.batches import Batch, take
from mmdiff.metrics.bounce import evaluate_bounce

COUNT = 12


class Recital(nn.Module):
    """The ideal networks of a few stored pairs, which they recite."""

    def __init__(self, stored: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stored = stored

    def forward(
        self,
        networks: Any,
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        told: Any,
        apart: Any = None,
    ) -> dict[str, Tensor]:
        logits = torch.zeros(())
        for name, of in self.stored.items():
            alpha, sigma = (v[:, None] for v in mmdiff.Linear()(t[name]))
            clean = alpha[:, None] * of.flatten(1)
            apart = (x[name].flatten(1)[:, None] - clean).square().sum(2)
            logits = logits - apart / (2 * sigma.square().clamp(min=1e-4))
        weights = logits.softmax(1)
        return {name: torch.tensordot(weights, of, 1) for name, of in self.stored.items()}


def reciting(stored: Mapping[str, Tensor], kinds: Mapping[str, Any]) -> Joint:
    parts, how = {}, mmdiff.Sampling("ddim", 12)
    for name, kind in kinds.items():
        parts[name] = mmdiff.Diffusion(nn.Identity(), mmdiff.Linear(), "x0")
        parts[name].info = mmdiff.Info(tuple(stored[name].shape[1:]), kind, how)
    return Joint(parts, Recital(stored))


def duet(stored: Mapping[str, Tensor]) -> Joint:
    return reciting(stored, {"picture": Pictures(), "sound": Sound(8000)})


def few(data: Any) -> Batch:
    """Of all classes: files lie sorted."""
    return take(data, range(0, len(data), len(data) // 100))


def test_who_recites_pairs_agrees_and_who_confuses_them_does_not(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint, "take", few)
    test = {
        "picture": few(Pictures.open("mnist", "test", data_dir)),
        "sound": few(Sound.open("fsdd", "test", data_dir)),
    }
    # All that is given is stored, each with one that is called the same.
    given = {n: torch.arange(COUNT) * len(of["x"]) // COUNT for n, of in test.items()}
    rows: dict[str, list[int]] = {"picture": [], "sound": []}
    for name, other in (("picture", "sound"), ("sound", "picture")):
        for row in given[name].tolist():
            alike = test[other]["label"] == test[name]["label"][row]
            rows[name].append(row)
            rows[other].append(int(alike.nonzero()[0]))
    stored = {name: of["x"][rows[name]] for name, of in test.items()}
    how = mmdiff.Sampling("ddim", 12)
    found = joint.evaluate_duet(duet(stored), how, COUNT, data_dir=data_dir, progress=False)
    assert found.agreement >= 0.9
    assert found.sound_from_picture >= 0.9
    assert found.picture_from_sound >= 0.9
    assert found.as_dict()["picture"]["count"] == COUNT
    assert found.as_text().startswith("pairs that agree   ")

    labels = test["sound"]["label"]
    wrong = [int((labels == (labels[row] + 1) % 10).nonzero()[0]) for row in rows["sound"]]
    confused = duet({**stored, "sound": test["sound"]["x"][wrong]})
    found = joint.evaluate_duet(confused, how, COUNT, data_dir=data_dir, progress=False)
    assert found.agreement <= 0.1
    assert found.sound_from_picture <= 0.1


def test_who_recites_bounces_is_in_time_and_who_confuses_them_is_not(data_dir: Path) -> None:
    data = Bounce("test", data_dir)
    rows = evenly(len(data), COUNT)  # those that are given
    stored = data.packing.unpack(torch.stack([data[int(row)]["x"] for row in rows]))
    how = mmdiff.Sampling("ddim", 12)
    kinds = data.modality.parts
    real = reciting(stored, kinds)
    found = evaluate_bounce(real, how, COUNT, data_dir=data_dir, progress=False)
    assert found.real.heard >= 0.9
    assert found.sound_from_video == found.video_from_sound == found.real
    assert found.together.heard >= 0.9
    assert found.as_dict()["together"]["count"] == COUNT
    assert "made together" in found.as_text()
    confused = reciting({**stored, "sound": stored["sound"].roll(1, 0)}, kinds)
    found = evaluate_bounce(confused, how, COUNT, data_dir=data_dir, progress=False)
    assert max(found.together.heard, found.sound_from_video.heard) < 0.5
    assert max(found.together.pitch, found.video_from_sound.pitch) < 0.5


def test_other_models_are_refused() -> None:
    other = duet({"picture": torch.zeros(1, 1, 8, 8), "sound": torch.zeros(1, 1, 80)})
    with pytest.raises(mmdiff.UserError, match="only a joint model of recipes"):
        evaluate_bounce(other, mmdiff.Sampling())
    single = mmdiff.Diffusion(nn.Identity(), mmdiff.Linear(), "v")
    for model in (other, single):  # of other sizes, and of one part
        with pytest.raises(mmdiff.UserError, match="only joint models of written and spoken"):
            joint.evaluate_duet(model, mmdiff.Sampling())
