"""Trains a diffusion model of any signal: one process or several, CPU or CUDA."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmdiff.diffusion import Diffusion
from mmdiff.errors import Interrupted, UserError
from mmdiff.files import discard_leftovers, make_folder
from mmdiff.nn import EMA
from mmdiff.tensorfile import write
from mmdiff.training import draws
from mmdiff.training.checkpoints import Info, describe, weights
from mmdiff.training.config import TrainingConfig
from mmdiff.training.interruption import full_disk, interruption
from mmdiff.training.journal import Journal
from mmdiff.training.optimizers import learning_rate, make_optimizer
from mmdiff.training.processes import join
from mmdiff.training.state import Progress, load_state, save_state, settings_of
from mmdiff.training.validation import validate

LOG_EVERY = 50
ASK_EVERY = 10  # steps between which several processes do not wait for each other's devices

OnEpoch = Callable[["Trainer", int], None]


class Trainer:
    """Runs `config.steps` optimiser steps and keeps everything about them in the folder `out`.

    `out/model.safetensors` is the model so far (averaged weights), `out/resume/` what resuming
    needs, `out/losses.csv` and `out/validation.csv` the figures, `out/tensorboard/` the same to
    watch. A run that was stopped at any moment and resumed ends with the weights, bit for bit,
    of one that was not (CPU, the same number of threads).

    Args:
        model: what is trained, on the CPU; moved to the device.
        data: items are dicts with "x" [C, *spatial] and the conditions, such as "label".
        validation: held-out items for the loss by noise level.
        config: see `TrainingConfig`.
        out: a folder of this run's own.
        info: what the checkpoint says of the model.
        device: "cpu", "cuda", or "auto" for CUDA where there is any.
        resume: go on from what `out` holds.

    Raises:
        UserError: `out` cannot be written to, holds another run, or none to resume; the device
            is not there; the processes cannot share a batch evenly, or would divide the model.
        ValueError: a backbone that a checkpoint cannot hold, see `mmdiff.training.checkpoints`.
    """

    def __init__(
        self,
        model: Diffusion,
        data: Dataset[Any],
        validation: Dataset[Any],
        config: TrainingConfig,
        out: Path,
        info: Info,
        device: str = "auto",
        resume: bool = False,
    ) -> None:
        self.accelerator = join(device)
        world = self.accelerator.num_processes
        if config.batch % (world * config.accumulate):
            raise UserError(
                f"a batch of {config.batch} cannot be shared evenly by {world} processes "
                f"x {config.accumulate} parts: start another number of processes, or choose a "
                f"--batch that is a multiple of {world * config.accumulate}."
            )
        describe(model, info)  # what cannot be saved is found out before it is trained
        self.data, self.validation = data, validation
        self.config, self.out, self.info = config, out, info
        self.order = draws.BatchOrder(
            len(_sized(data)), config.batch, config.seed, 0, config.accumulate,
            self.accelerator.process_index, world,
        )  # fmt: skip
        self._state = out / "resume" / "state.safetensors"
        if self._state.exists() and not resume:
            raise UserError(f"{out} already holds a run: add --resume, or choose another --out.")
        optimizer = make_optimizer(model, config)
        self.trained, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.model: Diffusion = self.accelerator.unwrap_model(
            self.trained, keep_fp32_wrapper=False, keep_torch_compile=False
        )
        self.ema = None if config.ema is None else EMA(self.model, config.ema)
        self.progress = Progress()
        if resume:
            if self.is_main:
                discard_leftovers(out)
            self.progress = load_state(
                self._state, self.model, self.optimizer.optimizer, self.ema, self._settings()
            )
        self._saved = self.progress.step
        self._norm: Tensor | None = None  # of the last gradient, before it was clipped
        self.journal: Journal | None = None
        if self.is_main:
            with self.writing():
                make_folder(out)
                self.journal = Journal(out, self._saved)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return bool(self.accelerator.is_main_process)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def writing(self) -> AbstractContextManager[None]:
        """Inside, a full disk is a UserError that says what of this run is safe."""
        return full_disk(self.out, lambda: self._saved)

    def fit(self, on_epoch: OnEpoch | None = None, every: int = 1) -> None:
        """Train to the end; validate, save and call `on_epoch(self, epoch)` every so many epochs.

        And at the end, whatever epoch it is.

        Raises:
            Interrupted: on Ctrl-C or SIGTERM, after saving.
            UserError: a loss or weights that are not finite, a full disk; what was saved before
                stays.
        """
        total, first = self.config.steps, self.progress.step
        batches = self._batches(first)
        bar = tqdm(total=total, initial=first, unit="step", disable=None if self.is_main else True)
        with interruption() as asked, bar, self.writing():
            window = torch.zeros((), device=self.device)
            begun, logged = time.monotonic(), first
            for step in range(first, total):
                window += self._step(step, batches)
                bar.update()
                done = step + 1
                epoch, within = divmod(done, self.order.steps_per_epoch)
                ends = (within == 0 and epoch % every == 0) or done == total
                stop = self._any(bool(asked), done)
                if done % LOG_EVERY == 0 or done % self.config.save_every == 0 or ends or stop:
                    # Each process draws other noise levels. This waits for the device.
                    loss = float(self.accelerator.reduce(window, "mean")) / (done - logged)
                    spent = time.monotonic() - begun
                    minutes = self.progress.minutes + spent / 60
                    self._log(bar, done, loss, done - logged, spent)
                    self.progress = Progress(done, minutes)
                    window.zero_()
                    if ends:
                        self._validate(done)
                    if done % self.config.save_every == 0 or ends or stop:
                        self.save()
                    if ends and on_epoch is not None:
                        on_epoch(self, epoch + (within > 0))
                    if stop or (done == total and self._any(bool(asked), done)):
                        raise Interrupted(
                            f"stopped after step {done} of {total}; all of it is in {self.out}: "
                            "run the same command with --resume to go on."
                        )
                    begun, logged = time.monotonic(), done

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
                write(self.out / "model.safetensors", tensors, describe(self.model, self.made()))
        if self.is_main:
            save_state(
                self._state, self.model, self.optimizer.optimizer, self.ema, self.progress,
                self._settings(),
            )  # fmt: skip
        self.accelerator.wait_for_everyone()  # a launcher ends all processes with the first
        self._saved = self.progress.step

    def made(self) -> Info:
        """`info`, with how far the model was trained and on what."""
        made = {
            **self.info.made,
            "steps": self.progress.step,
            "minutes": round(self.progress.minutes, 2),
            "processes": self.accelerator.num_processes,
            "device": _device_name(self.device),
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
        bf16 = self.config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _batches(self, start: int) -> Iterator[dict[str, Tensor]]:
        self.order.start = start
        data = draws.Visited(self.data, self.order.length)
        pinned = self.device.type == "cuda"  # else its copies would make the host wait
        return iter(DataLoader(data, batch_sampler=self.order, pin_memory=pinned))

    def _step(self, step: int, batches: Iterator[dict[str, Tensor]]) -> Tensor:
        """One optimiser step; the mean loss of this process's share, still on the device."""
        config, parts = self.config, self.config.accumulate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = draws.share(torch.arange(config.batch, device=self.device), rank, world)
        total = torch.zeros((), device=self.device)
        for part, places in enumerate(mine.chunk(parts)):
            last = part == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.trained):
                # For what the network itself draws, such as dropout.
                torch.manual_seed(hash((config.seed, step, rank * parts + part)))
                with self._autocast():
                    loss = self._loss(step, next(batches), places) / parts
                self.accelerator.backward(loss)
            total += loss.detach()
        if config.clip is not None:
            self._norm = self.accelerator.clip_grad_norm_(self.trained.parameters(), config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update()
        return total

    def _loss(self, step: int, batch: dict[str, Tensor], places: Tensor) -> Tensor:
        seed, config = self.config.seed, self.config
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        x = batch.pop("x")
        u = draws.times(seed, step, places, config.batch)
        cond = {
            name: draws.hide(seed, step, places, value, config.label_dropout)
            for name, value in batch.items()
            if name in self._conditions
        }
        if config.times == "uniform":
            t = self.model.schedule.training_time(u)
        else:
            t = self.model.schedule.time_of(draws.log_snrs(u)).to(u.dtype)
        noise = draws.gaussian(seed, step, places, x)
        loss: Tensor = self.trained(x, t=t, noise=noise, **cond)
        return loss

    @property
    def _conditions(self) -> set[str]:
        return set(getattr(self.model.backbone, "conditions", {}))

    def _settings(self) -> dict[str, Any]:
        return settings_of(self.config, self.model, self.info, self.order.length)

    def _log(self, bar: tqdm[Any], step: int, loss: float, steps: int, seconds: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(step)
        rate = steps * self.config.batch / max(seconds, 1e-9)
        bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} samples/s")
        if self.journal is not None:
            lr = learning_rate(self.config, step - 1)
            minutes = self.progress.minutes + seconds / 60
            self.journal.losses(step, step / self.order.steps_per_epoch, minutes, lr, loss, rate)
            if self._norm is not None:
                self.journal.gradient(step, float(self._norm))

    def _diverged(self, step: int) -> UserError:
        kept = f", and another --out: {self.out} keeps what step {self._saved} had reached"
        return UserError(
            f"training diverged before step {step}, where the loss or the weights are no longer "
            "numbers: begin again with another --seed or a lower --lr"
            f"{kept if self._saved else ''}."
        )

    def _validate(self, step: int) -> None:
        with self.averaged():
            levels = validate(self.model, self.validation, self._conditions, self.config.seed)
        if self.journal is not None:
            self.journal.validation(step, levels)

    def _any(self, mine: bool, step: int) -> bool:
        """Whether any process was asked to stop: all must stop at the same step."""
        if self.accelerator.num_processes == 1:
            return mine
        if step % ASK_EVERY and step != self.config.steps:
            return False
        asked = torch.tensor(float(mine), device=self.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)


def _sized(data: Dataset[Any]) -> Sized:
    if not isinstance(data, Sized) or len(data) == 0:
        raise UserError("there is nothing to train on: the data set is empty.")
    return data


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
