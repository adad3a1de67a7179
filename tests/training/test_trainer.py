"""The trainer, in one process: exact resumption, what it refuses, and what it writes."""

from __future__ import annotations

import math
import pickle
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from train_tiny import Noisy, Waves, assert_same_run, figures, state, trainer, unet

from mmdiff import load
from mmdiff.errors import Interrupted, UserError
from mmdiff.training import checkpoints
from mmdiff.training.config import TrainingConfig
from mmdiff.training.optimizers import learning_rate
from mmdiff.training.trainer import Trainer
from mmdiff.training.validation import ITEMS, LEVELS, validate


class Stop(Exception):
    """Something outside the trainer went wrong."""


class Signalling(Waves):
    """Sends this process a signal when an item has been asked for so many times."""

    def __init__(self, number: int, asked: int, times: int = 1) -> None:
        super().__init__()
        self.number, self.left, self.times = number, asked, times

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("reference")
    trainer(out).fit()
    return out


def stop_after(epoch: int) -> Callable[[Trainer, int], None]:
    def on_epoch(_: Trainer, done: int) -> None:
        if done == epoch:
            raise Stop

    return on_epoch


def test_runs_are_repeatable(tmp_path: Path, reference: Path) -> None:
    trainer(tmp_path).fit()
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


def test_another_seed_is_another_run(tmp_path: Path, reference: Path) -> None:
    trainer(tmp_path, seed=1).fit()
    assert figures(tmp_path, "losses.csv")[1:] != figures(reference, "losses.csv")[1:]


def test_goes_on_exactly_after_failures(tmp_path: Path, reference: Path) -> None:
    for epoch in (1, 3):
        with pytest.raises(Stop):
            trainer(tmp_path, resume=epoch > 1).fit(stop_after(epoch))
        assert state(tmp_path)[1]["step"] == 3 * epoch
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


def test_work_since_the_last_save_is_done_again(tmp_path: Path, reference: Path) -> None:
    """What a killed run has logged after its last save does not stay."""
    with pytest.raises(Stop):
        trainer(tmp_path).fit(stop_after(1))
    shutil.copytree(tmp_path / "resume", tmp_path / "early")
    with pytest.raises(Stop):
        trainer(tmp_path, resume=True).fit(stop_after(2))
    shutil.rmtree(tmp_path / "resume")
    (tmp_path / "early").rename(tmp_path / "resume")
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("1")  # a row that was being written
    (tmp_path / "resume" / ".state.4711.part.safetensors").write_text("a file likewise")
    trainer(tmp_path, resume=True).fit()
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["state.safetensors"]
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 1), (signal.SIGINT, 6), (signal.SIGTERM, 11)]
)
def test_an_interruption_saves_and_says_how_to_go_on(
    tmp_path: Path, reference: Path, number: int, step: int
) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"after step {step} of 12; .* --resume"):
        trainer(tmp_path, data=Signalling(number, 8 * step - 3)).fit()
    assert signal.getsignal(number) is handler
    assert state(tmp_path)[1]["step"] == step
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)


def test_an_interruption_at_the_end_leaves_out_what_would_follow(
    tmp_path: Path, reference: Path
) -> None:
    """Drawing the samples of a finished run can take as long as training did."""

    def signalled(run: Trainer, epoch: int) -> None:
        if run.progress.step == 12:
            signal.raise_signal(signal.SIGTERM)

    for out, data, look in (
        (tmp_path / "step", Signalling(signal.SIGINT, 8 * 12), None),
        (tmp_path / "look", None, signalled),
    ):
        with pytest.raises(Interrupted, match=r"after step 12 of 12; .* --resume"):
            trainer(out, **({"data": data} if data else {})).fit(look)
        assert_same_run(out, reference)
        trainer(out, resume=True).fit(stop_after(1))  # nothing is left to do


def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    # A shell that started this in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path, data=Signalling(signal.SIGINT, 20, times=2)).fit()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_the_network_draws_is_repeated_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkpoints.BACKBONES, "Noisy", "train_tiny")
    for out, stop in ((tmp_path / "whole", 99), (tmp_path / "parts", 2)):
        try:
            trainer(out, backbone=Noisy).fit(stop_after(stop))
        except Stop:
            torch.rand(5)
            trainer(out, resume=True, backbone=Noisy).fit()
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_loss_that_is_no_number_ends_it_where_it_can_go_on(
    tmp_path: Path, reference: Path
) -> None:
    def spoil(run: Trainer, epoch: int) -> None:
        if epoch == 2:
            next(iter(run.model.parameters())).detach().fill_(torch.nan)

    with pytest.raises(UserError, match=r"diverged before step 8, .* keeps what step 6 had"):
        trainer(tmp_path).fit(spoil)
    assert state(tmp_path)[1]["step"] == 6
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)


def test_a_longer_run_is_gone_on_with(tmp_path: Path) -> None:
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    trainer(whole, decay="constant").fit()
    trainer(longer, decay="constant", steps=6).fit()
    run = trainer(longer, resume=True, decay="constant", save_every=100)
    assert run.progress.step == 6
    run.fit()
    tensors, expected = state(longer)[0], state(whole)[0]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())


def test_a_finished_run_has_nothing_left_to_do(reference: Path) -> None:
    before = (reference / "resume" / "state.safetensors").read_bytes()
    trainer(reference, resume=True).fit(stop_after(4))
    assert (reference / "resume" / "state.safetensors").read_bytes() == before


def first_gradient(out: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """Of the first step, as Adam's first moment holds it: (1 - 0.9) g."""
    trainer(out, steps=1, clip=None, **settings).fit()
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


def test_the_gradient_is_that_of_the_loss(tmp_path: Path) -> None:
    """And a step of Adam along it is what the weights make."""
    run = trainer(tmp_path, steps=1, clip=None, ema=None, optimizer="adam", lr=0.01, warmup=0)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.fit()
    tensors, _ = state(tmp_path)
    moved = 0
    for name, old in before.items():
        gradient = tensors[f"optimizer/exp_avg/{name}"] / 0.1
        expected = old - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(tensors[f"model/{name}"], expected, rtol=0, atol=1e-5)
        moved += int(gradient.count_nonzero())
    assert moved > 0


def test_clips_to_a_norm(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1, clip=1e-3).fit()
    moments = [v for name, v in state(tmp_path)[0].items() if name.startswith("optimizer/exp_avg/")]
    norm = sum(float(moment.square().sum()) for moment in moments) ** 0.5
    assert norm == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_learning_rates() -> None:
    cosine = TrainingConfig(steps=110, lr=2.0, warmup=10)
    for step in range(10):
        assert learning_rate(cosine, step) == pytest.approx(2.0 * (step + 1) / 10)
    assert learning_rate(cosine, 10) == 2.0
    for step in range(10, 110):
        expected = 2.0 * math.cos(math.pi / 2 * (step - 10) / 100) ** 2
        assert learning_rate(cosine, step) == pytest.approx(expected)
    assert learning_rate(cosine, 110) == pytest.approx(0)
    constant = TrainingConfig(steps=110, lr=2.0, warmup=4, decay="constant")
    rates = [learning_rate(constant, step) for step in range(110)]
    assert rates == [0.5, 1.0, 1.5] + [2.0] * 107


def test_the_saved_model_is_the_average(reference: Path, tmp_path: Path) -> None:
    model = load(reference / "model.safetensors")
    tensors, description = state(reference)
    assert description["ema_updates"] == 12
    for name, weight in model.named_parameters():
        assert torch.equal(weight, tensors[f"ema/{name}"])
        assert not torch.equal(weight, tensors[f"model/{name}"])
    assert model.info.labels == ("low", "middle", "high")
    assert (model.info.dataset, model.info.shape) == ("waves", (1, 12))
    assert model.info.made["steps"] == 12
    assert (model.prediction, model.weighting) == ("eps", "min_snr")
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
    levels = validate(model, Waves(6), {"label"}, seed=0)
    assert [float(row[2]) for row in rows[-8:]] == pytest.approx(list(levels.values()), rel=1e-4)
    assert list((reference / "tensorboard").iterdir())


def test_validation_of_a_network_that_knows_nothing(tmp_path: Path) -> None:
    """An eps of 0 is wrong by 1 on average; min-SNR weighs that by min(1, 5 / SNR)."""
    model = trainer(tmp_path).model.eval()
    numbers = 256 * 12
    whole = validate(model, Waves(300), {"label"}, seed=0)
    for t, loss in whole.items():
        snr = float(model.schedule.log_snr(torch.tensor(t)).exp())
        weight = min(1.0, 5 / snr)
        assert abs(loss / weight - 1) < 4 * (2 / numbers) ** 0.5
    in_parts = validate(model, Waves(300), {"label"}, seed=0, batch=100)
    assert list(in_parts.values()) == pytest.approx(list(whole.values()), rel=1e-5)


def test_validation_takes_items_of_all_classes(tmp_path: Path) -> None:
    """Where a data set is sorted by class, its first items are of the first classes alone."""
    seen: list[int] = []

    class Sorted(Waves):
        def __getitem__(self, index: int) -> dict[str, Any]:
            seen.append(index)
            return super().__getitem__(index)

    validate(trainer(tmp_path).model.eval(), Sorted(1000), {"label"}, seed=0)
    assert len(set(seen)) == ITEMS
    assert max(b - a for a, b in pairwise(sorted({-1, *seen, 1000}))) <= 1000 // ITEMS + 1


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_labels_are_hidden_at_the_rate(tmp_path: Path, rate: float) -> None:
    run = trainer(tmp_path, steps=3, label_dropout=rate, optimizer="adam", ema=None)
    rows = run.model.backbone.classes["label"].table.weight  # type: ignore[index, union-attr]
    before = rows.detach().clone()  # type: ignore[operator, union-attr]
    run.fit()
    changed = (rows != before).any(dim=1).tolist()  # type: ignore[union-attr]
    assert changed == ([False] * 3 + [True] if rate else [True] * 3 + [False])


def test_a_network_without_conditions_ignores_labels(tmp_path: Path) -> None:
    trainer(tmp_path, backbone=unet, steps=2).fit()
    assert load(tmp_path / "model.safetensors").backbone.config["conditions"] == {}


def test_precision_is_each_runs_own(tmp_path: Path) -> None:
    seen: dict[str, set[Any]] = {}
    for precision in ("bf16", "no"):
        run = trainer(tmp_path / precision, steps=3, precision=precision)
        kinds = seen.setdefault(precision, set())
        run.model.backbone.stem.register_forward_hook(  # type: ignore[union-attr]
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
    with pytest.raises(Stop):
        trainer(tmp_path).fit(stop_after(1))
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)


def test_another_run_is_not_overwritten(reference: Path) -> None:
    before = (reference / "resume" / "state.safetensors").read_bytes()
    with pytest.raises(UserError, match="already holds a run: add --resume"):
        trainer(reference)
    assert (reference / "resume" / "state.safetensors").read_bytes() == before


def test_a_run_is_resumed_with_its_own_settings(reference: Path) -> None:
    with pytest.raises(UserError, match=r"begun with batch 8, not 4; lr 0\.001, not 0\.1: resume"):
        trainer(reference, resume=True, batch=4, lr=0.1)
    with pytest.raises(UserError, match="begun with items 24, not 25: resume"):
        trainer(reference, resume=True, data=Waves(25))
    with pytest.raises(UserError, match=r"with backbone conditions {'label': 3}, not {}: resume"):
        trainer(reference, resume=True, backbone=unet)


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run to resume, .* leave --resume out"):
        trainer(tmp_path, resume=True)


def test_a_damaged_state_is_refused(tmp_path: Path, reference: Path) -> None:
    file = tmp_path / "resume" / "state.safetensors"
    file.parent.mkdir()
    data = (reference / "resume" / "state.safetensors").read_bytes()
    file.write_bytes(data[: len(data) // 2])
    for damaged in (data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            trainer(tmp_path, resume=True)
    shutil.copy(reference / "model.safetensors", file)
    with pytest.raises(UserError, match="is not the state of a run"):
        trainer(tmp_path, resume=True)


def test_what_cannot_be_saved_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot save a Noisy: .* BACKBONES\[\"Noisy\"\] = \""):
        trainer(tmp_path / "out", backbone=Noisy)
    assert not (tmp_path / "out").exists()


def test_accelerate_stays_with_the_first_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tmp_path / "first")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"already trained on another device.*new process"):
        trainer(tmp_path / "second", device="cuda")


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


def test_models_are_not_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(UserError, match=r"FSDP, which divides a model .* choose multi_gpu"):
        trainer(tmp_path)


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch of 8 cannot be shared evenly .* multiple of 3"):
        trainer(tmp_path, accumulate=3)
    with pytest.raises(UserError, match="data set is empty"):
        trainer(tmp_path, data=Waves(0))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device here: use --device cpu"):
            trainer(tmp_path, device="cuda")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch": 0}, "batch must be"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be above 0"),
        ({"label_dropout": 1.1}, "label_dropout must be in"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known are adam, adamw"),
        ({"decay": "linear"}, "unknown decay 'linear'; known are constant, cosine"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; known are no, bf16"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{"steps": 1, **settings})
