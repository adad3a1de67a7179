"""The networks of several models as one, and what a view of them asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmdiff import noise
from mmdiff import prediction as pred
from mmdiff.checkpoints import ZOO, Info, bundled, load
from mmdiff.conditions import NONE, Condition
from mmdiff.diffusion import Diffusion, expand
from mmdiff.joint.packing import Packing
from mmdiff.schedules import Schedule

_DIGITS = 16  # of a file's SHA-256


@dataclass(frozen=True)
class Bundled:
    """A model that comes with the library, as a part of another: its weights stay in its own file.

    Attributes:
        name: such as "digits".
        digest: of that file, the present one if it is left out.

    Raises:
        ValueError: there is none of this name, or it has other weights.
    """

    name: str
    digest: str = ""

    def __post_init__(self) -> None:
        if self.name not in bundled():
            raise ValueError(f"no bundled model {self.name!r}; there are {', '.join(bundled())}.")
        content = (ZOO / f"{self.name}.safetensors").read_bytes()
        found = hashlib.sha256(content).hexdigest()[:_DIGITS]
        if self.digest not in ("", found):
            raise ValueError(f"it was made with another {self.name!r} than the one that is here")
        object.__setattr__(self, "digest", found)


@dataclass(frozen=True)
class Frozen:
    """A copy of a trained model as a part of another, which stores its weights and trains none.

    Attributes:
        model: its parameters are buffers.
    """

    model: Diffusion

    def __post_init__(self) -> None:
        copied = deepcopy(self.model)
        for module in copied.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach())
        object.__setattr__(self, "model", copied)


@dataclass(frozen=True)
class Given(Condition):
    """Another modality of the same thing: float [B, *shape], NaN where it is not told."""

    enters = "tokens"

    shape: tuple[int, ...]

    def nothing(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), *self.shape), torch.nan)

    def check(
        self, name: str, value: Any, count: int, sides: Sequence[int] | None = None
    ) -> Tensor:
        value = torch.as_tensor(value)
        if value.shape == self.shape:
            value = value.expand(count, *self.shape)
        if value.shape != (count, *self.shape) or not value.is_floating_point():
            raise ValueError(
                f"{name} must be floating-point numbers {[count, *self.shape]}, "
                f"not {value.dtype} {list(value.shape)}."
            )
        return value


class Parts(nn.Module):
    """Several models and the bridge between them: a backbone of packed states, which predicts x0.

    Args:
        models: by name; those that are `Bundled` are no submodules, so that nothing trains or
            stores them. Those that say what they make were trained: they become `Frozen`.
        infos: what each makes; a model's own `info` where it is left out.
        bridge: see `Joint`.
        schedule: of the packed states.
        given_at: the time of parts that views are given.

    Raises:
        ValueError: models that do not fit the bridge or say what they make, work on a code, are
            called like a condition, or know different conditions by one name.
    """

    def __init__(
        self,
        models: Mapping[str, Diffusion | Bundled | Frozen],
        bridge: nn.Module,
        schedule: Schedule,
        infos: Mapping[str, Info] | None = None,
        given_at: float = 0.0,
    ) -> None:
        super().__init__()
        self.given_at = given_at
        self.made = {
            name: Frozen(of) if isinstance(of, Diffusion) and of.info is not None else of
            for name, of in models.items()
        }
        self._lent = {n: load(of.name) for n, of in self.made.items() if isinstance(of, Bundled)}
        own = {
            name: of.model if isinstance(of, Frozen) else of
            for name, of in self.made.items()
            if not isinstance(of, Bundled)
        }
        self.own = nn.ModuleDict(own)
        self.bridge, self.schedule = bridge, schedule
        self.models: dict[str, Diffusion] = {n: self._lent.get(n) or own[n] for n in models}
        check: Any = getattr(bridge, "check", None)
        if check is not None:
            check({name: of.backbone for name, of in self.models.items()})
        self.infos = {n: (infos or {}).get(n) or of.info for n, of in self.models.items()}
        self.conditions: dict[str, Condition] = {}
        for name, of in self.models.items():
            if self.infos[name] is None:
                raise ValueError(f"{name} must say what it makes: give its info.")
            if of.codec is not None:
                raise ValueError(f"{name} works on a code, which a joint model cannot pack.")
            for what, kind in of.conditions.items():
                if what in models:
                    raise ValueError(f"a part cannot be called {what}: {name} is told such.")
                if self.conditions.setdefault(what, kind) != kind:
                    raise ValueError(f"{what} means something else to {name}: name it otherwise.")
        self.packing = Packing({name: info.shape for name, info in self.infos.items()})

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Parts:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for model in self._lent.values():
            model._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def outputs(
        self,
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        told: Mapping[str, Tensor],
        apart: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What each network says of its x [B, C, *spatial] at its own t [B], in its own terms.

        In the samples `apart` (bool [B]) it says so of its x alone.
        """
        knows = {
            name: {what: told[what] for what in of.conditions if what in told}
            for name, of in self.models.items()
        }
        networks = {name: of.backbone for name, of in self.models.items()}
        found: dict[str, Tensor] = self.bridge(networks, x, t, knows, apart)
        return found

    def forward(
        self, x: Tensor, t: Tensor, together: Tensor | None = None, **told: Tensor
    ) -> Tensor:
        """States [B, 1, N] at t [B] of `schedule` -> estimates of x0 [B, 1, N].

        Each part is asked at the time of its own schedule with the same log-SNR, for a state of
        its own scale; it is as exact as the part is. Where a part never reaches so much noise it is
        asked at t = 1. An estimate is clipped if the part's own samples usually are.
        Parts are not `together` in samples where that is -1: there each is asked alone.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        log_snr, t = self.schedule.log_snr(t), t.to(wide)
        size = torch.hypot(*self.schedule(t))
        states = {name: part.to(wide) for name, part in self.packing.unpack(x).items()}
        times, levels = {}, {}
        for name, of in self.models.items():
            times[name] = of.schedule.time_of(log_snr).to(wide).clamp(0, 1)
            levels[name] = [expand(v, states[name]) for v in of.schedule(times[name])]
            states[name] = states[name] * (torch.hypot(*levels[name]) / expand(size, states[name]))
        apart = None if together is None else together == NONE
        found = self.outputs({n: s.to(x.dtype) for n, s in states.items()}, times, told, apart)
        x0 = {}
        for name, of in self.models.items():
            output, clip = found[name].to(wide), self.infos[name].sampling.clip
            x0[name], _ = pred.to_x0_eps(of.prediction, output, states[name], *levels[name])
            x0[name] = x0[name] if clip is None else x0[name].clamp(*clip)
        return self.packing.pack(x0)


class View(nn.Module):
    """One of the `parts`, told of others: a backbone of that part's own signals, an ordinary one.

    What is told of others is given at t = `parts.given_at`; what is not is pure noise, at t = 1.
    """

    def __init__(self, parts: Parts, name: str, given: Sequence[str] = ()) -> None:
        super().__init__()
        self.parts, self.name, self.given = parts, name, tuple(given)
        others = {other: Given(parts.packing.shapes[other]) for other in given}
        self.conditions: dict[str, Condition] = {**parts.conditions, **others}
        home = next(parts.parameters(), torch.empty(0)).device
        first = torch.zeros(1, dtype=torch.int64, device=home)
        for other, shape in parts.packing.shapes.items():
            # The same for all samples and calls, so that it tells nothing about any.
            z = noise.normal(0, first, 0, shape, noise.GIVEN)
            self.register_buffer(f"noise_{other}", z, False)

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        """x [B, C, *spatial] at t [B] -> what the part's network says, in its own terms."""
        states, times = {}, {}
        near, one = torch.full_like(t, self.parts.given_at), torch.ones_like(t)
        for name, of in self.parts.models.items():
            if name == self.name:
                states[name], times[name] = x, t
                continue
            z = getattr(self, f"noise_{name}").to(x)
            z = z.expand(len(x), *z.shape[1:])
            states[name], times[name] = z * expand(of.schedule(one)[1], z), one
            if name in told:
                value = told.pop(name).to(x)
                hidden = value.flatten(1).isnan().any(1)
                known = of.add_noise(value.nan_to_num(), near, z).to(x)
                states[name] = torch.where(expand(hidden, value), states[name], known)
                times[name] = torch.where(hidden, one, near)
        return self.parts.outputs(states, times, told)[self.name]
