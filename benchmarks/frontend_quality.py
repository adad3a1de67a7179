"""Which front end makes the better sound of the same minutes of training?

    python benchmarks/frontend_quality.py --data-dir data                     # a night on a CPU
    python benchmarks/frontend_quality.py --data-dir data --device cuda --minutes 1
    python benchmarks/frontend_quality.py --frontends patch:16 mdct:16 --seeds 0 --minutes 5
    python benchmarks/frontend_quality.py --dataset synthetic                 # at 22.05 kHz

Each front end, with each seed, trains the recipe's network for as many steps as fit into the same
minutes, at the pace that all of them have in turns before the first one trains (`pacing.py`); a
learning rate that falls to 0 ends with them. `fsdd` is spoken digits at 8 kHz, `synthetic` half
seconds of plucked strings and drums at 22.05 kHz, with half the recipe's width. Then, of the
averaged weights:

- loss: of v on held-out clips, the mean over noise levels and the levels one by one;
- digits and speakers that the judge reads right, and the Fréchet distance to the test clips beside
  its floor (spoken digits alone), all without guidance;
- tilt: the log-spectral distance, the root mean square over frequency of the difference in dB
  between the mean power spectra of samples and of test clips, beside that of training clips;
- spurs, phase variance and coherence at the front end's factor, generated minus real
  (`mmdiff.metrics.aliasing`), and the mean of the same at its two control periods;
- the denoiser's image rejection and shift error on test clips (`mmdiff.metrics.equivariance`).

What concerns samples is measured with (spun) and without (plain) cycle spinning. Raw waveforms have
no period: at theirs, 16 is sought. A finished row is kept in a CSV file and not made again; a run
that was stopped is gone on with. Some clips of every first seed are kept to listen to.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median_low
from typing import Any

import torch
from machine import machine
from pacing import paces, train_for
from torch import Tensor

import mmdiff
from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.audio.sound import write
from mmdiff.errors import Interrupted
from mmdiff.metrics.aliasing import AliasingReport, evaluate_aliasing
from mmdiff.metrics.equivariance import DenoiserReport, denoiser_artefacts
from mmdiff.metrics.frames import PROBED, TIMES
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.sounds import sample_sounds, spectral_distance
from mmdiff.metrics.speech import Speech, evaluate_speech, stack_sounds
from mmdiff.training.audio import PRESET, AudioPreset
from mmdiff.training.checkpoints import Info
from mmdiff.training.runs import configure
from mmdiff.training.trainer import Trainer
from mmdiff.training.validation import validate

RESULTS = Path(__file__).parent / "results"
FRONTENDS = (
    "patch:16", "mdct:16", "patch:64", "mdct:64", "learned:64", "stft", "patch:128", "raw",
    "patch:8", "mdct:8", "learned:16", "patch:32", "mdct:32", "patch:4",
)  # fmt: skip
KEY = ("dataset", "frontend", "minutes", "seed", "samples", "device")
RAW_PERIOD = 16  # sought where no front end has one
HEARD = 6  # clips to listen to

Row = dict[str, str]


@dataclass(frozen=True)
class Task:
    """A data set, and the recipe's settings for it."""

    preset: AudioPreset
    seconds: float | None = None


TASKS = {
    "fsdd": Task(PRESET),
    "synthetic": Task(replace(PRESET, width=PRESET.width // 2), seconds=0.5),
}


class Bench:
    """The data, and how front ends are trained and judged on it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        task = TASKS[args.dataset]
        self.preset = task.preset
        opened = partial(
            open_sounds, args.dataset, data_dir=args.data_dir, seconds=task.seconds,
            scale=self.preset.scale,
        )  # fmt: skip
        self.data: Sounds = opened("train", augment=True)
        self.held_out: Sounds = opened("test")
        self.train, self.test = stack_sounds(opened("train")), stack_sounds(self.held_out)
        makes = {name: partial(self.trainer, name, 0) for name in args.frontends}
        self.runs: Path = args.runs / args.device
        self.paces = paces(makes, self.runs / f"{args.dataset}-pace.json")

    def trainer(self, frontend: str, seed: int, steps: int, out: Path, resume: bool) -> Trainer:
        config, _ = configure(self.preset.training, len(self.data), 1, steps, seed)
        info = Info(
            self.data.shape, (-self.data.scale, self.data.scale), self.data.labels,
            self.data.speakers, self.data.sample_rate, self.data.name,
            dict(self.preset.sampling), {"frontend": frontend},
        )  # fmt: skip
        model = self.preset.model(self.data, frontend, seed)
        device = self.args.device
        return Trainer(model, self.data, self.held_out, config, out, info, device, resume)

    def measure(self, frontend: str, seed: int) -> Row:
        """Train, sample and judge."""
        args = self.args
        name = frontend.replace(":", "")
        folder = self.runs / f"{args.dataset}-{name}-{args.minutes:g}min-seed{seed}"
        make = partial(self.trainer, frontend, seed)
        trainer = train_for(args.minutes, self.paces[frontend], make, folder)
        model = mmdiff.load(folder / "model.safetensors", device=args.device)
        backbone: Any = model.backbone
        levels = validate(model, self.held_out, set(backbone.conditions), seed)
        factor = int(backbone.transform.factor)
        period = factor if factor > 1 else RAW_PERIOD
        row = {
            "dataset": args.dataset,
            "frontend": frontend,
            "minutes": f"{args.minutes:g}",
            "seed": str(seed),
            "samples": str(args.count),
            "device": args.device,
            "factor": str(factor),
            "period": str(period),
            "levels": str(len(backbone.backbone.config["channels"])),
            "parameters": str(sum(p.numel() for p in model.parameters())),
            "steps": str(trainer.progress.step),
            "minutes_taken": f"{trainer.progress.minutes:.2f}",
            "clips_per_second": f"{trainer.config.batch / self.paces[frontend] / 60:.1f}",
            "loss": f"{mean(levels.values()):.4f}",
            **{f"loss_at_{t:g}": f"{loss:.4f}" for t, loss in levels.items()},
        }
        for variant, spin in {"plain": 0, "spun": factor}.items():
            if variant == "spun" and factor == 1:
                continue
            given = self.classes(self.train, args.count)
            samples = sample_sounds(
                model, mmdiff.DDIM(args.steps), args.count, given,
                seed=seed, spin=spin, batch=args.batch, progress=False,
            ).clamp(-1, 1)  # fmt: skip
            found = self.judge(samples, given) | artefacts(samples, self.test.x, period, seed)
            row |= {f"{key}_{variant}": value for key, value in found.items()}
            if seed == 0:
                self.keep_sounds(f"{args.dataset}-{name}-{variant}", samples)
        row |= self.probe(model, period, seed)
        return row | {"machine": machine(args.device), "threads": str(torch.get_num_threads())}

    def classes(self, part: Speech, count: int) -> dict[str, Tensor]:
        """`count` of each class condition of the data, as frequent as in a part of them."""
        given = {}
        if self.data.labels:
            given["label"] = training_part(part.labels, count)
        if self.data.speakers:
            given["speaker"] = training_part(part.speakers, count)
        return given

    def judge(self, samples: Tensor, given: dict[str, Tensor]) -> dict[str, str]:
        real = training_part(self.train.x, len(samples))
        found = {
            "tilt": f"{spectral_distance(samples, self.test.x):.2f}",
            "tilt_floor": f"{spectral_distance(real, self.test.x):.2f}",
        }
        if self.args.dataset != "fsdd":
            return found
        report = evaluate_speech(
            samples, given["label"], given["speaker"], self.test, self.train, neighbours=False
        )
        return found | {
            "accuracy": f"{report.accuracy:.4f}",
            "real_accuracy": f"{report.real_accuracy:.4f}",
            "speakers": f"{report.speaker_accuracy:.4f}",
            "frechet": f"{report.frechet:.3f}",
            "floor": f"{report.floor:.3f}",
        }

    def probe(self, model: mmdiff.Diffusion, period: int, seed: int) -> dict[str, str]:
        """What the denoiser does with test clips."""
        clips = training_part(self.test.x, PROBED) * self.data.scale
        given: Any = self.classes(self.test, PROBED)
        return rejections(denoiser_artefacts(model, clips, period, TIMES, seed=seed, **given))

    def keep_sounds(self, name: str, samples: Tensor) -> None:
        """Some clips in a row, as a WAV file."""
        heard = torch.cat(tuple(samples[:HEARD].clamp(-1, 1)), dim=1)
        folder = self.args.out / "frontend_sounds"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{name}.wav", heard, self.data.sample_rate)


def artefacts(samples: Tensor, real: Tensor, period: int, seed: int) -> dict[str, str]:
    """Generated minus real, at the period and at its controls."""
    report: AliasingReport = evaluate_aliasing(samples, real, period, seed)
    controls = [at for q, at in report.at.items() if q != period]
    found: dict[str, str] = {}
    for name in ("spurs", "phase_variance", "coherence"):
        one = getattr(report.at[period], name)
        control = mean(getattr(at, name).difference for at in controls)
        found |= {
            name: f"{one.difference:.3e}",
            f"{name}_low": f"{one.low:.3e}",
            f"{name}_high": f"{one.high:.3e}",
            f"{name}_control": f"{control:.3e}",
        }
    return found


def rejections(report: DenoiserReport) -> dict[str, str]:
    """The (lower) median over frequencies of the image rejection, and the shift error, by time.

    Of the control periods the one with the less rejection counts: where there is nothing to be
    seen, an estimate may be anything up to its limit.
    """
    found = {}
    for at in report.times:
        decibels = {q: median_low(e.value for e in row) for q, row in at.rejection.items()}
        control = min(value for q, value in decibels.items() if q != report.period)
        found[f"rejection_{at.time:g}"] = f"{decibels[report.period]:.1f}"
        found[f"rejection_control_{at.time:g}"] = f"{control:.1f}"
        found[f"shift_error_{at.time:g}"] = f"{at.shift_error.value:.3e}"
    return found


def keep(path: Path, rows: list[Row]) -> None:
    """Write all rows to the CSV file."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def kept(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=tuple(TASKS), default="fsdd")
    parser.add_argument("--frontends", nargs="+", default=list(FRONTENDS))
    parser.add_argument("--minutes", type=float, default=5, help="of training, for each run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=200, help="clips to judge")
    parser.add_argument("--steps", type=int, default=25, help="of DDIM")
    parser.add_argument("--batch", type=int, default=50, help="clips at once")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/frontend_quality"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    path = args.out / "frontend_quality.csv"
    rows = kept(path)
    done = {tuple(row[name] for name in KEY) for row in rows}
    bench = Bench(args)
    bench.keep_sounds(f"{args.dataset}-real", bench.test.x)
    for seed in args.seeds:  # a whole round before the next: an early end is no bias
        for frontend in args.frontends:
            key = (args.dataset, frontend, f"{args.minutes:g}", str(seed), str(args.count))
            if (*key, args.device) in done:
                continue
            try:
                row = bench.measure(frontend, seed)
            except Interrupted:
                raise SystemExit("stopped: run the same command to go on.") from None
            rows.append(row)
            keep(path, rows)
            told = (*KEY, "steps", "loss", "accuracy_plain", "spurs_plain")
            print({name: row[name] for name in told if name in row}, flush=True)


if __name__ == "__main__":
    main()
