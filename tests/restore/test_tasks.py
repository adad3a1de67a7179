"""Tasks of restoring on normal data, whose answers are known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from deepinv import physics as deepinv
from PIL import Image
from torch import Tensor, nn

import mmdiff
from mmdiff import Diffusion, Info, Sampling, Trigonometric
from mmdiff.audio import Sound
from mmdiff.image import Pictures
from mmdiff.nn import Patch, UNet
from mmdiff.restore import (
    Filter,
    Linear,
    Mask,
    Room,
    clip_level,
    colour,
    continue_to,
    deblur,
    declip,
    denoise,
    enlarge,
    extend,
    fill,
    gaussian,
    lowpass,
    restore,
    unroom,
    usual,
    vary,
    widen,
)
from mmdiff.video import Video

SIZE, COUNT = 16, 1000
PLACE = torch.arange(64.0)
PRIOR = 0.5**2 * 0.9 ** (PLACE[:, None] - PLACE).abs()  # AR(1)


@cache
def eigenpairs(size: int) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(PRIOR[:size, :size])
    return values, vectors


class Ideal(nn.Module):
    """E[x0 | x_t] of x0 ~ N(0, AR(1)) along the last axis, and what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.asked.append(tuple(x.shape))
        alpha, sigma = (float(v) for v in Trigonometric()(t[0]))
        values, vectors = eigenpairs(x.shape[-1])
        gain = alpha * values / (alpha**2 * values + sigma**2)
        return (x @ vectors * gain) @ vectors.T


def normal(*shape: int, modality: Any = None) -> Diffusion:
    model = Diffusion(Ideal(), Trigonometric(), "x0").eval()
    model.info = Info(shape or (1, SIZE), modality, Sampling(steps=50))
    return model


def drawn(size: int = SIZE, seed: int = 0) -> Tensor:
    """A signal [1, size] of the prior."""
    z = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return (torch.linalg.cholesky(PRIOR[:size, :size]) @ z)[None]


def answer(physics: Linear, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and deviation of x0 [SIZE] given y, in closed form."""
    size = physics.shape[-1]
    A = physics.A(torch.eye(size)[:, None])[:, 0].T.double()
    prior = PRIOR[:size, :size].double()
    gain = prior @ A.T @ torch.linalg.inv(A @ prior @ A.T + sigma**2 * torch.eye(len(A)))
    return gain @ y[0].double(), (prior - gain @ A @ prior).diagonal().clamp(min=0).sqrt()


PHYSICS: dict[str, Linear] = {
    "mask": Mask((1, SIZE), PLACE[:SIZE] < 10),
    "blur": Filter((1, SIZE), gaussian(1.5)),
    "half": Filter((1, SIZE), lowpass(1 / 2, even=True), 2),
    "room": Room((1, SIZE), torch.tensor([1.0, 0.0, -0.5, 0.3])),
}
PICTURES: list[Linear] = [
    Mask((3, 6, 9), torch.rand(6, 9) < 0.5),
    Filter((3, 6, 9), gaussian(2.0)),
    Filter((3, 6, 9), lowpass(1 / 3), 3),
    Filter((2, 4, 6, 2), lowpass(1 / 2, even=True), 2),
    Filter((2, 4, 5, 3), lowpass(1 / 2, even=True), 2, axes=(1,)),
    Room((2, 30), torch.randn(50)),
]


@pytest.mark.parametrize("physics", [*PHYSICS.values(), *PICTURES], ids=str)
def test_adjoints(physics: Linear) -> None:
    x = torch.randn(2, *physics.shape, dtype=torch.float64)
    y = torch.randn_like(physics.A(x))
    torch.testing.assert_close((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())


def test_filters_reduce_as_pillow_does() -> None:
    pixels = np.random.default_rng(0).integers(90, 166, (40, 60), np.uint8)
    smaller = Image.fromarray(pixels).resize((30, 20), Image.Resampling.LANCZOS)
    found = Filter((1, 40, 60), lowpass(1 / 2, even=True), 2).A(
        torch.tensor(pixels)[None, None] * 1.0
    )
    difference = found[0, 0].numpy() - np.array(smaller)
    assert np.abs(difference[4:-4, 4:-4]).max() <= 1.5  # at its ends Pillow cuts the filter off


def test_a_filter_keeps_its_band() -> None:
    time = torch.arange(8000) / 8000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (900.0, 1100.0)])[:, None]
    physics = Filter((1, 8000), lowpass(1000 / 4000, lobes=64))
    low, high = physics.A(tones)[..., 500:-500].std((1, 2)).tolist()
    assert abs(low - 0.5**0.5) < 0.01
    assert high < 0.01


@pytest.mark.parametrize("name", PHYSICS)
def test_answers_are_posterior_samples(name: str) -> None:
    sigma, physics = 0.05, PHYSICS[name]
    y = physics.A(drawn()[None])[0]
    y = y + sigma * torch.randn(y.shape)
    x = restore(normal(), y, physics, sigma, count=COUNT)
    mean, deviation = answer(physics, y, sigma)
    assert x.shape == (COUNT, 1, SIZE)
    error = (x[:, 0].mean(0) - mean) / deviation
    assert error.abs().max() < 4 / COUNT**0.5 + 0.1, error
    torch.testing.assert_close(x[:, 0].std(0).double(), deviation, rtol=0.15, atol=0)


def test_tasks_are_their_operators() -> None:
    y, h = drawn(), torch.tensor([1.0, 0.5])
    model = normal()
    for found, physics, measured in (
        (deblur(model, y, 1.0), Filter((1, SIZE), gaussian(1.0)), y),
        (unroom(model, y, h), Room((1, SIZE), h), y),
        (enlarge(model, y, 2), Filter((1, 32), lowpass(1 / 2, even=True), 2), y),
    ):
        assert torch.equal(found, restore(model, measured, physics))


def test_denoising_is_exact() -> None:
    sigma, y = 0.3, drawn() + 0.3 * torch.randn(1, SIZE)
    x = denoise(normal(), y, sigma, count=COUNT)[:, 0]
    mean, deviation = answer(Mask((1, SIZE), torch.ones(SIZE)), y, sigma)
    assert ((x.mean(0) - mean) / deviation).abs().max() < 4 / COUNT**0.5
    torch.testing.assert_close(x.std(0).double(), deviation, rtol=0.1, atol=0)


def test_holes_are_filled_to_go_with_the_rest() -> None:
    y = drawn()
    mask = (PLACE[:SIZE] >= 5) & (PLACE[:SIZE] < 9)
    x = fill(normal(), y.masked_fill(mask, 9.0), mask, count=COUNT)
    assert torch.equal(x[..., ~mask], y[..., ~mask].expand(COUNT, -1, -1))
    mean, deviation = answer(Mask((1, SIZE), ~mask), y * ~mask, 1e-3)
    assert ((x[:, 0].mean(0) - mean) / deviation)[mask].abs().max() < 0.3
    torch.testing.assert_close(x[:, 0].std(0).double()[mask], deviation[mask], rtol=0.2, atol=0)


def test_long_signals_are_filled_in_windows() -> None:
    model, y = normal(), drawn(64)
    mask = torch.zeros(64, dtype=torch.bool)
    mask[20:24] = mask[50:52] = True
    x = fill(model, y, mask, count=2)
    assert torch.equal(x[..., ~mask], y[..., ~mask].expand(2, -1, -1))
    assert not torch.equal(x[0], x[1])
    asked = model.backbone.asked
    assert set(asked) == {(2, 1, SIZE)}
    assert len(asked) == 2 * 50


def test_continuing_goes_on_like_the_signal() -> None:
    model, y = normal(modality=Sound(8, 4.0)), drawn(12)
    x = continue_to(model, y, 7.0, count=400)
    assert x.shape == (400, 1, 56)
    assert torch.equal(x[..., :12], y.expand(400, -1, -1))
    new = x[:, 0, 24:]
    correlation = (new[:, 1:] * new[:, :-1]).mean(0) / (new[:, 1:].std(0) * new[:, :-1].std(0))
    assert (correlation - 0.9).abs().max() < 0.12  # also from one window to the next
    assert (new.std(0) - 0.5).abs().max() < 0.1
    with pytest.raises(ValueError, match="already"):
        continue_to(model, y, 1.5)


def test_extending_draws_around_a_picture() -> None:
    y = torch.randn(1, 4, 6)
    x = extend(normal(1, 8, 10), y, 2, count=2)
    assert x.shape == (2, 1, 8, 10)
    assert torch.equal(x[..., 2:-2, 2:-2], y.expand(2, -1, -1, -1))


@pytest.mark.parametrize("level", [None, 0.4])
def test_declipping_keeps_what_was_not_clipped(level: float | None) -> None:
    y = drawn(seed=1).clamp(-0.4, 0.4)
    top = y.abs() >= 0.4
    x = declip(normal(), y, level, count=20)
    assert top.sum() > 3
    assert torch.equal(x[..., ~top[0]], y[..., ~top[0]].expand(20, -1, -1))
    above = x[..., top[0]] * y[..., top[0]].sign()
    assert (above >= 0.4 - 1e-6).all()
    assert above.mean() > 0.45


def test_clipping_is_found_where_coding_has_spread_it() -> None:
    x = drawn(64).repeat(1, 40) + 0.01 * torch.randn(1, 2560)
    level = 0.4 * float(x.abs().max())
    spread = x.clamp(-level, level) + 0.02 * level * torch.randn(x.shape)
    assert clip_level(x.clamp(-level, level)) == pytest.approx(level, rel=0.01)
    assert 0.9 * level < clip_level(spread) < level
    with pytest.raises(ValueError, match="nothing is clipped"):
        clip_level(drawn())


@pytest.mark.parametrize("task", ["filter", "room", "noise", "vary"])
def test_long_sounds_are_restored_in_windows(task: str) -> None:
    """The answer is about what one window of all would give, and asks for the model's length."""
    x = drawn(64)
    h = torch.tensor([1.0, 0.0, -0.5, 0.3])
    physics = {"filter": Filter((1, 64), gaussian(0.6)), "room": Room((1, 64), h)}
    sigma = 0.1
    noisy = x + sigma * torch.randn(1, 64)
    if task in physics:
        y = physics[task].A(x[None])[0] + sigma * torch.randn(1, 64)
        model, oracle = normal(), answer(physics[task], y, sigma)
        found = restore(model, y, physics[task], sigma, count=200)
    elif task == "noise":
        model, oracle = normal(), answer(Mask((1, 64), torch.ones(64)), noisy, sigma)
        found = denoise(model, noisy, sigma, count=200)
    else:
        model = normal()
        assert (vary(model, x, 0.05, count=20) - x).std() < 0.15
    asked = model.backbone.asked
    assert {shape[-1] for shape in asked} == {SIZE}
    if task != "vary":
        mean, deviation = oracle
        # A window does not see what comes after it.
        assert ((found[:, 0].mean(0) - mean) / deviation).abs().mean() < 0.5
        assert (found[:, 0].std(0) / deviation).mean() == pytest.approx(1, abs=0.2)


def test_widening_keeps_the_band_that_there_is() -> None:
    model = normal(1, 64, modality=Sound(64, 4.0))
    keep = Filter((1, 64), lowpass(0.9 * 8 / 32, lobes=16))
    x = drawn(64)
    spectrum = torch.fft.rfft(x)
    dull = torch.fft.irfft(spectrum.where(torch.arange(33) < 8, 0.0), 64)
    answers = widen(model, dull, 8.0, count=10)
    assert (keep.A(answers) - keep.A(dull[None])).std() < 0.05
    high = torch.fft.rfft(answers)[..., 12:].abs().square().mean().sqrt()
    assert 0.7 < high / spectrum[..., 12:].abs().square().mean().sqrt() < 1.4


def test_frames_of_a_video_are_blurred_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("mmdiff.restore.tasks.restore", lambda *given, **_: asked.append(given[2]))
    deblur(normal(1, 3, 8, 8, modality=Video(10.0)), torch.zeros(1, 3, 8, 8), 1.0)
    x = torch.randn(1, 1, 3, 8, 8)
    frames = [Filter((1, 8, 8), gaussian(1.0)).A(frame) for frame in x.unbind(2)]
    torch.testing.assert_close(asked[0].A(x), torch.stack(frames, 2))


def test_variations_set_out_from_the_signal() -> None:
    y, model = drawn(), normal()
    near, far = (vary(model, y, t, count=100) - y for t in (0.05, 0.99))
    assert near.std() < 0.15 < 0.4 < far.std()


class White(nn.Module):
    """E[x0 | x_t] of x0 ~ N(0, 0.3^2), each value on its own."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (float(v) for v in Trigonometric()(t[0]))
        return x * (alpha * 0.09 / (alpha**2 * 0.09 + sigma**2))


def white(*shape: int, modality: Any = None) -> Diffusion:
    model = Diffusion(White(), Trigonometric(), "x0").eval()
    model.info = Info(shape, modality)
    return model


def test_colours_are_as_bright_as_the_picture() -> None:
    y = 0.2 * torch.randn(1, 6, 6)
    weight = torch.tensor([0.299, 0.587, 0.114])
    x = colour(white(3, 6, 6), y, count=COUNT)
    assert (torch.einsum("nchw,c->nhw", x, weight) - y[0]).std() < 0.02
    mean = weight[:, None, None] / weight.square().sum() * y
    assert (x.mean(0) - mean).abs().max() < 5 * 0.3 / COUNT**0.5
    with pytest.raises(ValueError, match="three channels"):
        colour(white(1, 6, 6), y)


def test_physics_of_deepinv() -> None:
    kernel = torch.ones(1, 1, 3, 3) / 9
    physics = deepinv.Blur(filter=kernel, padding="circular")
    y = physics.A(0.3 * torch.randn(1, 1, 8, 8))[0]
    x = restore(white(1, 8, 8), y, physics, 0.02, count=50)
    assert (physics.A(x) - y).std() == pytest.approx(0.02, rel=0.3)


Task = Callable[[Diffusion, int], Tensor]


@pytest.mark.parametrize(
    "task",
    [
        lambda model, n: fill(model, drawn(), PLACE[:SIZE] > 9, count=n),
        lambda model, n: denoise(model, drawn(), 0.2, count=n),
        lambda model, n: vary(model, drawn(), 0.5, count=n),
        lambda model, n: deblur(model, drawn(), 1.0, count=n),
    ],
)
def test_an_answer_is_the_same_alone_and_among_others(task: Task) -> None:
    difference = task(normal(), 3)[:1] - task(normal(), 1)
    assert difference.abs().max() < 0.02  # sums in another order, over many steps


def test_models_of_a_code_fill_too() -> None:
    net = UNet(dims=2, in_channels=4, out_channels=4, channels=(8,), blocks=1)
    model = Diffusion(net, mmdiff.Linear(), "flow", codec=Patch(2)).eval()
    model.info = Info((1, 8, 8), Pictures(), Sampling(steps=4))
    y, mask = torch.rand(1, 8, 8) - 0.5, torch.rand(8, 8) < 0.5
    x = fill(model, y, mask, count=2)
    assert torch.equal(x[..., ~mask], y[..., ~mask].expand(2, -1, -1))
    assert denoise(model, y, 0.1).shape == (1, 1, 8, 8)


def test_the_usual_sampling_stays_in_the_range_of_data() -> None:
    model = normal(modality=Sound(8, 4.0))
    model.info = Info((1, SIZE), Sound(8, 4.0), Sampling("ddim", 30, guidance=2.0))
    assert usual(model) == Sampling("dpmpp2msde", 30, clip=(-4.0, 4.0))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (lambda m, y: deblur(m, y, 0.0), "width"),
        (lambda m, y: deblur(m, y, 1.0), "no pixels"),
        (lambda m, y: enlarge(m, y, 1), "factor"),
        (lambda m, y: extend(m, y, 0), "border"),
        (lambda m, y: denoise(m, y, -0.1), "deviation"),
        (lambda m, y: vary(m, y, 1.5), "times lie in"),
        (lambda m, y: widen(m, y, 20.0), "band"),
        (lambda m, y: fill(m, y, torch.ones(SIZE) > 0, label=3), "label"),
    ],
)
def test_values_that_do_not_fit(task: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        task(normal(modality=Sound(8, 4.0)), drawn())
