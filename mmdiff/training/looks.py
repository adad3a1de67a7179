"""What a run lets one see and hear, by its modality alone.

On the way: what the model makes of held-out signals at several noise levels, and samples. At the
end: samples, a file each, and how they came out of the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff import noise
from mmdiff.data.turns import evenly, sample_names, take_turns
from mmdiff.diffusion import Diffusion
from mmdiff.modality import Rows
from mmdiff.notes import generated
from mmdiff.raster import save_gif, save_png
from mmdiff.sampling import OnStep, Sampling, drawn, steps_of
from mmdiff.training.loading import load
from mmdiff.training.trainer import Trainer

TIMES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
SHOWN = 4  # held-out signals in the picture of the progress
STATES = (0.2, 0.5, 0.7, 0.8, 0.9, 1.0)  # parts of the way in the picture of the reverse process
TRACED = 8  # samples in it


class Looks:
    """Looks at a trainer's `Diffusion`; of signals without a modality there are none."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.info = trainer.info
        self.model = cast(Diffusion, trainer.model)
        drawn = isinstance(trainer.model, Diffusion)  # other objectives make no samples
        self.modality: Any = trainer.info.modality if drawn else None
        self.recipe = trainer.recipe
        self.kinds = trainer.model.conditions
        self.told = self.model.usually_told if drawn else {}
        self.counts = {name: kind.choices for name, kind in self.told.items() if kind.choices}

    def watch(self, trainer: Trainer, epoch: int) -> None:
        """The progress picture and samples, as files and in TensorBoard."""
        if self.modality is None:
            return
        with trainer.averaged():
            table = self._progress()
        # Not in there, where what draws sounds would compute in bfloat16 too.
        progress = self.modality.show(table, ["x0", *(f"t = {t:g}" for t in TIMES)])
        sampling = self.recipe.preview or self.recipe.sampling
        x = self._draw(sampling) if self.recipe.samples else None
        if trainer.journal is None:
            return
        name, step = f"epoch_{epoch:03d}", trainer.progress.step
        note = self._note(sampling)
        save_png(progress, trainer.out / "progress" / f"{name}.png", note)
        trainer.journal.picture("progress", progress, step)
        if x is None:
            return
        x = self._few(x)
        picture = self.modality.show([("", x)])
        save_png(picture, trainer.out / "samples" / f"{name}.png", note)
        trainer.journal.picture("samples", picture, step)
        if heard := self.modality.heard(x):
            wave, rate = heard
            trainer.journal.audio("samples", wave, rate, step)
            self.modality.write(x, trainer.out / "samples" / f"{name}.wav", note)

    def finish(self) -> None:
        """Samples of the finished model, a file each; together; and the reverse process.

        Raises:
            Interrupted: on a signal, between two parts.
        """
        trainer, sampling = self.trainer, self.recipe.sampling
        if self.modality is None or not self.recipe.samples:
            return
        steps = steps_of(self.model, sampling)
        marks = {round(part * steps) - 1: part for part in STATES}
        shown = set(range(steps - 1, -1, -max(1, steps // self.modality.frames)))
        states: dict[int, Tensor] = {}

        def on_step(step: int, t: float, x: Tensor, x0: Tensor) -> None:
            if (step in marks or step in shown) and step not in states:  # of the first part
                states[step] = x[:TRACED].cpu()

        x = self._draw(sampling, on_step)
        if not trainer.is_main:
            return
        note = self._note(sampling)
        picture = self.modality.show([("", self._few(x))])
        save_png(picture, trainer.out / "samples.png", note)
        labels = self._names(len(x))
        for one, name in zip(x, sample_names(labels, len(x)), strict=True):
            path = trainer.out / "samples" / f"{name}{self.modality.writes[0]}"
            self.modality.write(one, path, {**note, "Sample": name})
        last = states[steps - 1]
        start = noise.normal(trainer.seed, torch.arange(len(last)), -1, last.shape[1:])
        row = [start, *(states[step] for step in sorted(marks) if step in states)]
        captions = ["start", *(str(step + 1) for step in sorted(marks) if step in states)]
        told = {name: value[: len(last)] for name, value in self._told(self.recipe.samples).items()}
        seen = torch.stack([self._decode(state, told) for state in row], dim=1)
        rows = [("", columns) for columns in seen]
        save_png(self.modality.show(rows, captions), trainer.out / "reverse.png", note)
        frames = [self.modality.show([("", self._decode(states[i], told))]) for i in sorted(shown)]
        save_gif(frames, trainer.out / "reverse.gif", note=note)

    def _draw(self, sampling: Sampling, on_step: OnStep | None = None) -> Tensor:
        """The first samples, at most as many as the recipe leaves; the classes take turns.

        A batch of the training's size at a time, so that they take no more memory than a step.
        """
        trainer, count = self.trainer, self.recipe.samples
        size = min(count, self.recipe.batch)
        parts: list[Tensor] = []
        bar = tqdm(
            desc="drawing samples", total=-(-count // size) * steps_of(self.model, sampling),
            unit="step", leave=False, delay=2, disable=None if trainer.is_main else True,
        )  # fmt: skip

        def step(i: int, t: float, x: Tensor, x0: Tensor) -> None:
            bar.update()
            if on_step is not None:
                on_step(i, t, x, x0)

        shape, told = (count, *self.info.shape), self._told(count)
        how: dict[str, Any] = {"batch": size, "on_step": step, **told}
        with trainer.averaged(), bar:
            for x in drawn(self.model, shape, sampling, trainer.seed, **how):
                parts.append(x.float().cpu())
                if trainer.stopped():
                    trainer.interrupted()
        return torch.cat(parts)

    @torch.no_grad()
    def _progress(self) -> Rows:
        """For a few held-out signals: noised at several t, and below that the estimates of x0."""
        model, device = self.model, self.trainer.device
        told = self._held_out(SHOWN)
        x = told.pop("x")
        x0 = model.encode(x, **told)
        z = noise.normal(self.trainer.seed, torch.arange(len(x), device=device), 0, x0.shape[1:])
        noised, denoised = [x.cpu()], [x.cpu()]
        for t in TIMES:
            at = torch.full((len(x),), t, device=device)
            x_t = model.add_noise(x0, at, z)
            noised.append(self._decode(x_t, told))
            denoised.append(self._decode(model.denoise(x_t, at, **told).x0, told))
        rows = zip(torch.stack(noised, dim=1), torch.stack(denoised, dim=1), strict=True)
        return [pair for a, b in rows for pair in (("noised", a), ("denoised", b))]

    @torch.no_grad()
    def _decode(self, z: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """A state of the model, which is told this, as the signal that it is of."""
        x: Tensor = self.model.decode(z.to(self.trainer.device), self.info.shape[1:], **told)
        return x.float().cpu()

    def _told(self, count: int) -> dict[str, Tensor]:
        """What the first samples are told: classes take turns, all else is of held-out signals."""
        told = self._held_out(count) | take_turns(self.counts, count)
        return {name: told[name] for name in self.told}

    def _held_out(self, count: int) -> dict[str, Tensor]:
        """So many held-out signals, spread over all, and what is told of them, on the device."""
        data = self.trainer.held_out
        alike = list(range(len(data)))
        if hasattr(data, "shapes"):
            usual = self.info.shape if self.info.shape in data.shapes else data.shape
            alike = [place for place in alike if data.shapes[place] == usual]
        places = evenly(len(alike), min(count, len(alike)))[torch.arange(count) % len(alike)]
        batch = load(data, self.kinds, len(data), [alike[place] for place in places.tolist()])
        return {name: value.to(self.trainer.device) for name, value in batch.items()}

    def _few(self, x: Tensor) -> Tensor:
        """What one takes in at once: any number of pictures; of what is heard one of each class."""
        if self.modality.heard(x) is None:
            return x
        return x[: max(self.counts.values(), default=TRACED)]

    def _names(self, count: int) -> list[str] | None:
        """The label of each of `count` samples, if there are labels."""
        if "label" not in self.counts:
            return None
        kind = self.kinds["label"]
        return [kind.say(i) for i in take_turns(self.counts, count)["label"].tolist()]

    def _note(self, sampling: Sampling) -> dict[str, str]:
        return generated(f"{self.trainer.out.name}/model", self.trainer.seed, sampling)
