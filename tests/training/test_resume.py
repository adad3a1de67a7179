"""A run that was stopped at any moment ends as one that was not, bit for bit."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import Noisy, Waves, assert_same_run, figures, state, trainer

from mmdiff import Diffusion, LinearBeta, checkpoints
from mmdiff.errors import Interrupted, UserError
from mmdiff.training.trainer import Trainer

Look = Callable[[Trainer, int], None]


class Stop(Exception):
    """Something outside the trainer went wrong."""


class Signalling(Waves):
    """Sends this process a signal when an item has been asked for so many times."""

    def __init__(self, number: int, asked: int, times: int = 1, count: int = 24) -> None:
        super().__init__(count)
        self.number, self.left, self.times = number, asked, times

    def visit(self, index: int, count: int) -> dict[str, Any]:
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return super().visit(index, count)


def stop_after(epoch: int) -> Look:
    def look(_: Trainer, done: int) -> None:
        if done == epoch:
            raise Stop

    return look


def test_goes_on_exactly_after_failures(tmp_path: Path, reference: Path) -> None:
    for epoch in (1, 3):
        with pytest.raises(Stop):
            trainer(tmp_path, resume=epoch > 1).fit(stop_after(epoch))
        assert state(tmp_path)[1]["step"] == 3 * epoch
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)
    assert figures(tmp_path, "losses.csv") == figures(reference, "losses.csv")


@pytest.mark.parametrize("threads", [False, True])
def test_decoding_ahead_changes_nothing(tmp_path: Path, reference: Path, threads: bool) -> None:
    """Whether all of a run is decoded in threads, or the part that comes after a failure."""
    with pytest.raises(Stop):
        trainer(tmp_path, data=Waves(costly=threads, delay=0.001)).fit(stop_after(2))
    trainer(tmp_path, resume=True, data=Waves(costly=True)).fit()
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


def test_what_a_kill_left_out_after_a_save_comes_again(tmp_path: Path, reference: Path) -> None:
    """A state is saved before validation, which may be cut off in the middle of its rows."""
    with pytest.raises(Stop):
        trainer(tmp_path).fit(stop_after(2))
    path = tmp_path / "validation.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    seen: list[int] = []
    trainer(tmp_path, resume=True).fit(lambda _, epoch: seen.append(epoch))
    assert seen == [2, 3, 4]
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 1), (signal.SIGINT, 6), (signal.SIGTERM, 11)]
)
def test_an_interruption_saves_and_says_how_to_go_on(
    tmp_path: Path, reference: Path, number: int, step: int
) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"after step {step} of 12; .* resume the run"):
        trainer(tmp_path, data=Signalling(number, 8 * step - 3)).fit()
    assert signal.getsignal(number) is handler
    assert state(tmp_path)[1]["step"] == step
    trainer(tmp_path, resume=True).fit()
    assert_same_run(tmp_path, reference)


def test_an_interruption_stops_validation_between_its_parts(
    tmp_path: Path, reference: Path
) -> None:
    run = trainer(tmp_path, save_every=100)
    run.held_out = Signalling(signal.SIGTERM, 3, count=200)
    with pytest.raises(Interrupted, match="after step 3 of 12"):
        run.fit(stop_after(1))  # and no look comes
    assert run.held_out.left == 3 - 8  # of a batch of 8
    assert state(tmp_path)[1]["step"] == 3
    assert len(figures(tmp_path, "validation.csv")) == 1
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
        (tmp_path / "look", Waves(), signalled),
    ):
        with pytest.raises(Interrupted, match=r"after step 12 of 12; .* resume the run"):
            trainer(out, data=data).fit(look)
        trainer(out, resume=True).fit()
        assert_same_run(out, reference)


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
    monkeypatch.setitem(checkpoints._own, "Noisy", Noisy)

    def run(out: Path, resume: bool = False) -> Trainer:
        torch.manual_seed(0)
        return trainer(out, resume, model=Diffusion(Noisy(), LinearBeta(), "eps"))

    run(tmp_path / "whole").fit()
    with pytest.raises(Stop):
        run(tmp_path / "parts").fit(stop_after(2))
    torch.rand(5)
    run(tmp_path / "parts", resume=True).fit()
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


def test_a_short_run_is_extended(tmp_path: Path) -> None:
    """Its warm-up was cut short to a tenth of it, which is no other setting."""
    options: dict[str, Any] = {"decay": "constant", "warmup": 50}
    trainer(tmp_path, steps=6, **options).fit()
    run = trainer(tmp_path, resume=True, steps=40, save_every=100, **options)
    assert run.progress.step == 6
    run.fit()
    assert state(tmp_path)[1]["step"] == 40


def test_a_longer_run_is_what_it_would_have_been(tmp_path: Path) -> None:
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    options: dict[str, Any] = {"decay": "constant", "warmup": 0}
    trainer(whole, **options).fit()
    trainer(longer, steps=6, **options).fit()
    trainer(longer, resume=True, **options).fit()
    assert_same_run(longer, whole)


def test_another_learning_rate_may_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path, decay="constant").fit(stop_after(1))
    trainer(tmp_path, resume=True, decay="constant", lr=0.25).fit()
    rates = {int(row[0]): float(row[2]) for row in figures(tmp_path, "losses.csv")[1:]}
    assert rates == {step: 1e-3 if step <= 3 else 0.25 for step in rates}


def test_a_finished_run_has_nothing_left_to_train(reference: Path) -> None:
    before = (reference / "resume" / "state.safetensors").read_bytes()
    trainer(reference, resume=True).fit()
    assert (reference / "resume" / "state.safetensors").read_bytes() == before


def test_another_run_is_not_overwritten(reference: Path) -> None:
    before = (reference / "resume" / "state.safetensors").read_bytes()
    with pytest.raises(UserError, match="already holds a run: resume it, or choose"):
        trainer(reference)
    assert (reference / "resume" / "state.safetensors").read_bytes() == before


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run to resume, .* begin one, or name the folder"):
        trainer(tmp_path, resume=True)


def test_a_damaged_state_is_refused(tmp_path: Path, reference: Path) -> None:
    file = tmp_path / "resume" / "state.safetensors"
    file.parent.mkdir()
    data = (reference / "resume" / "state.safetensors").read_bytes()
    for damaged in (data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            trainer(tmp_path, resume=True)
    shutil.copy(reference / "model.safetensors", file)
    with pytest.raises(UserError, match="is not the state of a run"):
        trainer(tmp_path, resume=True)
