"""The peers of `restoration.py`: deepinv's samplers with the same model, and what needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import deepinv
import librosa
import numpy
import scipy.signal
import skimage.restoration
import torch
from deepinv import optim, sampling
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.ndimage import median_filter
from torch import Tensor

import mmdiff
from mmdiff.restore import Denoiser, Filter, Linear, Mask, Room

np: Any = numpy
signal: Any = scipy.signal
restoration: Any = skimage.restoration
_ORDER = 40  # of the autoregression
_WINDOW = 256  # samples, of the spectral gain


@dataclass(frozen=True)
class Problem:
    """y = A x + sigma n, or x clipped to `level`; `unit` is the largest that x is."""

    model: mmdiff.Diffusion
    physics: Linear
    sigma: float
    hidden: Tensor | None
    level: float | None
    unit: float


# deepinv: all in [0, 1], where x is (x / unit + 1) / 2.


class Unit(deepinv.physics.LinearPhysics):  # type: ignore[misc]
    """A linear operator of ours, as deepinv's."""

    def __init__(self, physics: Linear, noise_model: Any) -> None:
        super().__init__(noise_model=noise_model)
        self.physics = physics

    def A(self, x: Tensor, **_: Any) -> Tensor:  # noqa: N802
        return self.physics.A(x)

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:  # noqa: N802
        return self.physics.A_adjoint(y)


class Clipping(deepinv.physics.Physics):  # type: ignore[misc]
    def __init__(self, level: float, noise_model: Any) -> None:
        super().__init__(noise_model=noise_model)
        self.level = level

    def A(self, x: Tensor, **_: Any) -> Tensor:  # noqa: N802
        return x.clamp((1 - self.level) / 2, (1 + self.level) / 2)


def decomposed(physics: Linear, noise_model: Any) -> Any:
    """The same with the singular values that DDRM needs, from a dense matrix."""
    shape = physics.shape
    size = int(np.prod(shape))
    measured = physics.A(torch.eye(size).reshape(size, *shape))
    U, s, Vh = torch.linalg.svd(measured.flatten(1).T.contiguous(), full_matrices=True)
    values = torch.zeros(size)
    values[: len(s)] = s

    def pad(c: Tensor) -> Tensor:
        return torch.nn.functional.pad(c, (0, size - c.shape[1])).reshape(-1, *shape)

    return deepinv.physics.DecomposablePhysics(
        U=lambda c: (c.flatten(1)[:, : len(U)] @ U.T).reshape(-1, *measured.shape[1:]),
        U_adjoint=lambda y: pad(y.flatten(1) @ U),
        V=lambda c: (c.flatten(1) @ Vh).reshape(-1, *shape),
        V_adjoint=lambda x: (x.flatten(1) @ Vh.T).reshape(-1, *shape),
        mask=values.reshape(1, *shape),
        noise_model=noise_model,
    )


@dataclass(frozen=True)
class Sampler:
    """One of deepinv's: `make(denoiser, sigma, calls)`.

    Attributes:
        decomposes: it needs singular values.
        bends: it serves what is not linear.
    """

    make: Callable[[Any, float, int], Any]
    decomposes: bool = False
    bends: bool = False

    def serves(self, problem: Problem) -> bool:
        if problem.level is not None:
            return self.bends
        dense = isinstance(problem.physics, Mask) or problem.unit == 1
        return dense or not self.decomposes  # a sound's matrix has 26 million numbers

    def draw(self, problem: Problem, y: Tensor, calls: int, seed: int) -> Tensor:
        """An answer to each of `y`."""
        sigma = problem.sigma / (2 * problem.unit)
        noise_model = deepinv.physics.GaussianNoise(sigma)
        ones = torch.ones(1, *problem.physics.shape)
        physics: Any
        if problem.level is not None:
            physics = Clipping(problem.level / problem.unit, noise_model)
            y = (y / problem.unit + 1) / 2
        else:
            y = (y / problem.unit + problem.physics.A(ones)) / 2
            if isinstance(problem.physics, Mask):
                known = problem.physics.known.float().expand(problem.physics.shape)
                physics = deepinv.physics.Inpainting(
                    img_size=problem.physics.shape, mask=known, noise_model=noise_model
                )
            else:
                make: Any = decomposed if self.decomposes else Unit
                physics = make(problem.physics, noise_model)
        torch.manual_seed(seed + 1)
        denoiser = Denoiser(problem.model)
        x = self.make(denoiser, sigma, calls)(y, physics, len(y), problem.physics.shape, seed + 1)
        return ((2 * x - 1) * problem.unit).float().detach()


def _guided(fidelity: Callable[[], Any]) -> Callable[[Any, float, int], Any]:
    def make(denoiser: Any, sigma: float, calls: int) -> Any:
        sampler = sampling.PosteriorDiffusion(
            data_fidelity=fidelity(),
            denoiser=denoiser,
            sde=sampling.VariancePreservingDiffusion(alpha=1.0),
            solver=sampling.EulerSolver(torch.linspace(1, 1e-3, calls, dtype=torch.float64)),
        )
        return lambda y, physics, count, shape, seed: sampler(
            y, physics, x_init=(count, *shape), seed=seed
        )

    return make


def _plain(make: Callable[[Any, float, int], Any]) -> Callable[[Any, float, int], Any]:
    def made(denoiser: Any, sigma: float, calls: int) -> Any:
        sampler = make(denoiser, sigma, calls)
        return lambda y, physics, count, shape, seed: sampler(y, physics, seed=seed)

    return made


DEEPINV = {
    "DiffPIR": Sampler(
        _plain(lambda d, s, n: sampling.DiffPIR(d, optim.L2(), sigma=s, max_iter=n))
    ),
    "DDRM": Sampler(
        _plain(lambda d, s, n: sampling.DDRM(d, sigmas=np.linspace(1, 0, n))), decomposes=True
    ),
    "DPS": Sampler(_guided(lambda: sampling.DPSDataFidelity(guidance="annealed")), bends=True),
    "PiGDM": Sampler(_guided(sampling.PiGDMDataFidelity)),
    "moment matching": Sampler(_guided(sampling.MomentMatchingDataFidelity)),
}


# Without a model, one signal at a time.


def _each(one: Callable[[Problem, Any], Any]) -> Callable[[Problem, Tensor], Tensor]:
    def answer(problem: Problem, y: Tensor) -> Tensor:
        found = [np.asarray(one(problem, item[0].double().numpy())) for item in y]
        return torch.tensor(np.stack(found), dtype=torch.float32)[:, None]

    return answer


def _biharmonic(problem: Problem, y: Any) -> Any:
    assert problem.hidden is not None
    return restoration.inpaint_biharmonic(y, problem.hidden.expand(y.shape).numpy())


def _cubic(problem: Problem, y: Any) -> Any:
    height, width = problem.physics.shape[1:]
    return Image.fromarray(y.astype("float32")).resize((width, height), Image.Resampling.BICUBIC)


def _wiener(problem: Problem, y: Any) -> Any:
    if isinstance(problem.physics, Filter):
        taps = problem.physics.taps.double().numpy()
        return restoration.wiener(y, np.outer(taps, taps), 10 * problem.sigma**2, clip=False)
    if isinstance(problem.physics, Room):
        size = 2 * len(y)
        heard = np.fft.rfft(problem.physics.response.double().numpy(), size)
        gain = heard.conj() / (abs(heard) ** 2 + (problem.sigma / y.std()) ** 2)
        return np.fft.irfft(np.fft.rfft(y, size) * gain, size)[: len(y)]
    return signal.wiener(y, 5 if y.ndim == 2 else 9, problem.sigma**2)


def _spectral(problem: Problem, y: Any) -> Any:
    """Each bin of a spectrogram by Wiener's gain, from how far it is above the noise."""
    window = torch.hann_window(_WINDOW, dtype=torch.float64)
    form: Any = {"n_fft": _WINDOW, "hop_length": _WINDOW // 4, "window": window}
    bins = torch.stft(torch.tensor(y), return_complex=True, **form)
    noise = problem.sigma**2 * window.square().sum()
    gain = (1 - noise / bins.abs().square().clamp(min=1e-12)).clamp(min=0.05)
    return torch.istft(bins * gain, length=len(y), **form)


def _linear(problem: Problem, y: Any) -> Any:
    assert problem.hidden is not None
    known = np.flatnonzero(~problem.hidden.numpy())
    return np.interp(np.arange(len(y)), known, y[known])


def _burg(problem: Problem, y: Any) -> Any:
    """Autoregression by Burg's method, from both sides of the gap, which fade into each other."""
    assert problem.hidden is not None
    unknown = np.flatnonzero(problem.hidden.numpy())
    begin, end = unknown[0], unknown[-1] + 1
    x = y.copy()
    x[begin:end] = _predicted(y[:begin], end - begin)
    if end < len(y):
        fade = np.linspace(0, 1, end - begin)
        back = _predicted(y[end:][::-1], end - begin)[::-1]
        x[begin:end] = (1 - fade) * x[begin:end] + fade * back
    return x


def _predicted(past: Any, count: int) -> Any:
    if not np.any(past[-4 * _ORDER :]):
        return np.zeros(count)
    a = librosa.lpc(
        past[-1024:] + 1e-6 * np.random.default_rng(0).normal(size=len(past[-1024:])), order=_ORDER
    )
    return signal.lfilter(
        [1.0], a, np.zeros(count), zi=signal.lfiltic([1.0], a, past[: -_ORDER - 1 : -1])
    )[0]


def _peaks(problem: Problem, y: Any) -> Any:
    """A cubic spline through what was not clipped, and never below the level."""
    assert problem.level is not None
    sure = abs(y) < problem.level
    x = CubicSpline(np.flatnonzero(sure), y[sure])(np.arange(len(y)))
    x = np.clip(x, -problem.unit, problem.unit)
    return np.where(sure, y, np.sign(y) * np.maximum(x * np.sign(y), problem.level))


CLASSICS = {
    "as given": _each(lambda problem, y: y),
    "median": _each(lambda problem, y: median_filter(y, 3)),
    "biharmonic": _each(_biharmonic),
    "cubic": _each(_cubic),
    "Wiener": _each(_wiener),
    "spectral": _each(_spectral),
    "linear": _each(_linear),
    "Burg": _each(_burg),
    "cubic peaks": _each(_peaks),
}
