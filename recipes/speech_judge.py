"""Train the judge of spoken digits that `mmdiff evaluate` uses: about two minutes on one CPU core.

python recipes/speech_judge.py --data-dir data --out mmdiff/zoo/speech_judge.safetensors
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from judging import arguments, fit, store
from torch import Tensor

from mmdiff.audio.datasets import open_sounds
from mmdiff.metrics.batches import take
from mmdiff.metrics.speech_judge import SpeechJudge

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


def main() -> None:
    args = arguments(__doc__, batch=64, rate=3e-3, out="speech_judge.safetensors")
    data, test = (take(open_sounds("fsdd", split, args.data_dir)) for split in ("train", "test"))
    torch.manual_seed(args.seed)
    judge = SpeechJudge()

    def loss(chosen: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            seen = distort(judge.spectrogram(augment(data["x"][chosen])))
        features = judge.embed(seen.contiguous(memory_format=torch.channels_last))
        digits, speakers = judge.heads(F.dropout(features, DROPOUT))
        digit_loss, speaker_loss = (
            F.cross_entropy(logits, data[name][chosen], label_smoothing=SMOOTHING)
            for name, logits in (("label", digits), ("speaker", speakers))
        )
        return digit_loss + speaker_loss

    questions = {"accuracy": "label", "speaker_accuracy": "speaker"}
    notes = {"data": "Free Spoken Digit Dataset, takes 5 to 49, CC BY-SA 4.0"}
    notes |= fit(judge, len(data["x"]), loss, 0.02, args)
    store(judge, args.out, CARD, notes, data, test, questions, (1_000, 2_700))


if __name__ == "__main__":
    main()
