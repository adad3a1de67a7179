"""mmdiff evaluate: the judge follows from the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mmdiff
from mmdiff.metrics import images, speech
from mmdiff.nn import UNet

DIGITS = tuple("0123456789")


class Report:
    """What stands in for a report."""

    def as_text(self) -> str:
        return "good"

    def as_dict(self) -> dict[str, Any]:
        return {"quality": "good"}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """(which judge, its arguments ...) of each call; nothing is sampled."""
    calls: list[tuple[Any, ...]] = []

    def record(name: str) -> Any:
        def judge(model: Any, solver: Any, count: int, **options: Any) -> Report:
            calls.append((name, solver, count, options))
            return Report()

        return judge

    monkeypatch.setattr(images, "evaluate_digit_model", record("digits"))
    monkeypatch.setattr(speech, "evaluate_speech_model", record("speech"))
    return calls


def test_pictures_and_sounds_go_to_their_judge(
    run: Any, save: Any, called: list[Any], labelled: Path
) -> None:
    assert run("evaluate", labelled).out == "good\n"
    shared = {"seed": 0, "data_dir": None, "progress": False}
    options = {**shared, "guidance": None, "batch": 256}
    assert called.pop() == ("digits", mmdiff.DPMpp2MSDE(25), 10_000, options)
    sampling = {"solver": "ddim", "steps": 50, "guidance": 2.0, "spin": 64}
    path = save(Path("m.safetensors"), (1, 800), DIGITS, sample_rate=8000, sampling=sampling)
    assert json.loads(run("evaluate", path, "--json").out) == {"quality": "good"}
    options = {**shared, "guidance": 2.0, "batch": 50, "spin": 64}
    assert called.pop() == ("speech", mmdiff.DDIM(50), 1_000, options)
    given = ("-n", 7, "--solver", "heun", "--steps", 3, "--guidance", 1, "--spin", 0, "--batch", 4)
    assert run("evaluate", path, *given, "--data-dir", "d", "--seed", 2).code == 0
    options = {**shared, "guidance": None, "batch": 4, "spin": 0, "seed": 2, "data_dir": Path("d")}
    assert called.pop() == ("speech", mmdiff.Heun(3), 7, options)


def test_evaluate_refuses_what_is_no_digit(run: Any, plain: Path, speech: Path) -> None:
    run("evaluate", plain, "-n", 10, "--steps", 1).refused("digits")
    run("evaluate", speech, "-n", 10, "--steps", 1).refused("spoken digits")


def test_evaluate_reports(run: Any, data_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = UNet(dims=2, in_channels=1, out_channels=1, channels=(8,), conditions={"label": 10})
    model = mmdiff.Diffusion(net, mmdiff.LinearBeta(), "eps")
    info = mmdiff.Info(shape=(1, 28, 28), labels=DIGITS, dataset="mnist", made={})
    mmdiff.save(tmp_path / "m.safetensors", model, info)
    options = ("-n", 40, "--steps", 2, "--data-dir", data_dir, "--json")
    result = run("evaluate", tmp_path / "m.safetensors", *options)
    assert result.code == 0
    report = json.loads(result.out)
    assert report["count"] == 40
    assert report["frechet"] > 2 * report["floor"]  # noise is no digit
