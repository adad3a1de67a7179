"""Trains an objective on any signal: one process or several, on any device."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff import precision
from mmdiff.checkpoints import Info, description, weights
from mmdiff.errors import Interrupted, UserError
from mmdiff.files import discard_leftovers, make_folder
from mmdiff.nn import EMA
from mmdiff.noise import Draws
from mmdiff.recipe import Recipe
from mmdiff.tensorfile import write
from mmdiff.training import loading
from mmdiff.training.buckets import order_of
from mmdiff.training.interruption import full_disk, interruption
from mmdiff.training.journal import Journal
from mmdiff.training.optimizers import learning_rate, make_optimizer
from mmdiff.training.processes import join
from mmdiff.training.state import Progress, load_state, save_state, settings_of
from mmdiff.training.validation import validate

LOG_EVERY = 50
ASK_EVERY = 10  # steps between which several processes do not wait for each other's devices
PREPARED = 16  # batches that an objective may measure before the first step

Look = Callable[["Trainer", int], None]


class Trainer:
    """Runs a recipe's optimiser steps and keeps everything about them in the folder `out`.

    `out/model.safetensors` is the model so far (averaged weights), `out/resume/` what resuming
    needs, `out/losses.csv` and `out/validation.csv` the figures, `out/tensorboard/` the same to
    watch. A run that was stopped at any moment and resumed ends with the weights, bit for bit,
    of one that was not (CPU, the same number of threads).

    Args:
        recipe: the model, on the CPU, which is moved to the device; and how to train it.
        data: items are dicts with "x" [C, *spatial] and what the model is told of it, such as
            "label"; see `mmdiff.modality.Data` for what else a data set may tell of itself.
        held_out: items for the loss by noise level.
        out: a folder of this run's own.
        device: any of torch's, or "auto".
        resume: go on from what `out` holds.

    Raises:
        UserError: `out` cannot be written to, holds another run, or none to resume; the device
            is not there; the processes cannot share a batch evenly, or would divide the model.
        ValueError: a model that a checkpoint cannot hold, see `mmdiff.register`.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Any,
        held_out: Any,
        out: Path | str,
        device: str | torch.device = "auto",
        resume: bool = False,
    ) -> None:
        self.accelerator, self.device = join(device)
        self.recipe, self.data, self.held_out = recipe, data, held_out
        self.out = Path(out).resolve()
        self.seed = recipe.seed
        items = loading.count(data, "train on")
        loading.count(held_out, "validate with")
        world, share = self.accelerator.num_processes, recipe.batch
        if share % (world * recipe.accumulate):
            raise UserError(
                f"a batch of {share} cannot be shared evenly by {world} processes "
                f"x {recipe.accumulate} parts: start another number of processes, or choose a "
                f"batch that is a multiple of {world * recipe.accumulate}."
            )
        self.steps = recipe.length(items)
        mine = (recipe.accumulate, self.accelerator.process_index, world)
        self.order = order_of(data, share, self.seed, *mine)
        first = data[0]["x"]
        loading.check_range(first, getattr(data, "modality", None))
        self.info = Info(
            tuple(data.shape if hasattr(data, "shapes") else first.shape),
            getattr(data, "modality", None),
            recipe.sampling,
            loading.name(data),
            dict(recipe.made),
            getattr(data, "task", None),
        )
        self.model = recipe.model
        description(self.model, self.info)  # what cannot be saved is found out before training
        self._state = self.out / "resume" / "state.safetensors"
        if self._state.exists() and not resume:
            raise UserError(f"{out} already holds a run: resume it, or choose another folder.")
        self.model.to(self.device).train().requires_grad_(True)
        if not resume:  # by what all processes see alike
            whole = order_of(data, share, self.seed)
            with closing(self._batches(whole, 0)) as batches:
                self.model.prepare(islice(batches, PREPARED))
        optimizer = make_optimizer(self.model, recipe)
        self.trained, self.optimizer = self.accelerator.prepare(
            self.model, optimizer, device_placement=[world > 1, False]
        )
        self.dtype = precision.resolve(recipe.precision, self.device)
        self.ema = None if recipe.ema is None else EMA(self.model, recipe.ema)
        self.progress = Progress()
        if resume:
            if self.is_main:
                discard_leftovers(self.out)
            self.progress = load_state(
                self._state, self.model, self.optimizer.optimizer, self.ema, self._settings()
            )
        self._saved = self.progress.step
        self._norm: Tensor | None = None  # of the last gradient, before it was clipped
        self._asked: list[int] = []  # signals to stop
        self.journal: Journal | None = None
        if self.is_main:
            with full_disk(self.out, lambda: self._saved):
                make_folder(self.out)
                self.journal = Journal(self.out, self._saved)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return bool(self.accelerator.is_main_process)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, a signal to stop only makes `stopped` true; a full disk is a UserError."""
        with interruption() as self._asked, full_disk(self.out, lambda: self._saved):
            yield

    def fit(self, look: Look | None = None) -> None:
        """Train to the end; every so many steps save, validate, and call `look(self, epoch)`.

        Raises:
            Interrupted: on Ctrl-C or SIGTERM, after saving.
            UserError: a loss or weights that are not finite, a full disk; what was saved before
                stays.
        """
        total, first = self.steps, self.progress.step
        several = self.accelerator.num_processes > 1
        bar = tqdm(total=total, initial=first, unit="step", disable=None if self.is_main else True)
        with self.running(), bar, closing(self._batches(self.order, first)) as batches:
            if self._ends(first):  # a kill may have come before all that follows a save
                self._look(look)
            window = torch.zeros((), device=self.device)
            begun, logged = time.monotonic(), first
            for step in range(first, total):
                window += self._step(step, batches)
                bar.update()
                done = step + 1
                ends = self._ends(done)
                saves = done % self.recipe.save_every == 0 or ends
                asks = not several or done % ASK_EVERY == 0 or done == total
                stop = asks and self.stopped()
                if done % LOG_EVERY == 0 or saves or stop:
                    # Each process draws other noise levels. This waits for the device.
                    loss = float(self.accelerator.reduce(window, "mean")) / (done - logged)
                    spent = time.monotonic() - begun
                    minutes = self.progress.minutes + spent / 60
                    self._log(bar, done, loss, done - logged, spent)
                    self.progress = Progress(done, minutes)
                    window.zero_()
                    if saves or stop:
                        self.save()
                    if stop:
                        self.interrupted()
                    if ends:
                        self._look(look)
                    begun, logged = time.monotonic(), done

    def stopped(self) -> bool:
        """Whether any process was asked to stop; what takes long asks between its parts.

        Several processes wait for each other here, so all must ask at the same places.
        """
        if self.accelerator.num_processes == 1:
            return bool(self._asked)
        asked = torch.tensor(float(bool(self._asked)), device=self.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def interrupted(self) -> None:
        """Raises Interrupted, which says how far the run is."""
        raise Interrupted(
            f"stopped after step {self.progress.step} of {self.steps}; all of it is in {self.out}: "
            "resume the run to go on."
        )

    def save(self) -> None:
        """Write the model with its averaged weights, and the resumable state.

        Raises:
            UserError: weights that are not finite, as the loss before them does not show yet.
        """
        with self.averaged():
            tensors = weights(self.model)
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise self._diverged(self.progress.step)
            if self.is_main:
                write(self.out / "model.safetensors", tensors, description(self.model, self.made()))
        if self.is_main:
            save_state(
                self._state, self.model, self.optimizer.optimizer, self.ema, self.progress,
                self._settings(),
            )  # fmt: skip
        self.accelerator.wait_for_everyone()
        self._saved = self.progress.step

    def made(self) -> Info:
        """`info`, with how far the model was trained and on what."""
        made = {
            **self.info.made,
            "epochs": round(self.progress.step * self.recipe.batch / self.order.length, 2),
            "steps": self.progress.step,
            "minutes": round(self.progress.minutes, 2),
            "seed": self.seed,
            "processes": self.accelerator.num_processes,
            "device": _device_name(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "torch": torch.__version__,
        }
        return replace(self.info, made=made)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model is what a user would sample from: averaged weights, eval mode."""
        training = self.model.training
        self.model.eval()
        try:
            with nullcontext() if self.ema is None else self.ema.swapped_in(), self._autocast():
                yield
        finally:
            self.model.train(training)

    def _autocast(self) -> torch.autocast:
        narrow = self.dtype is not torch.float32
        return torch.autocast(self.device.type, torch.bfloat16, enabled=narrow)

    def _batches(
        self, order: loading.BatchOrder, start: int
    ) -> Generator[dict[str, Tensor], None, None]:
        def batch(entries: list[int]) -> dict[str, Tensor]:
            one = loading.load(self.data, self.model.conditions, order.length, entries)
            if self.device.type == "cuda":  # else its copies would make the host wait
                one = {name: value.pin_memory() for name, value in one.items()}
            return one

        cuda = self.device.type == "cuda"
        threads = loading.THREADS if getattr(self.data, "costly", False) else int(cuda)
        for one in loading.ahead(order.lists(start), batch, threads):
            yield {name: v.to(self.device, non_blocking=True) for name, v in one.items()}

    def _step(self, step: int, batches: Iterator[dict[str, Tensor]]) -> Tensor:
        """One optimiser step; the mean loss of this process's share, still on the device."""
        recipe, parts = self.recipe, self.recipe.accumulate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, self.steps)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = loading.share(torch.arange(recipe.batch, device=self.device), rank, world)
        total = torch.zeros((), device=self.device)
        for part, places in enumerate(mine.chunk(parts)):
            last = part == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.trained):
                # For what the network itself draws, such as dropout.
                torch.manual_seed(hash((self.seed, step, rank * parts + part)))
                with self._autocast():
                    draws = Draws(self.seed, step, places, recipe.batch)
                    loss = self.trained(next(batches), draws) / parts
                self.accelerator.backward(loss)
            total += loss.detach()
        if recipe.max_norm is not None:
            self._norm = self.accelerator.clip_grad_norm_(
                self.trained.parameters(), recipe.max_norm
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update()
        return total

    def _settings(self) -> dict[str, Any]:
        return settings_of(self.recipe, self.model, self.info, self.data, self.order.length)

    def _log(self, bar: tqdm[Any], step: int, loss: float, steps: int, seconds: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(step)
        rate = steps * self.recipe.batch / max(seconds, 1e-9)
        bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} samples/s")
        if self.journal is not None:
            lr = learning_rate(self.recipe, step - 1, self.steps)
            minutes = self.progress.minutes + seconds / 60
            self.journal.losses(step, step / self.order.steps_per_epoch, minutes, lr, loss, rate)
            if self._norm is not None:
                self.journal.gradient(step, float(self._norm))

    def _diverged(self, step: int) -> UserError:
        kept = f", and another folder: {self.out} keeps what step {self._saved} had reached"
        return UserError(
            f"training diverged before step {step}, where the loss or the weights are no longer "
            "numbers: begin again with another seed or a lower learning rate"
            f"{kept if self._saved else ''}."
        )

    def _ends(self, step: int) -> bool:
        """Whether the run is looked at after so many steps: at the end, and at ends of epochs."""
        every = max(1, math.ceil(self.recipe.look_every / self.order.steps_per_epoch))
        epoch, within = divmod(step, self.order.steps_per_epoch)
        return step == self.steps or (step > 0 and within == 0 and epoch % every == 0)

    def _look(self, look: Look | None) -> None:
        with self.averaged():
            levels = validate(
                self.model, self.held_out, self.seed, self.recipe.batch, self.device, self.stopped
            )
        if levels and self.journal is not None:
            self.journal.validation(self.progress.step, levels)
        if look is not None and not self.stopped():
            look(self, math.ceil(self.progress.step / self.order.steps_per_epoch))
        if self.stopped():
            self.interrupted()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type.upper()}, {torch.get_num_threads()} threads"
