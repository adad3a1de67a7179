"""Which front end makes the better sound of the same minutes of training?

    python benchmarks/frontend_quality.py --data-dir data                     # a night on a CPU
    python benchmarks/frontend_quality.py --frontends patch:16 mdct:16 --seeds 0 --minutes 5
    python benchmarks/frontend_quality.py --dataset synthetic                 # at 22.05 kHz

Each front end, with each seed, trains the recipe's network for as many steps as fit into the same
minutes, at the pace that `pacing.py` finds; a learning rate that falls to 0 ends with them. `fsdd`
is spoken digits at 8 kHz, `synthetic` half seconds of plucked strings and drums at 22.05 kHz, with
half the recipe's width. Then, of the averaged weights:

- loss: of v on held-out clips, the mean over noise levels and the levels one by one;
- accuracy, speakers, frechet, floor: what the judge of spoken digits says, without guidance;
- tilt: `spectral_distance` of samples from test clips; tilt_floor: that of training clips;
- spurs, phase variance and coherence at the front end's factor, generated minus real
  (`mmdiff.metrics.aliasing`), and the mean of the same at its two control periods;
- the denoiser's image rejection and shift error on test clips (`mmdiff.metrics.equivariance`).

Samples are drawn with (spun) and without (plain) cycle spinning. Raw waveforms have no period: at
theirs, 16 is sought. A run that was stopped is gone on with. Some clips of seed 0 are kept.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import mean, median_low
from typing import Any

import torch
from pacing import paces, trainer
from rows import Rows, about, digits, parse, parser
from torch import Tensor

import mmdiff
from mmdiff.audio import presets
from mmdiff.audio.modality import Sound
from mmdiff.metrics.aliasing import evaluate_aliasing
from mmdiff.metrics.batches import Batch, draw, take
from mmdiff.metrics.equivariance import DenoiserReport, denoiser_artefacts
from mmdiff.metrics.frames import PROBED, TIMES, frame_length
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.sounds import spectral_distance
from mmdiff.metrics.speech import evaluate_speech
from mmdiff.sampling import Sampling
from mmdiff.training.validation import validate

FRONTENDS = (
    "patch:16", "mdct:16", "patch:64", "mdct:64", "learned:64", "stft", "patch:128", "raw",
    "patch:8", "mdct:8", "learned:16", "patch:32", "mdct:32", "patch:4",
)  # fmt: skip
DATA = {"fsdd": (presets.WIDTH, None), "synthetic": (presets.WIDTH // 2, 0.5)}  # width, seconds
RAW_PERIOD = 16  # sought where no front end has one
HEARD = 6  # clips to listen to
BATCH = 50

RUNS = Path("runs/frontend_quality")

Found = dict[str, Any]


class Bench:
    """The data, and how front ends are trained and judged on it."""

    def __init__(self, args: Any) -> None:
        self.args = args
        self.width, seconds = DATA[args.dataset]
        opened = partial(Sound.open, args.dataset, data_dir=args.data_dir, seconds=seconds)
        self.data: Any = opened("train")
        self.held_out = opened("test")
        self.train = take(opened("train", shift=False, flip=False))
        self.test = take(self.held_out)
        self.runs = RUNS / args.device / args.dataset
        makes = {name: partial(self.trainer, name, 0) for name in args.frontends}
        self.paces = paces(makes, self.runs / "pace.json", args.quick)

    def trainer(self, frontend: str, seed: int, steps: int, out: Path) -> Any:
        recipe = presets.v(self.data, frontend, self.width, seed)
        return trainer(recipe, self.data, self.held_out, self.args.device, steps, out)

    def measure(self, frontend: str, seed: int) -> Found:
        """Train, sample and judge."""
        args, pace = self.args, self.paces[frontend]
        name = frontend.replace(":", "")
        out = self.runs / f"{name}-{args.minutes:g}min-seed{seed}"
        done = self.trainer(frontend, seed, max(1, round(args.minutes / pace)), out)
        done.fit()
        model: Any = mmdiff.load(out / "model.safetensors", device=args.device)
        levels = validate(model, self.held_out, seed, BATCH, torch.device(args.device))
        factor = frame_length(model)
        period = factor if factor > 1 else RAW_PERIOD
        row = {
            "p": factor, "period": period,
            "levels": len(model.backbone.backbone.config["channels"]),
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": done.progress.step, "minutes_taken": f"{done.progress.minutes:.2f}",
            "clips_per_second": f"{done.recipe.batch / pace / 60:.1f}",
            "loss": digits(mean(levels.values())),
            **{f"loss_at_{t:g}": digits(loss) for t, loss in levels.items()},
        }  # fmt: skip
        told = self.told(self.train, args.count)
        for variant, spin in {"plain": 0, "spun": factor}.items():
            if spin == 1:
                continue
            sampling = Sampling("ddim", args.steps, spin=spin)
            samples = draw(model, sampling, args.count, told, seed, BATCH, progress=False)
            samples["x"] = samples["x"].clamp(-1, 1)
            found = self.judge(samples) | artefacts(samples["x"], self.test["x"], period, seed)
            row |= {f"{key}_{variant}": value for key, value in found.items()}
            if seed == 0:
                self.keep_sounds(f"{name}-{variant}", samples["x"])
        clips = training_part(self.test["x"], args.probed) * self.data.modality.scale
        told = self.told(self.test, args.probed)
        return row | rejections(denoiser_artefacts(model, clips, period, TIMES, seed=seed, **told))

    def told(self, part: Batch, count: int) -> dict[str, Any]:
        """`count` of each condition of the data, as frequent as in a part of them."""
        return {name: training_part(part[name], count) for name in self.data.conditions}

    def judge(self, samples: Batch) -> Found:
        x = samples["x"]
        real = training_part(self.train["x"], len(x))
        tilts = (digits(spectral_distance(clips, self.test["x"])) for clips in (x, real))
        found: Found = dict(zip(("tilt", "tilt_floor"), tilts, strict=True))
        if self.args.dataset != "fsdd":
            return found
        report = evaluate_speech(samples, self.test, self.train, neighbours=False)
        return found | {
            "accuracy": report.accuracy, "real_accuracy": report.real_accuracy,
            "speakers": report.speaker_accuracy, "frechet": digits(report.frechet),
            "floor": digits(report.floor),
        }  # fmt: skip

    def keep_sounds(self, name: str, samples: Tensor) -> None:
        """Some clips in a row, as a WAV file."""
        heard = torch.cat(tuple(samples[:HEARD]), dim=1) * self.data.modality.scale
        path: Path = self.args.out / "frontend_sounds" / f"{self.args.dataset}-{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.data.modality.write(heard, path)


def artefacts(samples: Tensor, real: Tensor, period: int, seed: int) -> Found:
    """Generated minus real, at the period and at its controls."""
    report = evaluate_aliasing(samples, real, period, seed)
    found: Found = {}
    for name in ("spurs", "phase_variance", "coherence"):
        one = getattr(report.at[period], name)
        controls = [getattr(at, name).difference for q, at in report.at.items() if q != period]
        values = (one.difference, one.low, one.high, mean(controls))
        for part, value in zip(("", "_low", "_high", "_control"), values, strict=True):
            found[f"{name}{part}"] = digits(value)
    return found


def rejections(report: DenoiserReport) -> Found:
    """The (lower) median over frequencies of the image rejection, and the shift error, by time.

    Of the control periods the one with the less rejection counts: where there is nothing to be
    seen, an estimate may be anything up to its limit.
    """
    found: Found = {}
    for at in report.times:
        decibels = {q: median_low(e.value for e in row) for q, row in at.rejection.items()}
        control = min(value for q, value in decibels.items() if q != report.period)
        found[f"rejection_{at.time:g}"] = f"{decibels[report.period]:.1f}"
        found[f"rejection_control_{at.time:g}"] = f"{control:.1f}"
        found[f"shift_error_{at.time:g}"] = digits(at.shift_error.value)
    return found


def main() -> None:
    made = parser(__doc__, count=200, probed=PROBED, steps=25)
    made.add_argument("--dataset", choices=tuple(DATA), default="fsdd")
    made.add_argument("--frontends", nargs="+", default=FRONTENDS)
    made.add_argument("--minutes", type=float, default=5, help="of training, for each run")
    made.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    args = parse(made, dataset="synthetic", frontends=("patch:64",), minutes=1e-3, seeds=(0,),
                 count=4, probed=2, steps=2)  # fmt: skip
    bench = Bench(args)
    bench.keep_sounds("real", bench.test["x"])
    key = ("dataset", "frontend", "minutes", "seed", "samples", "device")
    rows = Rows(args.out / "frontend_quality.csv", key)
    for seed in args.seeds:  # a whole round before the next: an early end is no bias
        for frontend in args.frontends:
            one = (args.dataset, frontend, f"{args.minutes:g}", seed, args.count, args.device)
            row = dict(zip(key, one, strict=True))
            if row not in rows:
                rows.add(row | bench.measure(frontend, seed) | about(args.device))


if __name__ == "__main__":
    main()
