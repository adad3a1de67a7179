"""What else makes a recording clean, wide, or a sound of mel frames; and rooms to record in."""

from __future__ import annotations

import math

import librosa
import noisereduce
import numpy as np
import pyroomacoustics
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from mmdiff.audio import Mel


def reduced(x: Tensor, sample_rate: int, stationary: bool) -> Tensor:
    """noisereduce (spectral gating), as it comes."""
    y = noisereduce.reduce_noise(x.numpy(), sample_rate, stationary=stationary)
    return torch.from_numpy(np.asarray(y, np.float32))


def wiener(x: Tensor, sample_rate: int) -> Tensor:
    """[C, L] -> [C, L]: Wiener's filter, the SNR in each bin decision-directed.

    Windows of 32 ms. In each band the noise is as strong as the quietest tenth of the frames, of
    which 1 / 0.105 is the mean where power is exponentially distributed. (Ephraim & Malah 1984.)
    """
    size = round(0.032 * sample_rate)
    window = torch.hann_window(size)
    bins = torch.stft(x, size, size // 4, window=window, return_complex=True)
    power = bins.abs().square()  # [C, bands, frames]
    noise = (power.quantile(0.1, dim=2) / 0.105).clamp(min=1e-12)
    clean, gains = torch.zeros_like(noise), []  # power of the frame before
    for frame in power.unbind(2):
        snr = 0.98 * clean / noise + 0.02 * (frame / noise - 1).clamp(min=0)
        gains.append((snr / (1 + snr)).clamp(min=0.05))  # a floor of -26 dB: no musical noise
        clean = gains[-1].square() * frame
    y = bins * torch.stack(gains, 2)
    return torch.istft(y, size, size // 4, window=window, length=x.shape[1])


def griffin_lim(frames: Tensor, mel: Mel, length: int, rounds: int = 64) -> Tensor:
    """Log-mel frames [bands, N] -> [1, length] (Griffin & Lim 1984, as librosa has it, fast)."""
    power = librosa.feature.inverse.mel_to_stft(
        frames.exp().numpy(), sr=mel.sample_rate, n_fft=mel.window, power=2.0
    )
    margin = (mel.window - mel.hop) // 2
    y = librosa.griffinlim(
        power, n_iter=rounds, hop_length=mel.hop, center=False, random_state=0,
        length=2 * margin + frames.shape[1] * mel.hop,
    )  # fmt: skip
    return torch.from_numpy(y[None, margin : margin + length])


def room(x: Tensor, sample_rate: int, seed: int) -> Tensor:
    """[1, L] as a microphone in a simulated room hears it, the direct sound as in `x`.

    It is 0.3 to 1 m away, and the reverberation time 0.25 to 0.7 s.
    """
    drawn = torch.rand(9, generator=torch.Generator().manual_seed(seed)).double().numpy()
    size = np.array([3.0, 3.0, 2.4]) + np.array([5.0, 3.0, 1.1]) * drawn[:3]
    mouth = size * (0.35 + 0.3 * drawn[3:6])
    angle, distance = 2 * math.pi * drawn[6], 0.3 + 0.7 * drawn[7]
    microphone = mouth + distance * np.array([math.cos(angle), math.sin(angle), 0.0])
    absorption, order = pyroomacoustics.inverse_sabine(0.25 + 0.45 * float(drawn[8]), size)
    responses = []
    for most in (0, min(order, 60)):  # the direct sound alone, and all reflections
        box = pyroomacoustics.ShoeBox(
            size,
            fs=sample_rate,
            materials=pyroomacoustics.Material(absorption),
            max_order=most,
        )
        box.add_source(mouth)
        box.add_microphone(microphone)
        box.compute_rir()
        responses.append(box.rir[0][0])
    direct, response = responses
    start = int(np.abs(direct).argmax())
    y = fftconvolve(x[0].numpy(), response)[start : start + x.shape[1]]
    return torch.from_numpy(y[None].astype(np.float32)) / math.sqrt(float((direct**2).sum()))
