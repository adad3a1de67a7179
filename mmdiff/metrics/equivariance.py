"""How far a denoiser is from treating all samples of a sound alike, as frames do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmdiff import noise
from mmdiff.diffusion import Diffusion
from mmdiff.metrics.periodic import Shared, check_period, fold, interval, resampled, with_controls

LIMIT = 200.0  # dB: what lies beyond is rounding
FREQUENCIES = tuple(math.pi * (i + 0.5) / 8 for i in range(8))

_STREAM = 25
_LEVELS = torch.tensor([0.025, 0.975], dtype=torch.float64)
_EDGE = 8  # one part in so many at each end of a clip is left out: networks pad there


class Estimate(NamedTuple):
    """A value and its 95% interval, from a bootstrap over clips."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AtTime:
    """A denoiser at one noise level.

    Attributes:
        time: from 0 (clean) to 1.
        rejection: by period (the controls, too), for each frequency the image rejection in dB.
        shift_errors: SEE(s) for each shift of the report.
        shift_error: the mean of SEE(s) over s = 0 .. period - 1, estimated from those.
        whole_period: SEE(period), which is 0 for a network of that period.
    """

    time: float
    rejection: dict[int, tuple[Estimate, ...]]
    shift_errors: tuple[float, ...]
    shift_error: Estimate
    whole_period: float


@dataclass(frozen=True)
class DenoiserReport:
    """What `denoiser_artefacts` found; `frequencies` in radians per sample."""

    period: int
    count: int
    frequencies: tuple[float, ...]
    shifts: tuple[int, ...]
    times: tuple[AtTime, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """A few lines for people."""
        frequencies = " ".join(f"{w / math.pi:6.3f}" for w in self.frequencies)
        lines = [
            f"period {self.period}, {self.count:,} clips",
            f"image rejection (dB) at frequencies of pi times      {frequencies}",
        ]
        for row in self.times:
            for q, estimates in row.rejection.items():
                name = f"t = {row.time:.3f}" if q == self.period else f"  control, period {q}"
                lines.append(f"  {name:<51}" + " ".join(f"{e.value:6.1f}" for e in estimates))
        lines.append("shift equivariance error                 mean, 95% interval  whole period")
        for row in self.times:
            mean, low, high = row.shift_error
            lines.append(
                f"  t = {row.time:.3f}      {mean:20.2e}, {low:.2e} .. {high:.2e}"
                f"  {row.whole_period:.2e}"
            )
        return "\n".join(lines)


@torch.no_grad()
def denoiser_artefacts(
    model: Diffusion,
    x: Tensor,
    period: int,
    times: Sequence[float],
    frequencies: Sequence[float] = FREQUENCIES,
    shifts: int = 8,
    seed: int = 0,
    batch: int = 16,
    **told: Tensor,
) -> DenoiserReport:
    """Measure how far a denoiser D(x_t), the estimate of x0, is from treating all samples alike.

    Image rejection: the Jacobian at x_t answers a tone with y = J exp(i w n), by forward-mode
    differentiation along its cosine and its sine. With h_c = <y exp(-i w n)> over n = c mod p and
    H = DFT(h) / p, IRR(w) = 10 log10(|E H_0|^2 / sum_{k != 0} |E H_k|^2), E over clips and without
    bias (`mmdiff.metrics.periodic`): what D makes of the content of a clip has no preferred phase.

    Shift equivariance: SEE(s) = E |S_-s D(S_s x_t) - D(x_t)|^2 / E |D(x_t)|^2, where S_s x_t is
    what stands s samples earlier: nothing is wrapped, silence comes before the clip, and the noise
    goes on. For a linear D and white x_t its mean over s = 0 .. p - 1 is
    2 sum_{k != 0} |H_k|^2 / sum_k |H_k|^2.

    An eighth of the clip at both ends is left out: there networks pad.

    Args:
        model: denoises waveforms, on any device.
        x: real clips [N, C, L] at the level that the model works at.
        period: from 2 up to L / 8 - 1.
        times: noise levels, each in [0, 1]. Where alpha is 0 nothing of x is left.
        frequencies: w, in radians per sample.
        shifts: how many of s = 1 .. p - 1 to try, drawn at random; all of them if there are fewer.
        seed: of the noise, the shifts and the bootstrap.
        batch: clips at once; it takes len(times) (2 len(frequencies) + shifts + 2) network calls
            for each clip, some of them with derivatives.
        told: conditions by name, each [N, ...].

    Raises:
        ValueError: another shape or period, fewer than two clips, or a denoiser that does not
            answer at all.
    """
    if x.ndim != 3 or len(x) < 2:
        raise ValueError(f"at least two clips [N, C, L] are needed, not {list(x.shape)}.")
    for q in with_controls(period):
        check_period(q, x.shape[2])
    x = x.to(next(model.parameters(), x))
    drawn = noise.permutation(seed, period - 1, step=0, stream=_STREAM)[:shifts] + 1
    chosen = sorted(drawn.tolist())
    probe = _Probe(model, period, tuple(frequencies), tuple(chosen), seed, batch)
    with _exact():
        rows = tuple(probe.at(time, x, told) for time in times)
    return DenoiserReport(period, len(x), probe.frequencies, probe.shifts, rows)


@contextmanager
def _exact() -> Iterator[None]:
    """Inside, no TF32 on CUDA: its rounding would hide what lies 66 dB below a tone."""
    settings: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in settings]
    try:
        for one in settings:
            one.allow_tf32 = False
        yield
    finally:
        for one, value in zip(settings, before, strict=True):
            one.allow_tf32 = value


class _Probe(NamedTuple):
    """What is asked of the model at every noise level."""

    model: Diffusion
    period: int
    frequencies: tuple[float, ...]
    shifts: tuple[int, ...]
    seed: int
    batch: int

    def at(self, time: float, x: Tensor, told: dict[str, Tensor]) -> AtTime:
        counts = resampled(len(x), self.seed)
        answers: list[list[Tensor]] = []
        errors = []
        for ids in torch.arange(len(x), device=x.device).split(self.batch):
            given = {name: value.to(x.device)[ids] for name, value in told.items()}
            state = self._state(time, x[ids], ids)
            errors.append(self._shift_errors(time, state, given))
            clip = state[..., self.period :]
            answers.append([self._answer(time, clip, w, given) for w in self.frequencies])
        rejection = {
            q: tuple(
                _rejection(torch.cat([fold(y, q) for y in parts]), counts)
                for parts in zip(*answers, strict=True)
            )
            for q in with_controls(self.period)
        }
        *wrong, whole, power = torch.cat(errors).unbind(1)
        total = torch.stack(wrong).mean(0) * (1 - 1 / self.period)
        low, high = ((counts @ total) / (counts @ power)).quantile(_LEVELS).tolist()
        return AtTime(
            time=time,
            rejection=rejection,
            shift_errors=tuple(float(w.sum() / power.sum()) for w in wrong),
            shift_error=Estimate(float(total.sum() / power.sum()), low, high),
            whole_period=float(whole.sum() / power.sum()),
        )

    def _state(self, time: float, x: Tensor, ids: Tensor) -> Tensor:
        """x_t of the clips after one period of silence: [B, C, period + L]."""
        clean = F.pad(x, (self.period, 0))
        z = noise.normal(self.seed, ids, 0, clean.shape[1:], _STREAM).to(x)
        return self.model.add_noise(clean, x.new_full((len(x),), time), z)

    def _denoise(self, time: float, x: Tensor, told: dict[str, Tensor]) -> Tensor:
        return self.model.denoise(x, x.new_full((len(x),), time), **told).x0

    def _shift_errors(self, time: float, state: Tensor, told: dict[str, Tensor]) -> Tensor:
        """[B, shifts + 2]: energies of the errors for each shift, for a period, of the output."""
        length = state.shape[2] - self.period
        start = length // _EDGE
        size = length - 2 * start - self.period

        def shifted(shift: int) -> Tensor:
            first = self.period - shift
            y = self._denoise(time, state[..., first : first + length], told)
            return y[..., start + shift : start + shift + size].double()

        still = shifted(0)
        parts = [shifted(shift) - still for shift in (*self.shifts, self.period)]
        return torch.stack([y.square().sum((1, 2)) for y in (*parts, still)], dim=1).cpu()

    def _answer(
        self, time: float, state: Tensor, frequency: float, told: dict[str, Tensor]
    ) -> Tensor:
        """J exp(i w n) exp(-i w n), on all channels at once, without the edges: complex128."""
        twice = torch.cat((state, state))
        given = {name: torch.cat((value, value)) for name, value in told.items()}
        angle = frequency * torch.arange(state.shape[2], dtype=torch.float64)
        tone = torch.stack((angle.cos(), angle.sin())).to(state)
        tones = tone[:, None, None].expand(2, *state.shape).flatten(0, 1)
        with sdpa_kernel(SDPBackend.MATH):  # the others have no forward-mode derivative
            y = torch.func.jvp(lambda x: self._denoise(time, x, given), (twice,), (tones,))[1]
        cosine, sine = y.cpu().double().chunk(2)
        answer = torch.complex(cosine, sine) * torch.polar(torch.ones_like(angle), -angle)
        edge = state.shape[2] // _EDGE
        return answer[..., edge : state.shape[2] - edge]


def _rejection(h: Tensor, counts: Tensor) -> Estimate:
    """The image rejection in dB from h_c of each clip, complex [N, C, period]."""
    answer = h.mean(2)  # H_0 [N, C]
    direction = answer.mean(0)
    if not direction.abs().max() > 0:
        raise ValueError("the denoiser does not answer to what it is given: nothing to measure.")
    # The part of H_0 along its mean over clips: the mean of this is the length of that.
    scales = (answer @ direction.conj()).real / direction.norm()
    vectors = torch.view_as_real(h - answer[..., None]).flatten(1) / math.sqrt(h.shape[2])
    images = Shared(vectors @ vectors.T, scales, order=2)
    errors = images.bootstrap(counts)
    low, high = interval(images.value, lambda truth: errors.at(max(truth, 0.0)))
    return Estimate(_decibels(images.value), _decibels(high), _decibels(low))


def _decibels(images: float) -> float:
    """How far images of a relative power lie below the signal."""
    return -10 * math.log10(max(images, 10 ** (-LIMIT / 10)))
