"""How well does a trained model restore, beside other methods with the same prior and with none?

    python benchmarks/restoration.py --data-dir data

Six kinds of damage to written digits (every 20th of MNIST's test images) and six to spoken ones
(every second test clip of FSDD), undone by `mmdiff.restore` in 25 network calls, by deepinv's
samplers in 100 with the same model, and by what people use who have no model. A row that is in the
CSV file is not measured again. Networks compute in bfloat16 with --precision bfloat16.

The columns: `one` is the PSNR of pictures or SI-SDR of sounds, in dB, of one answer, on the missing
part if there is one; `mean` that of the mean of four answers, of as many items as peers are asked
for; `equal` that of the mean of all answers, 16 of ours and four of theirs, which are 400 calls
each; `lsd` the log-spectral distance in dB of one answer; `right` what the judge reads right;
`covered` how often the truth lies between the least and the largest of 16 answers, which is 15 of
17 where it is one of their like, for elements where these deviate (`DEVIATION`). `scores` holds the
main measure of a task, item by item.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from restoration_peers import CLASSICS, DEEPINV, Problem, Sampler
from rows import Rows, digits, machine, parse, parser
from torch import Tensor, nn

import mmdiff
from mmdiff import noise
from mmdiff.audio import Sound
from mmdiff.image import Pictures
from mmdiff.metrics.batches import take
from mmdiff.metrics.judge import load_judge, run_judge
from mmdiff.metrics.speech_judge import load_speech_judge
from mmdiff.posterior import Posterior, clipped
from mmdiff.restore import Filter, Linear, Mask, Room, gaussian, lowpass, tasks, usual
from mmdiff.restore.drawing import HOLES, LOOSE, around, draw
from mmdiff.steering import Known, Steering

DRAWS, MEAN = 16, 4
DEVIATION = 0.05  # of what the range of the data spans
BATCH = {"digits": 240, "speech": 60}
SIDE, LENGTH, RATE, SCALE = 28, 5120, 8000, 4.0
PICTURE, SOUND = (1, SIDE, SIDE), (1, LENGTH)
_DAMAGE = 40  # stream of the noise in measurements


@dataclass(frozen=True)
class Task:
    """A kind of damage: y = A x + sigma n, or what is left after clipping.

    Attributes:
        model: the bundled one that undoes it.
        main: the column that it is mostly about.
        hidden: what is drawn anew, where the rest stays; None if all does.
        level: what is cut off beyond it; None if nothing is.
        classics: what has no model and undoes it too, keys of `CLASSICS`.
    """

    name: str
    model: str
    main: str
    physics: Linear
    sigma: float = tasks.SIGMA
    hidden: Tensor | None = None
    level: float | None = None
    classics: tuple[str, ...] = ()

    @property
    def unit(self) -> float:
        """What the largest of its signals is to the model."""
        return 1.0 if self.model == "digits" else SCALE

    def damaged(self, x: Tensor) -> Tensor:
        if self.level is not None:
            return x.clamp(-self.level, self.level)
        y = self.physics.A(x)
        if self.hidden is not None:
            return y
        z = noise.normal(0, torch.arange(len(y)), 0, y.shape[1:], stream=_DAMAGE)
        return y + self.sigma * z


def hiding(name: str, model: str, main: str, hidden: Tensor, *classics: str) -> Task:
    shape = PICTURE if model == "digits" else SOUND
    return Task(name, model, main, Mask(shape, ~hidden), hidden=hidden, classics=classics)


def all_tasks() -> tuple[Task, ...]:
    place, time_ = torch.arange(SIDE), torch.arange(LENGTH) / RATE
    inside = (place >= 8) & (place < 20)
    whole = torch.ones((), dtype=torch.bool)
    echoes = noise.normal(1, torch.zeros(1, dtype=torch.int64), 0, (1600,), stream=_DAMAGE)[0]
    room = 0.2 * echoes * torch.exp(-torch.arange(1600) / (0.03 * RATE))
    room[0] = 1.0
    return (
        hiding("lower half", "digits", "right", (place[:, None] >= 14).expand(SIDE, SIDE),
               "biharmonic"),
        hiding("hole of 12 x 12", "digits", "mean", inside[:, None] & inside, "biharmonic"),
        Task("enlarge x2", "digits", "mean", Filter(PICTURE, lowpass(1 / 2, even=True), 2),
             classics=("cubic",)),
        Task("enlarge x4", "digits", "mean", Filter(PICTURE, lowpass(1 / 4, even=True), 4),
             classics=("cubic",)),
        Task("deblur 1.5", "digits", "mean", Filter(PICTURE, gaussian(1.5)),
             classics=("as given", "Wiener")),
        Task("denoise 0.5", "digits", "mean", Mask(PICTURE, whole), 0.5,
             classics=("as given", "median", "Wiener")),
        hiding("gap of 80 ms", "speech", "lsd", (time_ >= 0.12) & (time_ < 0.2), "linear", "Burg"),
        hiding("go on after 0.25 s", "speech", "right", time_ >= 0.25, "Burg"),
        Task("declip at 0.2", "speech", "mean", Mask(SOUND, whole), level=0.2 * SCALE,
             classics=("as given", "cubic peaks")),
        Task("band of 1 kHz", "speech", "lsd", Filter(SOUND, lowpass(0.25, lobes=16)),
             classics=("as given",)),
        Task("denoise 0.1", "speech", "mean", Mask(SOUND, whole), 0.1 * SCALE,
             classics=("as given", "Wiener", "spectral")),
        Task("room", "speech", "mean", Room(SOUND, room), 0.01 * SCALE,
             classics=("as given", "Wiener")),
    )  # fmt: skip


def items(model: str, data_dir: Path | None) -> dict[str, Tensor]:
    """All that are damaged: 500 digits or 150 spoken ones, "x" in [-1, 1], and "label"."""
    if model == "digits":
        return take(Pictures.open("mnist", "test", data_dir), range(0, 10_000, 20))
    return take(Sound.open("fsdd", "test", data_dir), range(0, 300, 2))


def answers(
    model: mmdiff.Diffusion, task: Task, y: Tensor, calls: int, first: int, told: Mapping[str, Any]
) -> Tensor:
    """One answer to each of `y`, as `mmdiff.restore` draws it."""
    sampling = replace(usual(model), steps=calls)
    how: dict[str, Any] = {"first": first, "count": len(y), **told}
    shape = task.physics.shape
    if task.level is not None:
        top = y.abs() >= task.level
        steer: list[Steering] = [clipped(y, task.level, LOOSE, rounds=1), Known(y, ~top)]
        x = draw(model, shape, steer, sampling=sampling, begins=HOLES, **how)
        x = torch.where(top, y.sign() * torch.maximum(x * y.sign(), y.abs()), x)
    elif task.hidden is not None:
        steer = [around(y, ~task.hidden), Known(y, ~task.hidden)]
        x = draw(model, shape, steer, sampling=sampling, begins=HOLES, **how)
    elif isinstance(task.physics, Mask):
        t, alpha, sampling = tasks.noisy(model, task.sigma, sampling)
        x = draw(model, shape, start=t, noise=alpha * y, sampling=sampling, **how)
    else:
        steer = [Posterior(y, task.physics, task.sigma)]
        x = draw(model, shape, steer, sampling=sampling, **how)
    return x


def quality(x: Tensor, truth: Tensor, task: Task) -> Tensor:
    """PSNR of pictures or SI-SDR of sounds [B], in dB, of the missing part if there is one."""
    if task.hidden is not None:
        x, truth = x[..., task.hidden], truth[..., task.hidden]
    x, truth = x.flatten(1), truth.flatten(1)
    if task.model == "digits":
        return -10 * ((x - truth) / 2).square().mean(1).log10()
    scale = (x * truth).sum(1, keepdim=True) / truth.square().sum(1, keepdim=True).clamp(min=1e-9)
    wanted = scale * truth
    ratio = wanted.square().sum(1) / (x - wanted).square().sum(1).clamp(min=1e-9)
    return 10 * ratio.clamp(min=1e-3).log10()


def spectral(x: Tensor, truth: Tensor) -> Tensor:
    """The log-spectral distance [B] in dB of sounds, 60 dB deep, frame by frame."""
    window = torch.hann_window(256)

    def power(x: Tensor) -> Tensor:
        return torch.stft(x[:, 0], 256, 64, window=window, return_complex=True).abs().square()

    floor = 1e-6 * power(truth).amax((1, 2), keepdim=True)
    difference = 10 * (power(x).maximum(floor) / power(truth).maximum(floor)).log10()
    return difference.square().mean(1).sqrt().mean(1)


class Within(nn.Module):
    """A network that computes in bfloat16; what is around it does not."""

    def __init__(self, network: nn.Module, fast: bool) -> None:
        super().__init__()
        self.network, self.fast = network, fast

    def forward(self, x: Tensor, *args: Any, **told: Any) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.fast):
            y: Tensor = self.network(x, *args, **told)
        return y.to(x.dtype)


class Judges:
    def __init__(self) -> None:
        self.of = {"digits": load_judge(), "speech": load_speech_judge()}

    def right(self, x: Tensor, task: Task, label: Tensor) -> Tensor:
        """[B], whether each is read as what it is."""
        return (run_judge(self.of[task.model], x / task.unit)[1].argmax(1) == label).float()


def covered(draws: Tensor, truth: Tensor, span: float) -> dict[str, float]:
    """How often `truth` [B, ...] lies within `draws` [N, B, ...], and its standard error over B.

    A truth that equals the least or the largest to 8 bits is within as often as beyond.
    """
    drawn, true = ((v / span * 255).round() for v in (draws, truth))
    least, largest = drawn.amin(0), drawn.amax(0)
    inside = ((true > least) & (true < largest)).float()
    inside += 0.5 * ((true == least) | (true == largest)).float()
    counted = (draws.std(0) > DEVIATION * span).flatten(1).float()
    hits, of = (inside.flatten(1) * counted).sum(1), counted.sum(1)
    rate = hits.sum() / of.sum()
    error = (hits - rate * of).square().sum().sqrt() / of.sum()
    return {"covered": digits(float(rate)), "covered_error": digits(float(error), 2)}


Answer = Callable[[int, int], Tensor]  # a draw's number, and of how many items -> [items, ...]


def measure(task: Task, answer: Answer, x: Tensor, label: Tensor, judges: Judges, ours: bool,
            few: int, calibrated: int, draws: int) -> dict[str, Any]:  # fmt: skip
    """Columns of a row about answers to all of `x` by ourselves, or to a `few` of it by peers."""
    count = len(x) if ours else few
    start = time.perf_counter()
    found = [answer(0, count)] + [
        answer(draw, few if draw < MEAN else calibrated) for draw in range(1, draws)
    ]
    seconds = (time.perf_counter() - start) / sum(map(len, found))
    means = [
        quality(torch.stack([one[:few] for one in found[:n]]).mean(0), x[:few], task)
        for n in (MEAN, draws)
    ]
    right = [judges.right(one, task, label[: len(one)]) for one in found[:MEAN]]
    scores = {"mean": means[1]}
    scores["right"] = torch.stack([one[:few] for one in right]).mean(0)
    row = {
        "items": count, "one": digits(float(quality(found[0], x[:count], task).mean())),
        "mean": digits(float(means[0].mean())), "equal": digits(float(means[1].mean())),
        "right": digits(float(right[0].mean())),
    }  # fmt: skip
    if task.model == "speech":
        one = [spectral(one[:few], x[:few]) for one in found[:MEAN]]
        scores["lsd"] = torch.stack(one).mean(0)
        row["lsd"] = digits(float(scores["lsd"].mean()))
    if draws == DRAWS:
        some = torch.stack([one[:calibrated] for one in found])
        row |= covered(some, x[:calibrated], 2 * task.unit)
    listed = " ".join(f"{value:.4g}" for value in scores[task.main].tolist())
    return {**row, "seconds": digits(seconds, 3), "scores": listed}


def main() -> None:
    made = parser(
        __doc__, counts={"digits": 500, "speech": 150}, few={"digits": 24, "speech": 12},
        calibrated={"digits": 24, "speech": 12}, draws=DRAWS, peer_draws=MEAN,
    )  # fmt: skip
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    made.add_argument("--only", nargs="+", default=[], help="names of tasks; all if not given")
    made.add_argument("--methods", nargs="+", default=[], help="likewise")
    args = parse(
        made, counts={"digits": 4, "speech": 2}, few={"digits": 2, "speech": 2},
        calibrated={"digits": 2, "speech": 2}, draws=2, peer_draws=1,
    )  # fmt: skip
    rows = Rows(args.out / "restoration.csv", ("task", "method", "told", "calls"))
    judges = Judges()
    data = {name: items(name, args.data_dir) for name in BATCH}
    for task in all_tasks():
        if args.only and task.name not in args.only:
            continue
        model = mmdiff.load(task.model, device=args.device)
        model.backbone = Within(model.backbone, args.precision == "bfloat16")
        x, label = (data[task.model][name][: args.counts[task.model]] for name in ("x", "label"))
        x = x * task.unit
        y = task.damaged(x)
        for row, answer in methods(model, task, y, label, args.quick):
            if row in rows or row["method"] not in (args.methods or [row["method"]]):
                continue
            ours = row["method"] == "mmdiff"
            alone = ours or row["calls"] == 0
            draws = (args.draws if ours else args.peer_draws) if row["calls"] else 1
            row |= measure(task, answer, x, label, judges, alone, args.few[task.model],
                           args.calibrated[task.model], draws)  # fmt: skip
            rows.add({**row, "precision": args.precision, "machine": machine(args.device)})


def methods(
    model: mmdiff.Diffusion, task: Task, y: Tensor, label: Tensor, quick: bool
) -> Iterator[tuple[dict[str, Any], Answer]]:
    """The first columns of each row of a task, and what answers."""
    open_ended = task.main == "right"
    for told in (False, True) if open_ended else (False,):
        for calls in (25, 50) if open_ended and not told else (25,):

            def ours(index: int, count: int, told: bool = told, calls: int = calls) -> Tensor:
                parts = []
                for first in range(0, count, BATCH[task.model]):
                    part = slice(first, min(first + BATCH[task.model], count))
                    known = {"label": label[part]} if told else {}
                    place = index * len(y) + first
                    steps = 2 if quick else calls
                    parts.append(answers(model, task, y[part], steps, place, known))
                return torch.cat(parts)

            yield {"task": task.name, "method": "mmdiff", "told": told, "calls": calls}, ours
    problem = Problem(model, task.physics, task.sigma, task.hidden, task.level, task.unit)
    for name, classic in CLASSICS.items():
        if name in task.classics:
            row = {"task": task.name, "method": name, "told": False, "calls": 0}
            yield row, partial(_classic, classic, problem, y)
    for name, sampler in DEEPINV.items():
        if sampler.serves(problem):
            calls = 3 if quick else 100
            row = {"task": task.name, "method": name, "told": False, "calls": 100}
            yield row, partial(_sampled, sampler, problem, y, calls)


def _classic(
    classic: Callable[[Problem, Tensor], Tensor], problem: Problem, y: Tensor, _: int, count: int
) -> Tensor:
    return classic(problem, y[:count])


def _sampled(
    sampler: Sampler, problem: Problem, y: Tensor, calls: int, index: int, count: int
) -> Tensor:
    return sampler.draw(problem, y[:count], calls, index)


if __name__ == "__main__":
    main()
