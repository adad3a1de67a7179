"""A small network that judges spoken digits: the word, who says it, and features to compare by."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from mmdiff.metrics.judge import Judge, conv_block, read_judge

BUNDLED = Path(__file__).parent.parent / "zoo" / "speech_judge.safetensors"

FFT, WINDOW, HOP = 256, 200, 80  # samples: windows of 25 ms, 10 ms apart
FLOOR = 60.0  # dB under the loudest frame: what lies lower counts as silence


class SpeechJudge(Judge):
    """Waveforms [B, 1, L] at 8 kHz, L >= 1024 -> 96 features -> logits of 10 digits, 6 speakers.

    Reads a log-mel spectrogram relative to the clip's loudest frame, so that neither the clip's
    level nor silence around the word counts. The features are the last hidden layer: non-negative
    and of order one, what the Fréchet distance reads.
    """

    kind = "speech judge"
    recipe = "recipes/speech_judge.py"
    sample_rate = 8000
    shortest = 1024
    bands = 40
    digits = 10
    speakers = 6
    width = 96
    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = melscale_fbanks(FFT // 2 + 1, 40.0, 4000.0, self.bands, self.sample_rate)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.body = nn.Sequential(
            conv_block(1, 32),
            conv_block(32, 32, stride=2),
            conv_block(32, 64),
            conv_block(64, 64, stride=2),
            conv_block(64, 96),
            conv_block(96, 96, stride=2),
            # The spectrum, now five bands, becomes channels: where in it something is matters.
            nn.Conv2d(96, 128, (self.bands // 8, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
        )
        self.hidden = nn.Linear(2 * 128, self.width)
        self.digit_head = nn.Linear(self.width, self.digits)
        self.speaker_head = nn.Linear(self.width, self.speakers)

    def spectrogram(self, x: Tensor) -> Tensor:
        """[B, 1, L] -> [B, 1, 40, 1 + L // 80]: 1 is the loudest frame's power, 0 is silence."""
        if x.ndim != 3 or x.shape[1] != 1 or x.shape[2] < self.shortest:
            raise ValueError(
                f"the speech judge reads [B, 1, L] waveforms with L >= {self.shortest}, "
                f"not {list(x.shape)}."
            )
        spectrum = torch.stft(
            x[:, 0].float(), FFT, HOP, WINDOW, self.window, pad_mode="constant", return_complex=True
        )
        power = self.filters @ spectrum.abs().square()
        loudest = power.sum(1, keepdim=True).amax(2, keepdim=True)
        level = 10 * torch.log10(power / loudest.clamp(min=1e-12) + 10 ** (-FLOOR / 10))
        return (level / FLOOR + 1)[:, None]

    def embed(self, spectrogram: Tensor) -> Tensor:
        """[B, 1, 40, T] of `spectrogram` -> features [B, 96]."""
        x = self.body(spectrogram)[:, :, 0]
        return self.hidden(torch.cat([x.mean(2), x.amax(2)], dim=1)).relu()

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, L] -> [B, 96]."""
        return self.embed(self.spectrogram(x))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 96] -> logits of the digits [B, 10] and of the speakers [B, 6]."""
        return self.digit_head(features), self.speaker_head(features)


def load_speech_judge(
    path: str | Path = BUNDLED, device: str | torch.device = "cpu"
) -> SpeechJudge:
    """The judge of spoken digits in `path` (default: the bundled one), see `read_judge`."""
    return read_judge(SpeechJudge(), Path(path)).to(device)
