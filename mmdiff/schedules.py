"""Noise schedules: t in [0, 1] -> (alpha, sigma) of x_t = alpha x0 + sigma eps.

t = 0 is clean, t = 1 is (almost) pure noise, and the log-SNR log(alpha^2 / sigma^2) falls strictly
with t. `LinearBeta`, `Cosine` and `Trigonometric` preserve variance, alpha^2 + sigma^2 = 1;
`Linear` does not, and nothing else in the library asks whether a schedule does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


def exact(device: torch.device) -> torch.dtype:
    """The widest float the device has: schedules are computed in it, then rounded once."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass(frozen=True)
class Schedule(ABC):
    """An immutable map from time to noise level; equal settings compare and hash equal."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t`, both in the shape and dtype of `t`.

        Raises:
            ValueError: times that are integers; on a CPU also times beyond [0, 1].
        """
        if not t.is_floating_point():
            raise ValueError(
                f"times are floating-point numbers in [0, 1], not {t.dtype}: "
                "index i of T timesteps stands at (i + 1) / T."
            )
        if t.device.type == "cpu" and not ((t >= 0) & (t <= 1)).all():
            raise ValueError(f"times lie in [0, 1], not {float(t.min()):g} to {float(t.max()):g}.")
        return self.levels(t)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at `t` in [0, 1]; as given here, alpha^2 + sigma^2 = 1."""
        log_snr = self.log_snr(t)
        alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        return alpha.to(t.dtype), sigma.to(t.dtype)

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2) at `t` (any shape, in [0, 1]), in float64 (float32 on MPS).

        +inf at t = 0; -inf where alpha is 0.
        """

    @abstractmethod
    def time_of(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`; a value that the schedule never reaches is clamped to t = 1."""

    @abstractmethod
    def training_time(self, u: Tensor) -> Tensor:
        """Map `u`, uniform in [0, 1), to the times that training visits, uniform over them."""

    @property
    def alpha_at_one(self) -> float:
        """alpha at t = 1; where it is 0, x0 cannot be recovered from eps."""
        return float(self(torch.ones((), dtype=torch.float64))[0])


@dataclass(frozen=True)
class _BetaTable(Schedule):
    """A discrete chain of `timesteps` betas, read as a continuous schedule.

    Index i of T stands at t = (i + 1) / T, and is exact there; between indices the log-SNR is
    interpolated linearly; below t = 1 / T the variance sigma^2 falls linearly to 0.
    """

    timesteps: int = 1000

    @abstractmethod
    def betas(self, device: torch.device) -> Tensor:
        """[T] variances of the forward chain, float64 (float32 on MPS)."""

    def log_snr(self, t: Tensor) -> Tensor:
        table = _log_snr_table(self, t.device)
        position = t.to(table.dtype) * self.timesteps - 1.0
        below = position.clamp(0, self.timesteps - 1).floor().long()
        above = (below + 1).clamp(max=self.timesteps - 1)
        between = torch.lerp(table[below], table[above], (position - below).clamp(0, 1))
        variance = torch.sigmoid(-table[0]) * (position + 1.0).clamp(0, 1)
        first = torch.log1p(-variance) - variance.log()
        return torch.where(position < 0, first, between)

    def time_of(self, log_snr: Tensor) -> Tensor:
        table = _log_snr_table(self, log_snr.device)
        value = log_snr.to(table.dtype)
        above = torch.searchsorted(-table, -value).clamp(1, self.timesteps - 1)
        fraction = (value - table[above - 1]) / (table[above] - table[above - 1])
        between = (above + fraction.clamp(max=1)) / self.timesteps
        first = torch.sigmoid(-value) / torch.sigmoid(-table[0]) / self.timesteps
        return torch.where(value > table[0], first, between)

    def training_time(self, u: Tensor) -> Tensor:
        index = (u * self.timesteps).floor().clamp(max=self.timesteps - 1)
        return (index + 1) / self.timesteps


@lru_cache(maxsize=32)
def _log_snr_table(schedule: _BetaTable, device: torch.device) -> Tensor:
    # Built on the device itself: copying it there would make the host wait.
    log_alpha_bar = torch.log1p(-schedule.betas(device)).cumsum(0)
    return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))


@dataclass(frozen=True)
class LinearBeta(_BetaTable):
    """DDPM's: `timesteps` betas evenly from `beta_start` to `beta_end` (Ho et al. 2020).

    alpha_i^2 = prod over j <= i of (1 - beta_j).
    """

    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.timesteps < 2:
            raise ValueError(f"LinearBeta needs at least 2 timesteps, not {self.timesteps}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                "LinearBeta needs 0 < beta_start <= beta_end < 1, "
                f"not {self.beta_start} and {self.beta_end}."
            )

    def betas(self, device: torch.device) -> Tensor:
        return torch.linspace(
            self.beta_start, self.beta_end, self.timesteps, dtype=exact(device), device=device
        )


@dataclass(frozen=True)
class Cosine(_BetaTable):
    """abar(t) = cos^2(pi/2 (t + s) / (1 + s)), each beta at most `max_beta`.

    Nichol & Dhariwal 2021. The cap keeps alpha above 0 at t = 1, so that eps-prediction stays
    defined.
    """

    s: float = 0.008
    max_beta: float = 0.999

    def __post_init__(self) -> None:
        if self.timesteps < 2:
            raise ValueError(f"Cosine needs at least 2 timesteps, not {self.timesteps}.")
        if not (self.s >= 0 and 0 < self.max_beta < 1):
            raise ValueError(
                f"Cosine needs s >= 0 and 0 < max_beta < 1, not {self.s} and {self.max_beta}."
            )

    def betas(self, device: torch.device) -> Tensor:
        t = torch.linspace(0, 1, self.timesteps + 1, dtype=exact(device), device=device)
        abar = torch.cos(math.pi / 2 * (t + self.s) / (1 + self.s)).square()
        return (1 - abar[1:] / abar[:-1]).clamp(max=self.max_beta)


@dataclass(frozen=True)
class Trigonometric(Schedule):
    """The half circle of v-diffusion: alpha = cos(pi t / 2), sigma = sin(pi t / 2).

    Salimans & Ho 2022. alpha is exactly 0 at t = 1, so it goes with v or x0, not with eps.
    """

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        half = math.pi / 2 * t.to(exact(t.device))
        # sin of the complement, so that alpha is exactly 0 at t = 1.
        return torch.sin(math.pi / 2 - half).to(t.dtype), torch.sin(half).to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        alpha, sigma = self.levels(t.to(exact(t.device)))
        return 2 * (alpha.log() - sigma.log())

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-log_snr / 2)) * (2 / math.pi)

    def training_time(self, u: Tensor) -> Tensor:
        return u


@dataclass(frozen=True)
class Linear(Schedule):
    """Straight paths from data to noise, alpha = 1 - t, sigma = t (Liu et al. 2023).

    alpha is exactly 0 at t = 1, so it goes with flow, v or x0, not with eps.
    """

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def log_snr(self, t: Tensor) -> Tensor:
        t = t.to(exact(t.device))
        return 2 * (torch.log1p(-t) - t.log())

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)

    def training_time(self, u: Tensor) -> Tensor:
        return u
