from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import Guidance
from mmdiff.diffusion import At

LABEL = torch.tensor([0, 2, 1, -1])
SHAPE = (4, 2, 6)


class Labelled(nn.Module):
    """Answers with its label, and remembers what it was asked."""

    conditions: ClassVar = {"label": mmdiff.Class(3)}

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 2)
        self.asked: list[tuple[int, float, list[int]]] = []

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        assert len(x) == len(t) == len(label)
        self.asked.append((len(x), float(t[0]), label.tolist()))
        shift = self.table(label + 1)[:, :, None].to(x.dtype)
        return torch.tanh(x * shift + t[:, None, None].to(x.dtype))


@pytest.fixture
def model() -> mmdiff.Diffusion:
    return mmdiff.Diffusion(Labelled(), mmdiff.LinearBeta(), "v").double().requires_grad_(False)


def asked(model: mmdiff.Diffusion) -> list[tuple[int, float, list[int]]]:
    assert isinstance(model.backbone, Labelled)
    return model.backbone.asked


def one_step(model: mmdiff.Diffusion, guidance: Guidance | None, label: Tensor = LABEL) -> Tensor:
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(SHAPE)
    # One step of DDIM from t = 1 returns the estimate of x0.
    return mmdiff.sample(model, SHAPE, mmdiff.DDIM(1), noise=x, guidance=guidance, label=label)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_extrapolates_from_no_label(model: mmdiff.Diffusion, scale: float) -> None:
    with_label, without = one_step(model, None), one_step(model, None, torch.full((4,), -1))
    found = one_step(model, Guidance(scale))
    torch.testing.assert_close(found, without + scale * (with_label - without), rtol=0, atol=1e-12)
    assert torch.equal(found[3], with_label[3])  # its label is none


def test_is_the_combination_of_eps(model: mmdiff.Diffusion) -> None:
    x, t = torch.randn(SHAPE, dtype=torch.float64), torch.full((4,), 0.4, dtype=torch.float64)
    alpha, sigma = model.schedule(torch.tensor(0.4, dtype=torch.float64))
    eps, plain = (
        model.denoise(x, t, label=label).eps for label in (LABEL, torch.full_like(LABEL, -1))
    )
    wanted = (x - sigma * (plain + 2.5 * (eps - plain))) / alpha

    def x0(x: Tensor, at: At) -> Tensor:
        return model.x0(x, at, x.dtype)

    told = model.tell(4, {"label": LABEL}, x.device)
    found = Guidance(2.5)(x0)(x, At((0.4,), t, float(alpha), float(sigma), told))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_scale_one_is_no_guidance(model: mmdiff.Diffusion) -> None:
    solver = mmdiff.DDPM(12)
    plain = mmdiff.sample(model, SHAPE, solver, label=LABEL)
    asked(model).clear()
    for guidance in (1.0, Guidance(1.0, rescale=0.7)):
        guided = mmdiff.sample(model, SHAPE, solver, guidance=guidance, label=LABEL)
        assert torch.equal(guided, plain)
    assert {batch for batch, _, _ in asked(model)} == {4}


def test_one_doubled_batch_within_the_interval_and_a_single_one_outside(
    model: mmdiff.Diffusion,
) -> None:
    guidance = Guidance(2.0, interval=(0.25, 0.75))
    guided = mmdiff.sample(model, SHAPE, mmdiff.DDIM(20), guidance=guidance, label=LABEL)
    assert len(asked(model)) == 20
    for batch, t, label in asked(model):
        inside = 0.25 <= t <= 0.75
        assert batch == (8 if inside else 4)
        assert label == LABEL.tolist() + ([-1] * 4 if inside else [])
    everywhere = mmdiff.sample(model, SHAPE, mmdiff.DDIM(20), guidance=2.0, label=LABEL)
    assert (guided - everywhere).abs().max() > 1e-3


def test_rescale_restores_the_spread_of_each_sample(model: mmdiff.Diffusion) -> None:
    plain, guided = one_step(model, None), one_step(model, Guidance(4.0))

    def spread(x: Tensor) -> Tensor:
        return x.flatten(1).std(1, correction=0)

    full = one_step(model, Guidance(4.0, rescale=1.0))
    torch.testing.assert_close(spread(full), spread(plain), rtol=1e-12, atol=0)
    assert not torch.allclose(spread(guided)[:3], spread(plain)[:3])
    some = one_step(model, Guidance(4.0, rescale=0.3))
    torch.testing.assert_close(some, 0.3 * full + 0.7 * guided, rtol=0, atol=1e-12)


class Everything(nn.Module):
    """Is told a condition of each kind, as the U-Net tells them its blocks, and answers by them."""

    conditions: ClassVar = {
        "label": mmdiff.Class(3),
        "style": mmdiff.Vector(2),
        "text": mmdiff.Tokens(4),
        "mel": mmdiff.Signal(2),
    }

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Tensor]] = []

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        self.asked.append(told)
        answer = x * 0.1
        for value in told.values():
            if value.is_floating_point():
                said = torch.tanh(value.nan_to_num(0.0)).flatten(1).sum(1)
            else:
                said = (value + 1) / 3.0
            answer = answer + said[:, None, None] * x
        return answer


TOLD = {
    "label": LABEL,
    "style": torch.randn(4, 2, generator=torch.Generator().manual_seed(0)),
    "text": torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(1)),
    "mel": torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(2)),
}


@pytest.mark.parametrize(
    "names", [("label",), ("style",), ("mel",), ("label", "text"), tuple(TOLD)], ids=str
)
def test_all_that_is_told_is_hidden_together(names: tuple[str, ...]) -> None:
    backbone = Everything()
    model = mmdiff.Diffusion(backbone, mmdiff.LinearBeta(), "v")
    noise = torch.randn(SHAPE, dtype=torch.float64)
    given = {name: TOLD[name] for name in names}

    def draw(**how: Any) -> Tensor:
        return mmdiff.sample(model, SHAPE, mmdiff.DDIM(1), noise=noise, **how)

    with_all, without = draw(**given), draw()
    guided = draw(guidance=3.0, **given)
    torch.testing.assert_close(guided, without + 3 * (with_all - without), rtol=0, atol=1e-12)
    assert (with_all - without).abs().max() > 0.1
    told = backbone.asked[-1]
    assert set(told) == set(names)
    for name, value in told.items():
        torch.testing.assert_close(value[:4], given[name], rtol=0, atol=0)
        untold = value[4:]
        assert (untold.isnan() if untold.is_floating_point() else untold == -1).all()


def test_works_in_bfloat16(model: mmdiff.Diffusion) -> None:
    exact = mmdiff.sample(model, SHAPE, mmdiff.DDIM(5), guidance=2.0, label=LABEL)
    found = mmdiff.sample(model.bfloat16(), SHAPE, mmdiff.DDIM(5), guidance=2.0, label=LABEL)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": -1.0},
        {"scale": float("nan")},
        {"scale": 2.0, "rescale": 1.1},
        {"scale": 2.0, "interval": (0.5, 0.4)},
        {"scale": 2.0, "interval": (0.0, 1.5)},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="guidance"):
        Guidance(**arguments)  # type: ignore[arg-type]


def test_guidance_without_anything_told_is_refused(model: mmdiff.Diffusion) -> None:
    with pytest.raises(ValueError, match="guidance needs something to guide by"):
        mmdiff.sample(model, SHAPE, mmdiff.DDIM(2), guidance=2.0)
