"""What a run on sound lets one hear and see: samples beside held-out clips of the same classes.

A run draws its samples in the way that its checkpoint recommends.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from tqdm import tqdm

from mmdiff.audio.datasets import Sounds
from mmdiff.audio.joining import one_after_another
from mmdiff.audio.pictures import gallery
from mmdiff.audio.sound import write
from mmdiff.image.pictures import save_png
from mmdiff.notes import generated
from mmdiff.sampling import in_parts
from mmdiff.solvers import SOLVERS, Solver
from mmdiff.training.checkpoints import Info
from mmdiff.training.runs import sample_names, take_turns
from mmdiff.training.trainer import Trainer


def classes(of: Sounds | Info) -> dict[str, int]:
    """The class conditions and their numbers of classes."""
    counts = {"label": len(of.labels), "speaker": len(of.speakers)}
    return {name: count for name, count in counts.items() if count}


def examples(info: Info, held_out: Sounds, columns: int) -> Tensor:
    """Real clips [N, C, L] in [-1, 1] for the classes of the first N samples.

    Each is of a sample's label and, where it can be, of its speaker; silence stands for labels
    that no held-out clip has. Without classes they are just the first clips. N is the number of
    labels, or `columns` if that is less.
    """
    count = min(columns, len(info.labels) or len(info.speakers) or len(held_out))
    turns = take_turns(classes(info), count)
    if not turns:
        return waveforms(torch.stack([held_out[index]["x"] for index in range(count)]), info)
    clips = torch.zeros(count, *info.shape)
    matches: list[tuple[bool, ...]] = [(False,)] * count
    for index in range(len(held_out)):
        item: Any = held_out[index]
        for column in range(count):
            match = tuple(item[name] == turn[column].item() for name, turn in turns.items())
            if match[0] and match > matches[column]:
                clips[column], matches[column] = item["x"], match
        if all(map(all, matches)):
            break
    return waveforms(clips, info)


def watch(trainer: Trainer, real: Tensor, epoch: int) -> None:
    """Samples beside the clips `real` as a picture, and one after another to listen to."""
    clips = draw(trainer, len(real))
    journal, rate, step = trainer.journal, _rate(trainer.info), trainer.progress.step
    if journal is None:
        return
    picture = _picture(clips, real, trainer.info)
    joined = one_after_another(clips, rate)
    note = _note(trainer)
    save_png(picture, trainer.out / "progress" / f"epoch_{epoch:03d}.png", note)
    write(trainer.out / "samples" / f"epoch_{epoch:03d}.wav", joined, rate, note)
    journal.picture("samples", picture, step)
    journal.audio("samples", joined, rate, step)


def finish(trainer: Trainer, real: Tensor, count: int) -> None:
    """`count` samples of the finished model, a file each; the first beside `real` in a picture."""
    clips = draw(trainer, count)
    if not trainer.is_main:
        return
    info, note = trainer.info, _note(trainer)
    shown = min(count, len(real))
    save_png(_picture(clips[:shown], real[:shown], info), trainer.out / "samples.png", note)
    who = _who(info, count)
    labels = [names["Label"] for names in who] if info.labels else None
    for clip, name, names in zip(clips, sample_names(labels, count), who, strict=True):
        path = trainer.out / "samples" / f"{name}.wav"
        write(path, clip, _rate(info), {**note, **names, "Sample": name})


def draw(trainer: Trainer, count: int) -> Tensor:
    """The first `count` samples [N, C, L] in [-1, 1]; the classes take turns where there are any.

    As many at a time as training sees.
    """
    info = trainer.info
    solver, settings = _method(info)
    settings |= take_turns(classes(info), count)
    batch = trainer.config.batch
    bar = tqdm(
        desc="drawing samples",
        total=-(-count // batch) * solver.steps,
        unit="step",
        leave=False,
        delay=2,
        disable=None if trainer.is_main else True,
    )

    def on_step(i: int, t: float, x: Tensor, x0: Tensor) -> None:
        bar.update()

    with trainer.averaged(), bar:
        parts = in_parts(
            trainer.model, (count, *info.shape), solver, trainer.config.seed, batch=batch,
            on_step=on_step, **settings,
        )  # fmt: skip
        return torch.cat([waveforms(part, info) for part in parts])


def waveforms(x: Tensor, info: Info) -> Tensor:
    """What the model makes as sound in [-1, 1] on the CPU; what lies beyond is cut off."""
    return (x / info.data_range[1]).clamp(-1, 1).to("cpu", torch.float32)


def _method(info: Info) -> tuple[Solver, dict[str, Any]]:
    """The recommended solver, and what else `sample` is to be told."""
    settings = dict(info.sampling)
    return SOLVERS[settings.pop("solver")](settings.pop("steps")), settings


def _rate(info: Info) -> int:
    assert info.sample_rate is not None
    return info.sample_rate


def _picture(clips: Tensor, real: Tensor, info: Info) -> Image:
    captions = [" ".join(names.values()) for names in _who(info, len(clips))]
    rows = [("generated", clips), ("real", real)]
    return gallery(rows, _rate(info), captions if any(captions) else None)


def _who(info: Info, count: int) -> list[dict[str, str]]:
    """The classes of the first `count` samples: {"Label": "7", "Speaker": "theo"} and so on."""
    known = {"label": info.labels, "speaker": info.speakers}
    turns = take_turns(classes(info), count)
    return [
        {name.title(): known[name][int(turn[place])] for name, turn in turns.items()}
        for place in range(count)
    ]


def _note(trainer: Trainer) -> dict[str, str]:
    """What every generated file says of itself."""
    solver, settings = _method(trainer.info)
    model = f"{trainer.out.name}/model"
    note = generated(model, trainer.config.seed, solver, settings.pop("guidance", None))
    return {**note, **{name.title(): str(value) for name, value in settings.items()}}
