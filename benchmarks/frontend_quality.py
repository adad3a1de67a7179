"""Which front end makes the better sound of the same minutes of training?

    python benchmarks/frontend_quality.py --data-dir data                     # hours on a CPU
    python benchmarks/frontend_quality.py --data-dir data --device cuda --minutes 1
    python benchmarks/frontend_quality.py --frontends patch:16 mdct:16 --seeds 1 --minutes 5

Each front end, with each seed, trains the recipe's network on spoken digits for as many minutes,
one after the other; a learning rate that falls to 0 ends with them. Then, of the averaged weights:

- loss: of v on held-out clips, the mean over noise levels and the levels one by one;
- digits and speakers that the judge reads right, and the Fréchet distance to the test clips beside
  its floor, without guidance and with the recipe's;
- tilt: the log-spectral distance, the root mean square over frequency of the difference in dB
  between the mean power spectra of samples and of test clips;
- spurs, phase variance and coherence at the front end's factor, generated minus real
  (`mmdiff.metrics.aliasing`), each with and without cycle spinning.

A finished row is kept in a CSV file and not made again; a run that was stopped is gone on with.
"""

from __future__ import annotations

import argparse
import csv
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import machine
from pacing import train_for
from torch import Tensor

import mmdiff
from mmdiff.audio.datasets import open_sounds
from mmdiff.errors import Interrupted
from mmdiff.metrics.aliasing import evaluate_aliasing
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.speech import evaluate_speech, sample_speech, stack_sounds
from mmdiff.training.audio import PRESET
from mmdiff.training.checkpoints import Info
from mmdiff.training.config import TrainingConfig
from mmdiff.training.trainer import Trainer
from mmdiff.training.validation import validate

RESULTS = Path(__file__).parent / "results"
FRONTENDS = (
    "patch:8", "patch:16", "patch:32", "patch:64", "mdct:8", "mdct:16", "mdct:32", "mdct:64",
    "learned:16", "learned:64", "stft",
)  # fmt: skip
KEY = ("frontend", "minutes", "seed", "samples")

Row = dict[str, str]


class Bench:
    """The data, and how front ends are trained and judged on it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.minutes, self.count, self.device = args.minutes, args.count, args.device
        scale = PRESET.scale
        self.data = open_sounds("fsdd", "train", args.data_dir, scale=scale, augment=True)
        self.held_out = open_sounds("fsdd", "test", args.data_dir, scale=scale)
        self.plain = stack_sounds(open_sounds("fsdd", "train", args.data_dir))
        self.test = stack_sounds(open_sounds("fsdd", "test", args.data_dir))

    def trainer(self, frontend: str, seed: int, steps: int, out: Path, resume: bool) -> Trainer:
        settings = dict(PRESET.training)
        settings["warmup"] = min(settings["warmup"], steps // 10)
        config = TrainingConfig(steps=steps, seed=seed, **settings)
        info = Info(
            self.data.shape, (-PRESET.scale, PRESET.scale), self.data.labels, self.data.speakers,
            self.data.sample_rate, "fsdd", dict(PRESET.sampling), {"frontend": frontend},
        )  # fmt: skip
        model = PRESET.model(self.data, frontend, seed)
        return Trainer(model, self.data, self.held_out, config, out, info, self.device, resume)

    def measure(self, frontend: str, seed: int, runs: Path) -> Row:
        """Train, sample and judge."""
        folder = f"{frontend.replace(':', '')}-{self.minutes:g}min-seed{seed}"
        make = partial(self.trainer, frontend, seed)
        trainer = train_for(self.minutes, make, runs / folder)
        model = mmdiff.load(runs / folder / "model.safetensors", device=self.device)
        levels = validate(model, self.held_out, {"label", "speaker"}, seed)
        clips = trainer.progress.step * trainer.config.batch
        row = {
            "frontend": frontend,
            "minutes": f"{self.minutes:g}",
            "seed": str(seed),
            "samples": str(self.count),
            "parameters": str(sum(p.numel() for p in model.parameters())),
            "steps": str(trainer.progress.step),
            "clips_per_second": f"{clips / trainer.progress.minutes / 60:.1f}",
            "loss": f"{sum(levels.values()) / len(levels):.4f}",
            **{f"loss_at_{t:g}": f"{loss:.4f}" for t, loss in levels.items()},
        }
        backbone: Any = model.backbone
        factor = int(backbone.transform.factor)
        for name, guidance, spin in (
            ("plain", None, 0),
            ("spun", None, factor),
            ("guided", PRESET.sampling["guidance"], 0),
        ):
            found = self.judge(model, guidance, spin, factor, seed)
            row |= {f"{key}_{name}": value for key, value in found.items()}
        return row | {"machine": machine(), "threads": str(torch.get_num_threads())}

    def judge(
        self, model: mmdiff.Pretrained, guidance: float | None, spin: int, factor: int, seed: int
    ) -> dict[str, str]:
        labels, speakers = (
            training_part(part, self.count) for part in (self.plain.labels, self.plain.speakers)
        )
        samples, _, _ = sample_speech(
            model, mmdiff.DDIM(PRESET.sampling["steps"]), labels, speakers,
            guidance=guidance, spin=spin, seed=seed, progress=False,
        )  # fmt: skip
        report = evaluate_speech(samples, labels, speakers, self.test, self.plain, neighbours=False)
        found = {
            "accuracy": f"{report.accuracy:.4f}",
            "speakers": f"{report.speaker_accuracy:.4f}",
            "frechet": f"{report.frechet:.3f}",
            "floor": f"{report.floor:.3f}",
            "tilt": f"{spectral_distance(samples, self.test.x):.2f}",
        }
        if factor > 1:
            at = evaluate_aliasing(samples, self.test.x, factor, seed).at[factor]
            found |= {
                "spurs": f"{at.spurs.difference:.3e}",
                "phase_variance": f"{at.phase_variance.difference:.3e}",
                "coherence": f"{at.coherence.difference:.3e}",
            }
        return found


def spectral_distance(a: Tensor, b: Tensor) -> float:
    """In dB, between the mean power spectra of clips [N, C, L] and [M, C, L]."""
    levels = [
        10 * torch.fft.rfft(x.double()).abs().square().mean((0, 1)).clamp(min=1e-12).log10()
        for x in (a, b)
    ]
    return float((levels[0] - levels[1]).square().mean().sqrt())


def keep(path: Path, rows: list[Row]) -> None:
    """Write all rows to the CSV file."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frontends", nargs="+", default=list(FRONTENDS))
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=300, help="clips to judge")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/frontend_quality"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    path = args.out / "frontend_quality.csv"
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    done = {tuple(row[name] for name in KEY) for row in rows}
    bench = Bench(args)
    for seed in range(args.seeds):  # a whole round before the next: an early end is no bias
        for frontend in args.frontends:
            if (frontend, f"{args.minutes:g}", str(seed), str(args.count)) in done:
                continue
            try:
                rows.append(bench.measure(frontend, seed, args.runs))
            except Interrupted:
                raise SystemExit("stopped: run the same command to go on.") from None
            keep(path, rows)
            print({name: rows[-1][name] for name in (*KEY, "loss", "accuracy_plain")}, flush=True)


if __name__ == "__main__":
    main()
