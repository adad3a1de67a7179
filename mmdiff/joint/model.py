"""A joint model: several diffusion models, each of another modality, that see each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmdiff import noise
from mmdiff import prediction as pred
from mmdiff.checkpoints import Info
from mmdiff.conditions import Class, Condition
from mmdiff.diffusion import Diffusion, Times, check_times, expand
from mmdiff.joint.network import Bundled, Frozen, Parts, View
from mmdiff.joint.turns import in_turn
from mmdiff.noise import Draws
from mmdiff.sampling import Sampling
from mmdiff.schedules import Schedule, Trigonometric
from mmdiff.told import Told

LEVELS = 16  # noise levels at which `Joint.prepare` measures
TOGETHER = "together"  # 0 where the parts see each other
_LEAST = 1e-8  # of an error, to divide by

_HOW, _WHICH, _EACH = noise.PARTS, noise.PARTS + 1, noise.PARTS + 2  # streams of random numbers


@dataclass(frozen=True)
class Shares:
    """How often training looks at parts in which way.

    Attributes:
        together: all at the same log-SNR.
        given: one at any time, the others given, see `Joint`.
        alone: each at a time of its own, and unseen by the others.
        independent: each at a time of its own.
    """

    together: float = 0.4
    given: float = 0.4
    alone: float = 0.1
    independent: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.together, self.given, self.alone, self.independent)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares must be 0 or more, and 1 together, not {shares}.")


class Joint(Diffusion):
    """Several models of one thing, such as its picture and its sound, as one model.

    Its signal is all of theirs packed into one [1, N], see `Packing`, so that whatever works with a
    `Diffusion` works with it: sampled from, it makes all of them together. `view` gives the other
    ways to use it. In training each part has its own time (UniDiffuser; Bao et al. 2023).

        joint = Joint({"picture": Bundled("digits"), "sound": Bundled("speech")}, Bridge(...))
        x = mmdiff.sample(joint, (8, *joint.packing.shape), DPMpp2M(50))
        x = joint.packing.unpack(x)  # {"picture": [8, 1, 28, 28], "sound": [8, 1, 5120]}
        sound = mmdiff.sample(joint.view("sound", "picture"), (8, 1, 5120), DPMpp2M(50),
                              picture=x["picture"])

    Args:
        parts: by name. Models that were loaded stay as they are, and so do `Bundled` ones, whose
            weights are not even stored; fresh ones are trained.
        bridge: what asks the networks of all parts together: `mmdiff.nn.Bridge`, or any module
            `forward(networks, x, t, told, apart)` that returns what each says, all by name;
            networks, x, t and told are those of each part, which are alone in the samples `apart`.
        schedule: of what is drawn together; the parts keep their own.
        shares: how often training looks at which combination of times.
        hide: how often training tells a sample nothing of labels and the like. At 1 the parts must
            agree by what they see of each other.
        infos: what each part makes; a part's own `info` where it is left out.
        taught: each part is trained towards what it would itself say if it were told the labels,
            not towards x0. If parts of one label have nothing else in common, both have the same
            minimum, as E[x0 | x_t, other] is the mean of E[x0 | x_t, label] over the labels that
            the other may have; but all that no label tells of x0 is no longer noise to learning.
        given_at: the time, from 0 on, of parts that are given: a network that takes noise away
            knows more of a signal with a little of it than of a clean one.
        times: how often training draws which level of noise of all parts together, as of
            `Diffusion`; parts alone or independent keep their own.
        given_times: the same of a part that is given others; None for its own. How something looks
            is decided later than what it is, which is all that others tell.
        turns: the names of all parts in the order in which they are best drawn, see `in_turn`;
            if empty, all at once.

    Raises:
        ValueError: parts that do not fit together, see `Parts`; turns of other parts.
    """

    backbone: Parts
    in_turn = in_turn

    def __init__(
        self,
        parts: Mapping[str, Diffusion | Bundled | Frozen],
        bridge: nn.Module,
        schedule: Schedule | None = None,
        *,
        shares: Shares | None = None,
        hide: float = 1.0,
        infos: Mapping[str, Info] | None = None,
        taught: bool = False,
        given_at: float = 0.0,
        times: Times = "uniform",
        given_times: Times | None = None,
        turns: Sequence[str] = (),
    ) -> None:
        if turns and sorted(turns) != sorted(parts):
            raise ValueError(f"turns must be all of {', '.join(parts)}, not {', '.join(turns)}.")
        schedule = schedule or Trigonometric()
        network = Parts(parts, bridge, schedule, infos, given_at)
        super().__init__(network, schedule, "x0", hide=hide, times=times)
        self.shares = shares or Shares()
        self.taught, self.turns = taught, tuple(turns)
        self.given_times = None if given_times is None else check_times(given_times)
        self.parts, self.packing = self.backbone.models, self.backbone.packing
        for name in self.parts:
            self.register_buffer(f"alone_{name}", torch.ones(LEVELS))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that it was made with."""
        return {
            "parts": self.backbone.made,
            "bridge": self.backbone.bridge,
            "schedule": self.schedule,
            "shares": self.shares,
            "hide": self.hide,
            "infos": {name: self.backbone.infos[name] for name in self.backbone.own},
            "taught": self.taught,
            "given_at": self.backbone.given_at,
            "times": self.times,
            "given_times": self.given_times,
            "turns": list(self.turns),
        }

    @property
    def guidable(self) -> bool:
        """Always: see `tell`."""
        return True

    @property
    def usually_told(self) -> Mapping[str, Condition]:
        """With turns the first part alone is told anything, see `in_turn`."""
        told = super().usually_told
        if not self.turns:
            return told
        knows = self.parts[self.turns[0]].conditions
        return {name: kind for name, kind in told.items() if name in knows}

    def tell(
        self,
        count: int,
        given: Mapping[str, Any],
        device: torch.device,
        sides: Sequence[int] | None = None,
    ) -> Told:
        """See `Diffusion.tell`. It is also told that the parts go together.

        That is what guidance hides first of all: x0 = x0(each part alone) + scale (x0(all that see
        each other) - x0(each part alone)), as UniDiffuser draws pairs.
        """
        told = super().tell(count, given, device, sides)
        together = torch.zeros(count, dtype=torch.int64, device=device)
        return Told({**told.kinds, TOGETHER: Class(1)}, {**told.values, TOGETHER: together})

    def view(self, name: str, given: str | Sequence[str] = ()) -> Diffusion:
        """One part as a model of its own, which may be told others, by name, as conditions.

        A part that is not told is absent: guidance away from that needs no training for it.
        Networks and weights are this model's, and so is, of a part that is told others, how it is
        best sampled from, see `sampling_of`.

        Raises:
            ValueError: no such part, or one given itself.
        """
        given = (given,) if isinstance(given, str) else tuple(given)
        for part in (name, *given):
            if part not in self.parts or name in given:
                raise ValueError(
                    f"a view is of one of {', '.join(self.parts)}, given others, "
                    f"not of {name} given {', '.join(given) or 'nothing'}."
                )
        of = self.parts[name]
        view = Diffusion(
            View(self.backbone, name, given), of.schedule, of.prediction, of.weighting,
            times=of.times,
        )  # fmt: skip
        view.info = self.backbone.infos[name]
        if given and self.info is not None:  # a part's own is for its labels
            view.info = replace(view.info, sampling=self.sampling_of(name, self.info.sampling))
        return view.train(self.training)

    def sampling_of(self, name: str, sampling: Sampling) -> Sampling:
        """How to draw a part by `sampling`, which is of all: clipped and spun as its own is."""
        own = self.backbone.infos[name].sampling
        return replace(sampling, clip=own.clip, spin=own.spin)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Measure how far each part errs alone, by noise level, before training begins.

        Never further than what knows but the data's mean and variance, which is better than
        networks that say nothing yet: a fresh one of x0 would err by 1 / sigma^2 in v.
        """
        for k, batch in zip(range(LEVELS), batches, strict=False):
            x, told = self._given(batch)
            places = torch.arange(len(x), device=x.device)
            x0, z = (self.packing.unpack(v) for v in (x, Draws(0, k, places, len(x)).normal(x)))
            log_snr = Trigonometric().log_snr(
                torch.full_like(places, (k + 0.5) / LEVELS, dtype=x.dtype)
            )
            for name, of in self.parts.items():
                t = of.schedule.time_of(log_snr).to(x)
                x_t = of.add_noise(x0[name], t, z[name]).to(x)
                aim = self._aim(name, x0[name], t, z[name], x_t, told)
                said = (of.backbone(x_t, t), _linear(of, x0[name], x_t, t))
                error = min(of.errors(output, aim[0], t, aim[1]).mean() for output in said)
                getattr(self, f"alone_{name}")[k] = error.clamp(min=_LEAST)

    def loss(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """The parts' own weighted errors, each in units of the part's alone at that noise level.

        So are predictions of any kind and signals of any size alike, and what matters to a part
        counts at all levels: alone, an error in eps hardly shows where almost all is noise, which
        is where a part must know of the others. A part that is given is not asked.
        """
        x, labels = self._given(batch)
        told = labels.hidden(draws.chosen(self.hide))
        x0, z = (self.packing.unpack(v) for v in (x, draws.normal(x)))
        times, wanted, apart = self.times_of(draws)
        states = {
            name: of.add_noise(x0[name], times[name], z[name]).to(x)
            for name, of in self.parts.items()
        }
        found = self.backbone.outputs(states, times, told.values, apart)
        total = torch.zeros((), device=x.device)
        for name, of in self.parts.items():
            t = times[name]
            level = Trigonometric().time_of(of.schedule.log_snr(t)) * LEVELS
            alone = getattr(self, f"alone_{name}")[level.long().clamp(0, LEVELS - 1)]
            aim = self._aim(name, x0[name], t, z[name], states[name], labels)
            errors = of.errors(found[name], aim[0], t, aim[1]) / alone
            total = total + torch.where(wanted[name], errors, 0.0).mean()
        return total

    @torch.no_grad()
    def _aim(
        self, name: str, x0: Tensor, t: Tensor, noise: Tensor, x_t: Tensor, told: Told
    ) -> tuple[Tensor, Tensor]:
        """The x0 and noise that a part is to name of `x_t`: these, or what its labels tell it."""
        of = self.parts[name]
        if not self.taught:
            return x0, noise
        labels = {what: told.values[what] for what in of.conditions if what in told.values}
        levels = (expand(level, x0) for level in of.schedule(t))
        return pred.to_x0_eps(of.prediction, of.backbone(x_t, t, **labels), x_t, *levels)

    def times_of(self, draws: Draws) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The time of each part, [B], and whether it is asked for there, bool [B], by name.

        And the samples, bool [B], in which they do not see each other.
        """
        how, which = (
            noise.uniform(draws.seed, draws.places, draws.step, s) for s in (_HOW, _WHICH)
        )
        shares = self.shares
        together = how < shares.together
        given = (how < shares.together + shares.given) & ~together
        apart = (how < 1 - shares.independent) & ~together & ~given
        chosen = (which * len(self.parts)).long()
        u = draws.times()
        log_snr = self.schedule.log_snr(self.training_times(u))
        near, times, wanted = self.backbone.given_at, {}, {}
        for k, (name, of) in enumerate(self.parts.items()):
            own = noise.uniform(draws.seed, draws.places, draws.step, _EACH + k)
            own = torch.where(chosen == k, u, own)
            told = of.training_times(own, self.given_times)
            t = torch.where(given, torch.where(chosen == k, told, near), of.training_times(own))
            times[name] = torch.where(together, of.schedule.time_of(log_snr).to(t), t).clamp(0, 1)
            wanted[name] = ~given | (chosen == k)
        return times, wanted, apart


def _linear(of: Diffusion, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """What a part would say of `x_t` if it knew the mean and the variance of `x0` alone."""
    alpha, sigma = (expand(level, x_t) for level in of.schedule(t))
    mean, variance = x0.mean(), x0.var()
    share = alpha * variance / (alpha.square() * variance + sigma.square())
    guess = mean + share * (x_t - alpha * mean)
    return pred.from_x0_eps(of.prediction, guess, (x_t - alpha * guess) / sigma, alpha, sigma)
