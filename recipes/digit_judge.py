"""Train the digit judge that `mmdiff evaluate` uses: about seven minutes on two CPU cores.

python recipes/digit_judge.py --data-dir data --out mmdiff/zoo/digit_judge.safetensors
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from mmdiff.image.datasets import open_images
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.images import stack
from mmdiff.metrics.judge import DigitJudge, load_judge, run_judge, save_judge

ROTATION, SCALE, SHEAR, SHIFT = math.radians(12), 0.1, 0.1, 2 / 14  # 2 of 28 pixels


def augment(x: Tensor) -> Tensor:
    """Turn, scale, shear and shift each image of [B, 1, 28, 28] at random, a little."""
    angle, scale, shear, shift_x, shift_y = (torch.rand(5, len(x)) * 2 - 1) * torch.tensor(
        [[ROTATION], [SCALE], [SHEAR], [SHIFT], [SHIFT]]
    )
    cos, sin, zoom = angle.cos(), angle.sin(), 1 + scale
    rows = (zoom * cos, zoom * (shear - sin), shift_x, zoom * sin, zoom * cos, shift_y)
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(x.shape), False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # the outside is black: -1


def train(x: Tensor, labels: Tensor, epochs: int, batch: int, rate: float) -> DigitJudge:
    """A judge trained on images `x` [N, 1, 28, 28] with `labels` [N]."""
    judge = DigitJudge()
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    with tqdm(total=steps, unit="step", mininterval=1) as bar:
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(x)), batch)[: len(x) // batch]:
                seen = augment(x[chosen]).contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16):
                    loss = F.cross_entropy(judge(seen), labels[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return judge.eval()


CARD = """# digit_judge

A convolutional classifier of handwritten digits ({parameters:,} parameters) that judges generated
ones: the accuracy of labelled samples, and the Fréchet distance between its 96 features (the last
hidden layer) of two sets of images. Distances compare only with distances of the same judge.

- Data: the 60,000 training images of MNIST (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0).
- Licence of the weights: MIT, like the code; they contain no images.
- Made by: `{command}`, {minutes} minutes on a CPU.
- Accuracy on the 10,000 test images, as stored (half precision): {accuracy:.2%}.
- Fréchet distance between training images and the 10,000 test images, the floor that no sampler is
  expected to pass: {floor_10000:.4f} with 10,000 training images, {floor_1000:.4f} with 1,000.
"""


def write(
    judge: DigitJudge, out: Path, notes: dict[str, str], x: Tensor, test_x: Tensor, labels: Tensor
) -> str:
    """Store `judge` and its model card, with what it reaches on the test set as stored."""
    save_judge(judge, out, notes)
    judge = load_judge(out)
    test_features, logits = run_judge(judge, test_x)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    save_judge(judge, out, {**notes, "test_accuracy": f"{accuracy:.4f}"})
    floors = {}
    for count in (1_000, 10_000):
        features, _ = run_judge(judge, training_part(x, count))
        floors[f"floor_{count}"] = frechet_distance(features, test_features)
    parameters = sum(p.numel() for p in judge.parameters())
    card = CARD.format(parameters=parameters, accuracy=accuracy, **notes, **floors)
    out.with_suffix(".md").write_text(card, encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("digit_judge.safetensors"))
    args = parser.parse_args()

    x, labels = stack(open_images("mnist", "train", args.data_dir))
    test_x, test_labels = stack(open_images("mnist", "test", args.data_dir))
    torch.manual_seed(args.seed)
    start = time.monotonic()
    judge = train(x, labels, args.epochs, args.batch, args.rate)
    notes = {
        "data": "MNIST, training split, CC BY-SA 3.0",
        "licence": "MIT",
        "command": f"python recipes/digit_judge.py --epochs {args.epochs} --batch {args.batch} "
        f"--rate {args.rate} --seed {args.seed}",
        "minutes": f"{(time.monotonic() - start) / 60:.1f}",
    }
    print(write(judge, args.out, notes, x, test_x, test_labels))


if __name__ == "__main__":
    main()
