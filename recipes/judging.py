"""What the recipes of both judges share: arguments, the training, the file and its model card."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff import precision
from mmdiff.metrics.batches import Batch
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.judge import Judge, accuracy, read_judge, run_judge, save_judge


def arguments(about: str, batch: int, rate: float, out: str) -> argparse.Namespace:
    """The command line: `about` is the script's docstring, the others its defaults."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser.parse_args()


def fit(
    judge: Judge,
    items: int,
    loss: Callable[[Tensor], Tensor],
    decay: float,
    args: argparse.Namespace,
) -> dict[str, str]:
    """Train `judge` by `loss(indices of some of the items)`; what to tell of how it was made."""
    start, per_epoch = time.monotonic(), items // args.batch
    steps = args.epochs * per_epoch
    optimiser = torch.optim.AdamW(judge.parameters(), lr=args.rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, steps, pct_start=0.1)
    narrow = precision.resolve("auto", torch.device("cpu")) is torch.bfloat16
    with tqdm(total=steps, unit="step", mininterval=1) as bar:
        for _ in range(args.epochs):
            for chosen in torch.split(torch.randperm(items), args.batch)[:per_epoch]:
                with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
                    value = loss(chosen)
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{value.item():.4f}", refresh=False)
    judge.eval()
    return {
        "licence": "MIT",
        "command": f"python {judge.recipe} --epochs {args.epochs} --batch {args.batch} "
        f"--rate {args.rate} --seed {args.seed}",
        "minutes": f"{(time.monotonic() - start) / 60:.1f}",
    }


def store(
    judge: Judge,
    out: Path,
    card: str,
    notes: dict[str, str],
    data: Batch,
    test: Batch,
    questions: dict[str, str],
    floors: Sequence[int],
) -> None:
    """Write `judge` and its model card, with what it reaches on the test set as stored.

    Args:
        card: the text, with places for the notes, the accuracies, and a floor for each size.
        questions: what the judge answers, a condition's name by the accuracy's.
        floors: numbers of training items.
    """
    save_judge(judge, out, notes)
    judge = read_judge(type(judge)(), out)
    test_features, *answers = run_judge(judge, test["x"])
    reached = {
        name: accuracy(logits, test[asked])
        for (name, asked), logits in zip(questions.items(), answers, strict=True)
    }
    stored = {f"test_{name}": f"{value:.4f}" for name, value in reached.items()}
    save_judge(judge, out, {**notes, **stored})
    distances = {}
    for count in floors:
        features, *_ = run_judge(judge, training_part(data["x"], count))
        distances[f"floor_{count}"] = frechet_distance(features, test_features)
    parameters = sum(p.numel() for p in judge.parameters())
    text = card.format(parameters=parameters, **notes, **reached, **distances)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
