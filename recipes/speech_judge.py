"""Train the judge of spoken digits that `mmdiff evaluate` uses: about two minutes on one CPU core.

python recipes/speech_judge.py --data-dir data --out mmdiff/zoo/speech_judge.safetensors
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from mmdiff.audio.datasets import open_sounds
from mmdiff.metrics.frechet import frechet_distance, training_part
from mmdiff.metrics.speech import Speech, stack_sounds
from mmdiff.metrics.speech_judge import (
    SpeechJudge,
    load_speech_judge,
    run_speech_judge,
    save_speech_judge,
)

SHIFT = 400  # samples: the word may begin up to 50 ms into the window
NOISE = 0.5  # of the clips get noise,
SNR = (15.0, 45.0)  # dB
STRETCH = 0.12  # slower or faster, at one pitch
MASKS = (8, 6)  # frames and bands silenced, at most
SMOOTHING, DROPOUT = 0.05, 0.2


def augment(x: Tensor) -> Tensor:
    """Shift the words in `x` [B, 1, L] right and add noise, each at random, a little.

    There is no gain: the judge does not hear it.
    """
    count, _, length = x.shape
    begin = torch.randint(SHIFT + 1, (count, 1))
    x = F.pad(x, (SHIFT, 0))[:, 0].gather(1, begin + torch.arange(length))[:, None]
    low, high = SNR
    level = 10 ** (-torch.empty(count, 1, 1).uniform_(low, high) / 20)
    level *= torch.rand(count, 1, 1) < NOISE
    return x + torch.randn_like(x) * x.square().mean(2, keepdim=True).sqrt() * level


def distort(spectrogram: Tensor) -> Tensor:
    """Stretch or shorten `spectrogram` [B, 1, bands, frames] in time, and silence parts of it."""
    count, _, bands, frames = spectrogram.shape
    speed = torch.empty(count).uniform_(-STRETCH, STRETCH).exp()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = speed, speed - 1  # the window's start stays where it is
    theta[:, 1, 1] = 1
    grid = F.affine_grid(theta, list(spectrogram.shape), align_corners=True)
    stretched = F.grid_sample(spectrogram, grid, align_corners=True)  # outside is silence: 0
    time = _kept(count, frames, MASKS[0])[:, None, None, :]
    return stretched * time * _kept(count, bands, MASKS[1])[:, None, :, None]


def _kept(count: int, size: int, widest: int) -> Tensor:
    """[count, size] bool: all but up to `widest` neighbours in each row."""
    place = torch.arange(size) - torch.rand(count, 1) * size
    return (place < 0) | (place >= torch.rand(count, 1) * widest)


def train(data: Speech, epochs: int, batch: int, rate: float) -> SpeechJudge:
    """A judge trained on `data`."""
    judge = SpeechJudge()
    count = len(data.x)
    steps = epochs * (count // batch)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    with tqdm(total=steps, unit="step", mininterval=1) as bar:
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(count), batch)[: count // batch]:
                seen = distort(judge.spectrogram(augment(data.x[chosen])))
                with torch.autocast("cpu", torch.bfloat16):
                    features = judge.embed(seen.contiguous(memory_format=torch.channels_last))
                    digits, speakers = judge.heads(F.dropout(features, DROPOUT))
                    loss = F.cross_entropy(digits, data.labels[chosen], label_smoothing=SMOOTHING)
                    loss += F.cross_entropy(
                        speakers, data.speakers[chosen], label_smoothing=SMOOTHING
                    )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return judge.eval()


CARD = """# speech_judge

A convolutional classifier of spoken digits and their speakers ({parameters:,} parameters) that
judges generated ones: the accuracy of labelled samples, and the Fréchet distance between its 96
features (the last hidden layer) of two sets of clips. Distances compare only with distances of the
same judge. It reads log-mel spectrograms of mono sound at 8 kHz, relative to the loudest frame of
each clip, and knows the six speakers of its data and no other voice.

- Data: 2,700 training clips (takes 5 to 49) of the Free Spoken Digit Dataset (Z. Jackson et al.;
  CC BY-SA 4.0).
- Licence of the weights: MIT, like the code; they contain no recordings.
- Made by: `{command}`, {minutes} minutes on a CPU.
- Accuracy on the 300 test clips (takes 0 to 4), as stored (half precision): {accuracy:.2%} of the
  digits, {speaker_accuracy:.2%} of the speakers.
- Fréchet distance between training clips and the 300 test clips, the floor that no sampler is
  expected to pass: {floor_2700:.4f} with 2,700 training clips, {floor_1000:.4f} with 1,000.
"""


def write(judge: SpeechJudge, out: Path, notes: dict[str, str], data: Speech, test: Speech) -> str:
    """Store `judge` and its model card, with what it reaches on the test clips as stored."""
    save_speech_judge(judge, out, notes)
    judge = load_speech_judge(out)
    test_features, digits, speakers = run_speech_judge(judge, test.x)
    reached = {
        "accuracy": (digits.argmax(1) == test.labels).double().mean().item(),
        "speaker_accuracy": (speakers.argmax(1) == test.speakers).double().mean().item(),
    }
    stored = {f"test_{name}": f"{value:.4f}" for name, value in reached.items()}
    save_speech_judge(judge, out, {**notes, **stored})
    floors = {}
    for count in (1_000, 2_700):
        features, _, _ = run_speech_judge(judge, training_part(data.x, count))
        floors[f"floor_{count}"] = frechet_distance(features, test_features)
    parameters = sum(p.numel() for p in judge.parameters())
    card = CARD.format(parameters=parameters, **notes, **reached, **floors)
    out.with_suffix(".md").write_text(card, encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("speech_judge.safetensors"))
    args = parser.parse_args()

    data, test = (
        stack_sounds(open_sounds("fsdd", split, args.data_dir)) for split in ("train", "test")
    )
    torch.manual_seed(args.seed)
    start = time.monotonic()
    judge = train(data, args.epochs, args.batch, args.rate)
    notes = {
        "data": "Free Spoken Digit Dataset, takes 5 to 49, CC BY-SA 4.0",
        "licence": "MIT",
        "command": f"python recipes/speech_judge.py --epochs {args.epochs} --batch {args.batch} "
        f"--rate {args.rate} --seed {args.seed}",
        "minutes": f"{(time.monotonic() - start) / 60:.1f}",
    }
    print(write(judge, args.out, notes, data, test))


if __name__ == "__main__":
    main()
