"""The trainer in one process: its steps, what it writes, and what it refuses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.utils.data import IterableDataset
from train_tiny import LABEL, Noisy, Waves, assert_same_run, figures, state, trainer, unet

from mmdiff import Diffusion, LinearBeta, load
from mmdiff.diffusion import LEVELS
from mmdiff.errors import UserError
from mmdiff.nn import Patch
from mmdiff.training.validation import validate


def test_runs_are_repeatable(tmp_path: Path, reference: Path) -> None:
    trainer(str(tmp_path)).fit()
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


def test_another_seed_is_another_run(tmp_path: Path, reference: Path) -> None:
    trainer(tmp_path, seed=1).fit()
    assert figures(tmp_path, "losses.csv")[1:] != figures(reference, "losses.csv")[1:]


def test_a_relative_folder_is_where_it_was(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    trainer("run").fit(lambda *_: os.chdir(tmp_path / "elsewhere"))
    assert_same_run(tmp_path / "run", reference)
    assert not list((tmp_path / "elsewhere").iterdir())


def first_gradient(out: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """Of the first step, as Adam's first moment holds it: (1 - 0.9) g."""
    trainer(out, steps=1, max_norm=None, **settings).fit()
    prefix = "optimizer/exp_avg/"
    return {
        name.removeprefix(prefix): tensor / 0.1
        for name, tensor in state(out)[0].items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_parts_have_the_gradient_of_the_whole(tmp_path: Path, parts: int) -> None:
    whole = first_gradient(tmp_path / "whole")
    cut = first_gradient(tmp_path / "cut", accumulate=parts)
    norm = sum(float(tensor.square().sum()) for tensor in whole.values()) ** 0.5
    assert norm > 0
    for name, tensor in cut.items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-6 * norm)


def test_a_step_of_adam_is_along_its_gradient(tmp_path: Path) -> None:
    options: dict[str, Any] = {"ema": None, "optimizer": "adam", "lr": 0.01, "warmup": 0}
    fresh = dict(trainer(tmp_path / "fresh").model.named_parameters())
    gradients = first_gradient(tmp_path / "run", **options)
    tensors, _ = state(tmp_path / "run")
    for name, gradient in gradients.items():
        expected = fresh[name].detach() - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(tensors[f"model/{name}"], expected, rtol=0, atol=1e-5)
    assert sum(int(gradient.count_nonzero()) for gradient in gradients.values()) > 0


def test_clips_to_a_norm(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1, max_norm=1e-3).fit()
    moments = [v for name, v in state(tmp_path)[0].items() if name.startswith("optimizer/exp_avg/")]
    norm = sum(float(moment.square().sum()) for moment in moments) ** 0.5
    assert norm == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_the_saved_model_is_the_average(reference: Path, tmp_path: Path) -> None:
    model = load(reference / "model.safetensors")
    tensors, description = state(reference)
    assert description["ema_updates"] == 12
    for name, weight in model.named_parameters():
        assert torch.equal(weight, tensors[f"ema/{name}"])
        assert not torch.equal(weight, tensors[f"model/{name}"])
    assert model.conditions == {"label": LABEL}
    assert (model.info.dataset, model.info.shape) == ("waves", (1, 12))
    assert {"steps": 12, "epochs": 4.0, "seed": 0}.items() <= model.info.made.items()
    trainer(tmp_path, ema=None, steps=3).fit()
    tensors, _ = state(tmp_path)
    assert not any(name.startswith("ema/") for name in tensors)
    for name, weight in load(tmp_path / "model.safetensors").named_parameters():
        assert torch.equal(weight, tensors[f"model/{name}"])


def test_losses_and_validation_are_written(reference: Path) -> None:
    title, *rows = figures(reference, "losses.csv")
    assert title == ["step", "epoch", "lr", "loss"]
    assert [int(row[0]) for row in rows] == [2, 3, 4, 6, 8, 9, 10, 12]
    assert [float(row[1]) for row in rows] == pytest.approx([int(r[0]) / 3 for r in rows], abs=1e-4)
    assert all(0 < float(row[3]) < 10 for row in rows)
    title, *rows = figures(reference, "validation.csv")
    assert title == ["step", "t", "loss"]
    assert [(int(row[0]), float(row[1])) for row in rows] == [
        (step, t) for step in (3, 6, 9, 12) for t in LEVELS
    ]
    model = load(reference / "model.safetensors")
    levels = validate(model, Waves(6), 0, 8, torch.device("cpu"))
    assert [float(row[2]) for row in rows[-8:]] == pytest.approx(list(levels.values()), rel=1e-4)
    assert list((reference / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("look_every", "steps"), [(1, [3, 6, 9, 11]), (4, [6, 11]), (6, [6, 11]), (99, [11])]
)
def test_looks_are_at_ends_of_epochs_and_of_the_run(
    tmp_path: Path, look_every: int, steps: list[int]
) -> None:
    seen = []
    run = trainer(tmp_path, steps=11, look_every=look_every)
    run.fit(lambda run, epoch: seen.append((run.progress.step, epoch)))
    assert seen == [(step, -(-step // 3)) for step in steps]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_labels_are_hidden_at_the_rate(tmp_path: Path, rate: float) -> None:
    model = Diffusion(unet({"label": LABEL}), LinearBeta(), "eps", hide=rate)
    run = trainer(tmp_path, model=model, steps=3, optimizer="adam", ema=None)
    (rows,) = (p for name, p in run.model.named_parameters() if name.endswith("table.weight"))
    before = rows.detach().clone()
    run.fit()
    changed = (rows != before).any(dim=1).tolist()
    assert changed == ([False] * 3 + [True] if rate else [True] * 3 + [False])


def test_a_network_that_is_told_nothing_ignores_labels(tmp_path: Path) -> None:
    trainer(tmp_path, model=Diffusion(unet(), LinearBeta(), "eps"), steps=2).fit()
    assert load(tmp_path / "model.safetensors").conditions == {}


def test_a_code_is_measured_before_training(tmp_path: Path) -> None:
    model = Diffusion(unet(signal=3), LinearBeta(), "eps", codec=Patch(3))
    trainer(tmp_path, model=model, steps=1).fit()
    loaded = load(tmp_path / "model.safetensors")
    # Sines that begin anywhere have a mean square of a half.
    torch.testing.assert_close(loaded.mean, torch.zeros(1, 3, 1), rtol=0, atol=0.1)
    torch.testing.assert_close(loaded.deviation, torch.full((1, 3, 1), 0.5**0.5), rtol=0.1, atol=0)


def test_precision_is_each_runs_own(tmp_path: Path) -> None:
    seen: dict[str, set[Any]] = {}
    for precision in ("bf16", "no"):
        run = trainer(tmp_path / precision, steps=3, precision=precision)
        kinds = seen.setdefault(precision, set())
        run.model.backbone.stem.register_forward_hook(
            lambda module, _, output, kinds=kinds: kinds.add((module.training, output.dtype))
        )
        run.fit()
        assert all(weight.dtype == torch.float32 for weight in run.model.parameters())
    assert seen["bf16"] == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert seen["no"] == {(True, torch.float32), (False, torch.float32)}


def test_nothing_is_pickled(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was pickled")

    for name in ("dump", "dumps", "Pickler", "load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "save", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    trainer(tmp_path).fit()
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)


def test_the_model_trains_on_after_a_failed_look(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    weights = [weight.detach().clone() for weight in run.model.parameters()]

    def look() -> None:
        with run.averaged():
            assert not run.model.training
            raise RuntimeError("no look")

    with pytest.raises(RuntimeError, match="no look"):
        look()
    assert run.model.training
    assert all(map(torch.equal, weights, run.model.parameters()))


class Endless(IterableDataset[Any]):
    """It knows a length, and no items by their places."""

    def __iter__(self) -> Any:
        return iter(Waves())

    def __len__(self) -> int:
        return 5


def test_what_cannot_be_trained_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"batch of 8 cannot be shared evenly .* multiple of 3"):
        trainer(tmp_path, accumulate=3)
    with pytest.raises(UserError, match="nothing to train on: the data set is empty"):
        trainer(tmp_path, data=Waves(0))
    for data in (Endless(), iter(Waves())):
        with pytest.raises(UserError, match=r"data set needs a length, .* __len__ and __getitem__"):
            trainer(tmp_path, data=data)
    with pytest.raises(UserError, match="no device 'banana' here"):
        trainer(tmp_path, device="banana")
    with pytest.raises(ValueError, match=r"cannot save a Noisy: hand the class to mmdiff.register"):
        trainer(tmp_path / "out", model=Diffusion(Noisy(), LinearBeta(), "eps"))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(UserError, match=r"FSDP, which divides a model .* choose multi_gpu"):
        trainer(tmp_path)
