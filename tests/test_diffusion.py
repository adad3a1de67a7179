from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import prediction as pred
from mmdiff.conditions import Signal
from mmdiff.diffusion import LEVELS, At, Diffusion, Times, expand
from mmdiff.nn import MDCT, Patch, Residual, UNet
from mmdiff.noise import Draws
from mmdiff.prediction import Prediction, Weighting
from mmdiff.schedules import Cosine, Linear, LinearBeta, Schedule, Trigonometric

PREDICTIONS: tuple[Prediction, ...] = ("eps", "x0", "v", "flow")
each_prediction = pytest.mark.parametrize("name", PREDICTIONS)


class Ideal(nn.Module):
    """The best possible network for data of mean `mu` and variance `v` per element."""

    def __init__(
        self, schedule: Schedule, prediction: Prediction, mu: Any = 0.0, v: Any = 1.0
    ) -> None:
        super().__init__()
        self.schedule, self.prediction, self.mu, self.v = schedule, prediction, mu, v

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (expand(value, x) for value in self.schedule(t))
        gain = alpha * self.v / (alpha**2 * self.v + sigma**2)
        x0 = self.mu + gain * (x - alpha * self.mu)
        return pred.from_x0_eps(self.prediction, x0, (x - alpha * x0) / sigma, alpha, sigma)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.asked.append(t)
        return self.conv(x) * (1 + t.to(x.dtype))[:, None, None]


def draws(count: int, seed: int = 0, step: int = 0) -> Draws:
    return Draws(seed, step, torch.arange(count), count)


@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("v", [0.04, 0.5, 1.0, 3.0])
def test_the_ideal_eps_error_is_the_closed_form(v: float, t: float) -> None:
    schedule = LinearBeta()
    model = Diffusion(Ideal(schedule, "eps", 0.3, v), schedule, "eps")
    x, noise = torch.randn(2, 100, 1000, dtype=torch.float64)
    alpha, sigma = (float(a) for a in schedule(torch.tensor(t, dtype=torch.float64)))
    wanted = alpha**2 * v / (alpha**2 * v + sigma**2)
    times = torch.full((100,), t, dtype=torch.float64)
    found = float(model.loss_at(0.3 + math.sqrt(v) * x, times, noise))
    # A mean of squares of 100000 normal numbers.
    assert abs(found - wanted) < 4 * wanted * math.sqrt(2 / x.numel())


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
@pytest.mark.parametrize("schedule", [LinearBeta(), Cosine(), Linear()], ids=repr)
def test_losses_of_equal_networks(schedule: Schedule, weighting: Weighting) -> None:
    x, noise = torch.randn(2, 64, 3, 8, dtype=torch.float64)
    t = torch.rand(64, dtype=torch.float64)
    alpha, sigma = schedule(t)
    found = {}
    for name in PREDICTIONS:
        if name == "eps" and schedule.alpha_at_one == 0:
            continue
        # Ideal for other data than these, so that the error is not small.
        model = Diffusion(Ideal(schedule, name, -0.7, 0.2), schedule, name, weighting)
        found[name] = torch.stack(
            [model.loss_at(x[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(len(x))]
        )
        whole = model.loss_at(x, t, noise)
        torch.testing.assert_close(whole, found[name].mean(), rtol=1e-12, atol=0)
    for name, loss in found.items():
        a, b = pred.LINES[name](alpha, sigma)
        factor = ((alpha * b - sigma * a) / sigma) ** 2 if weighting == "uniform" else 1
        torch.testing.assert_close(loss, found["x0"] * factor, rtol=1e-9, atol=0)


@each_prediction
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 1, 4, 6), (3, 1, 2, 3, 4)], ids=str)
def test_denoise_inverts_add_noise(name: Prediction, shape: tuple[int, ...]) -> None:
    schedule = LinearBeta()
    x0, noise = torch.randn(2, *shape, dtype=torch.float64)
    t = torch.tensor([0.001, 0.4, 1.0], dtype=torch.float64)
    alpha, sigma = (expand(value, x0) for value in schedule(t))

    class Oracle(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return pred.from_x0_eps(name, x0, noise, alpha, sigma)

    model = Diffusion(Oracle(), schedule, name)
    x_t = model.add_noise(x0, t, noise)
    torch.testing.assert_close(x_t, alpha * x0 + sigma * noise, rtol=0, atol=1e-15)
    found = model.denoise(x_t, t)
    torch.testing.assert_close(found.x0, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(found.eps, noise, rtol=0, atol=1e-11)
    assert torch.equal(model.x0(x_t, At((), t, alpha, sigma), x_t.dtype), found.x0)


@pytest.mark.parametrize("times", [[1, 2], [0.5, 1.5]], ids=["integers", "beyond 1"])
def test_what_is_no_time_is_refused(times: list[float]) -> None:
    model = Diffusion(Small(), LinearBeta(), "eps")
    x, t = torch.randn(2, 2, 8), torch.tensor(times)
    for use in (model.add_noise, model.loss_at):
        with pytest.raises(ValueError, match=r"times (are|lie)"):
            use(x, t, x)
    with pytest.raises(ValueError, match="times lie"):
        model.denoise(x, t + 1)


def test_all_that_is_random_comes_from_the_draws() -> None:
    model = Diffusion(Small(), LinearBeta(), "eps")
    batch = {"x": torch.randn(16, 2, 8)}
    one, same, other = (model.loss(batch, draws(16, step=step)).item() for step in (1, 1, 2))
    assert one == same != other
    parts = [
        model.loss({"x": batch["x"][at : at + 4]}, Draws(0, 1, torch.arange(at, at + 4), 16))
        for at in range(0, 16, 4)
    ]
    assert torch.stack(parts).mean().item() == pytest.approx(one, rel=1e-6)
    with pytest.raises(ValueError, match=r"a seed is an integer, not 0\.5"):
        model.loss(batch, draws(16, seed=0.5))  # type: ignore[arg-type]


def test_training_asks_only_at_timesteps() -> None:
    model = Diffusion(Small(), LinearBeta(20), "eps")
    model.loss({"x": torch.randn(5000, 2, 1)}, draws(5000))
    visited, counts = model.backbone.asked[0].unique(return_counts=True)  # type: ignore[union-attr]
    torch.testing.assert_close(visited, torch.arange(1, 21) / 20)
    assert (counts - 250).abs().max() <= 1


@pytest.mark.parametrize("schedule", [LinearBeta(), Trigonometric(), Linear()], ids=repr)
@pytest.mark.parametrize(
    ("times", "mean", "deviation"), [("logit_normal", 0, 1), ((0.8, 0.7), 0.8, 0.7)]
)
def test_logit_normal_times_have_the_same_noise_levels_on_any_schedule(
    schedule: Schedule, times: Times, mean: float, deviation: float
) -> None:
    model = Diffusion(Small(), schedule, "v", times=times)
    model.loss({"x": torch.randn(4001, 2, 1)}, draws(4001))
    t = model.backbone.asked[0].double()  # type: ignore[union-attr, operator]
    # On the half circle the time's logit is normal.
    there = Trigonometric().time_of(schedule.log_snr(t)).logit().sort().values
    there = (there - mean) / deviation
    ranks = (torch.arange(1, 4002, dtype=torch.float64) - 0.5) / 4001
    torch.testing.assert_close(torch.special.ndtr(there), ranks, rtol=0, atol=2e-3)


def test_validation_looks_at_eight_times_with_noise_of_its_own() -> None:
    model = Diffusion(Small(), LinearBeta(), "eps", hide=1.0)
    batch = {"x": torch.randn(6, 2, 8)}
    found = model.losses(batch, draws(6))
    assert tuple(found) == LEVELS
    for level, (t, loss) in enumerate(found.items()):
        noise = draws(6, step=-1 - level).normal(batch["x"])
        assert torch.equal(loss, model.loss_at(batch["x"], torch.full((6,), t), noise))


def test_training_hides_all_conditions_of_a_sample_together() -> None:
    kinds = {
        "label": mmdiff.Class(3),
        "style": mmdiff.Vector(2),
        "text": mmdiff.Tokens(4),
        "mel": mmdiff.Signal(1),
    }
    told: dict[str, Tensor] = {}

    class Spy(nn.Module):
        conditions = kinds

        def forward(self, x: Tensor, t: Tensor, **values: Tensor) -> Tensor:
            told.update(values)
            return x

    count = 2000
    batch = {
        "x": torch.randn(count, 1, 3), "label": torch.zeros(count).long(),
        "style": torch.zeros(count, 2), "text": torch.zeros(count, 5, 4),
        "mel": torch.zeros(count, 1, 3), "name": torch.zeros(count),
    }  # fmt: skip
    Diffusion(Spy(), LinearBeta(), "eps", hide=0.1).loss(batch, draws(count))
    assert set(told) == set(kinds)
    hidden = told.pop("label") == -1
    assert abs(float(hidden.double().mean()) - 0.1) < 4 * math.sqrt(0.09 / count)
    for value in told.values():
        assert torch.equal(value.flatten(1).isnan().all(1), hidden)
        assert torch.equal(value.flatten(1).isnan().any(1), hidden)


def test_bfloat16_converts_in_float32() -> None:
    model = Diffusion(Small(), LinearBeta(), "eps").bfloat16()
    x = torch.randn(4, 2, 8).bfloat16()
    t = torch.full((4,), 0.37)
    assert model.loss_at(x, t, torch.randn_like(x)).dtype == torch.float32
    found = model.denoise(x, t)
    assert found.x0.dtype == found.eps.dtype == torch.bfloat16
    alpha, sigma = model.schedule(torch.tensor(0.37))
    wanted = (x.float() - sigma * model.backbone(x, t).float()) / alpha
    torch.testing.assert_close(found.x0, wanted.bfloat16())


def test_is_an_ordinary_module() -> None:
    model = Diffusion(Small(), Cosine(), "v")
    model({"x": torch.randn(4, 2, 8)}, draws(4)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    x, t = torch.randn(4, 2, 8), torch.rand(4)
    assert twin.backbone(x, t).abs().max() == 0
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.denoise(x, t).x0, model.denoise(x, t).x0)


@pytest.mark.parametrize(
    ("codec", "shape"),
    [(MDCT(8), (1, 40)), (MDCT(4, dims=2), (2, 8, 12)), (Patch(3, dims=2), (1, 9, 6))],
    ids=lambda value: type(value).__name__,
)
def test_around_a_model_an_orthonormal_codec_changes_no_law(
    codec: Any, shape: tuple[int, ...]
) -> None:
    """Data normal in the code, each channel with its mean and deviation, which are measured; the
    ideal network for the normalised code. Samples have the law of the data."""
    schedule, count = Trigonometric(), 4000
    model = Diffusion(Ideal(schedule, "v"), schedule, "v", codec=codec).double()
    blank = codec.encode(torch.zeros(1, *shape, dtype=torch.float64))
    mean, deviation = torch.rand(2, 1, blank.shape[1], *(1,) * (blank.ndim - 2)).double() + 0.2
    z = torch.randn(count, *blank.shape[1:], dtype=torch.float64)
    data = codec.decode(mean + deviation * z, shape[1:])
    model.prepare({"x": part} for part in data.split(500))
    positions = count * blank[0, 0].numel()
    assert ((model.mean - mean) / deviation).abs().max() < 4.5 / math.sqrt(positions)
    assert (model.deviation / deviation - 1).abs().max() < 4.5 / math.sqrt(2 * positions)
    again = model.decode(model.encode(data), shape[1:])
    torch.testing.assert_close(again, data, rtol=0, atol=1e-6)

    noise = torch.randn(count, *blank.shape[1:], dtype=torch.float64)
    x = mmdiff.sample(model, (count, *shape), mmdiff.DPMpp2M(100), noise=noise)
    assert x.shape == (count, *shape)
    # At mean 0 and deviation 1 the ideal sampler leaves the noise as it is.
    found = (codec.encode(x) - model.mean) / model.deviation
    torch.testing.assert_close(found, noise, rtol=2e-3, atol=1e-5)


def test_the_state_of_a_model_with_a_codec_is_the_code() -> None:
    codec = Patch(4)
    backbone = UNet(1, 4, 4, (8,), blocks=1)
    nn.init.normal_(backbone.head.weight, std=0.1)  # type: ignore[arg-type]
    model = Diffusion(backbone, LinearBeta(), "v", codec=codec).eval()
    seen: list[torch.Size] = []
    for length in (12, 13):
        x = mmdiff.sample(
            model, (3, 1, length), mmdiff.DDIM(4), on_step=lambda i, t, x, x0: seen.append(x.shape)
        )
        assert x.shape == (3, 1, length)
        found, _ = mmdiff.picard(model, (3, 1, length), mmdiff.DDIM(4))
        torch.testing.assert_close(found, x, rtol=0, atol=1e-4)
    assert set(seen) == {(3, 4, 3), (3, 4, 4)}
    with pytest.raises(ValueError, match=r"noise has shape \[3, 1, 12\], not \[3, 4, 3\]"):
        mmdiff.sample(model, (3, 1, 12), mmdiff.DDIM(4), noise=torch.zeros(3, 1, 12))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": Trigonometric()}, 'use prediction="v"'),
        ({"schedule": Linear()}, "Linear has alpha = 0"),
        ({"prediction": "epsilon"}, "unknown prediction"),
        ({"weighting": "snr"}, "unknown weighting"),
        ({"times": "normal"}, "unknown times 'normal'"),
        ({"times": (0.8, 0.0)}, "positive deviation"),
        ({"hide": 1.5}, "hide must lie"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    usual = {"backbone": Small(), "schedule": LinearBeta(), "prediction": "eps"}
    with pytest.raises(ValueError, match=words):
        Diffusion(**(usual | arguments))


def test_a_compiled_backbone_is_saved_as_what_was_compiled(tmp_path: Path) -> None:
    plain = Diffusion(UNet(1, 1, 1, (4, 8), blocks=1), Cosine(), "v").eval()
    compiled = Diffusion(plain.backbone, Cosine(), "v")
    compiled.backbone = torch.compile(plain.backbone)  # type: ignore[assignment]
    mmdiff.save(tmp_path / "model.safetensors", compiled, mmdiff.Info((1, 16)))
    loaded = mmdiff.load(tmp_path / "model.safetensors")
    for name, weight in plain.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)


class Listening(Ideal):
    """As `Ideal`, and it keeps what it was told."""

    conditions = {"source": Signal(4)}  # noqa: RUF012

    def forward(self, x: Tensor, t: Tensor, source: Tensor) -> Tensor:  # type: ignore[override]
        self.heard = source
        return super().forward(x, t)


def test_a_codec_is_given_what_the_model_is_told() -> None:
    """Of x = source + what is normal in the code, mean and deviation of the rest are measured, and
    a sample is its source and a rest of the right law; the backbone is told the source's code."""
    schedule, count = Trigonometric(), 4000
    codec = Residual(MDCT(4))
    told = {"source": Signal(1)}
    backbone = Listening(schedule, "v")
    model = Diffusion(backbone, schedule, "v", codec=codec, conditions=told, hide=0).double()
    source, rest = torch.randn(2, count, 1, 16, dtype=torch.float64)
    model.prepare([{"x": source + 0.3 * rest, "source": source}])
    torch.testing.assert_close(model.deviation.mean().item(), 0.3, rtol=0.02, atol=0)

    noise = torch.randn(count, 4, 4, dtype=torch.float64)
    solver = mmdiff.DPMpp2M(100)
    x = mmdiff.sample(model, source.shape, solver, noise=noise, source=source)
    torch.testing.assert_close(backbone.heard, MDCT(4).double().encode(source))
    expected = source + codec.inner.decode(noise * model.deviation + model.mean, (16,))
    torch.testing.assert_close(x, expected, rtol=0, atol=2e-3)
    with pytest.raises(ValueError, match="pass source="):
        mmdiff.sample(model, source.shape, solver)


def test_half_of_late_times_lie_near_the_end() -> None:
    model = Diffusion(Small(), Trigonometric(), "v", times="late")
    t = model.training_times(torch.arange(1000) / 1000)
    assert t.median() == pytest.approx(15 / 16, abs=2e-3)
    assert 0 <= t.min() < t.max() <= 1
