"""Joint models of jointly Gaussian data: every view samples the law that it should."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import prediction as pred
from mmdiff.conditions import Class
from mmdiff.joint import Bundled, Joint, Packing, Shares, in_turn
from mmdiff.joint.model import LEVELS
from mmdiff.nn import Bridge, SharedTrunk, UNet
from mmdiff.noise import Draws
from mmdiff.schedules import Schedule

SHAPES = {"a": (1, 2), "b": (1, 3)}
NUMBER = 20_000
HALF = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.3, 0.8, 0.0, 0.0, 0.0],
        [0.7, 0.2, 0.5, 0.0, 0.0],
        [-0.4, 0.5, 0.1, 0.6, 0.0],
        [0.2, -0.6, 0.3, 0.1, 0.4],
    ],
    dtype=torch.float64,
)
COVARIANCE = HALF @ HALF.T
MEAN = torch.tensor([0.5, -0.3, 0.2, 0.0, -0.6], dtype=torch.float64)
A, B = slice(0, 2), slice(2, 5)

PAIRS: dict[str, list[tuple[Schedule, Any]]] = {
    "alike": [(mmdiff.Trigonometric(), "v"), (mmdiff.Trigonometric(), "v")],
    "of other schedules": [(mmdiff.LinearBeta(), "eps"), (mmdiff.Trigonometric(), "v")],
    "straight": [(mmdiff.Linear(), "flow"), (mmdiff.Cosine(), "x0")],
}
each = pytest.mark.parametrize("name", PAIRS)


class Ideal(nn.Module):
    """Knows the law of the data: the best that networks which see each other can say."""

    def __init__(self, parts: Mapping[str, mmdiff.Diffusion]) -> None:
        super().__init__()
        self.parts = parts

    def forward(
        self,
        networks: Mapping[str, Any],
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        told: Any,
        apart: Any = None,
    ) -> dict[str, Tensor]:
        levels = {n: [v[:, None, None] for v in of.schedule(t[n])] for n, of in self.parts.items()}
        packing = Packing(SHAPES)
        alpha, sigma = (
            packing.pack({n: levels[n][k].expand(-1, *SHAPES[n]) for n in SHAPES})[:, 0]
            for k in (0, 1)
        )
        law = COVARIANCE.expand(len(alpha), 5, 5)
        if apart is not None:
            law = torch.where(
                apart[:, None, None], torch.block_diag(law[0, A, A], law[0, B, B]), law
            )
        x0 = packing.unpack(ideal(packing.pack(x)[:, 0], alpha, sigma, law)[:, None])
        said = {}
        for n, of in self.parts.items():
            a, s = levels[n]
            eps = (x[n] - a * x0[n]) / s.clamp(min=1e-12)
            said[n] = pred.from_x0_eps(of.prediction, x0[n], eps, a, s)
        return said


def ideal(x: Tensor, alpha: Tensor, sigma: Tensor, law: Tensor = COVARIANCE) -> Tensor:
    """E[x0 | x] where x [B, 5] = alpha x0 + sigma eps, element by element."""
    gain = alpha[:, :, None] * law
    seen = gain * alpha[:, None] + torch.diag_embed(sigma.square())
    return MEAN + (gain.mT @ torch.linalg.solve(seen, x - alpha * MEAN)[..., None])[..., 0]


def joint(name: str, turns: Sequence[str] = ()) -> Joint:
    parts = {}
    for (part, shape), (schedule, prediction) in zip(SHAPES.items(), PAIRS[name], strict=True):
        parts[part] = mmdiff.Diffusion(nn.Identity(), schedule, prediction)
        parts[part].info = mmdiff.Info(shape)
    return Joint(parts, Ideal(parts), turns=turns)


def draw(model: mmdiff.Diffusion, size: int, **told: Any) -> Tensor:
    noise = torch.randn(NUMBER, 1, size, dtype=torch.float64, generator=torch.manual_seed(0))
    return mmdiff.sample(model, noise.shape, mmdiff.Heun(100), noise=noise, **told)[:, 0]


def assert_law(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    error = 4 * (covariance.diagonal() / len(x)).sqrt() + 1e-3
    assert ((x.mean(0) - mean).abs() < error).all()
    assert (x.T.cov() - covariance).norm() < 0.03 * covariance.norm()


@each
def test_a_packed_state_is_denoised_exactly(name: str) -> None:
    x = torch.randn(64, 1, 5, dtype=torch.float64, generator=torch.manual_seed(1))
    t = torch.linspace(0.05, 0.9, 64, dtype=torch.float64)
    levels = (v[:, None].expand(-1, 5) for v in mmdiff.Trigonometric()(t))
    found = joint(name).denoise(x, t).x0
    torch.testing.assert_close(found[:, 0], ideal(x[:, 0], *levels), rtol=1e-9, atol=1e-9)


@each
def test_together_they_have_the_joint_law(name: str) -> None:
    assert_law(draw(joint(name), 5), MEAN, COVARIANCE)


@each
@pytest.mark.parametrize("turns", [("a", "b"), ("b", "a")])
def test_in_turn_they_have_the_joint_law(name: str, turns: tuple[str, str]) -> None:
    (x,) = in_turn(joint(name, turns), NUMBER, mmdiff.Sampling("heun", 50), batch=NUMBER)
    assert_law(x[:, 0].double(), MEAN, COVARIANCE)


def test_turns_are_seen_as_they_come() -> None:
    model, seen = joint("alike", ("b", "a")), list[tuple[int, Tensor]]()
    how = mmdiff.Sampling("ddim", 3)
    whole = torch.cat(list(in_turn(
        model, 5, how, 7, batch=2, on_step=lambda i, t, x, x0: seen.append((i, x))
    )))  # fmt: skip
    assert [i for i, _ in seen] == [0, 1, 2, 3, 4, 5] * 3
    assert not seen[2][1][..., A].any()
    assert torch.equal(seen[2][1][..., B], whole[:2, :, B])
    assert torch.equal(seen[5][1], whole[:2])
    (again,) = in_turn(model, 5, how, 7, batch=5)
    torch.testing.assert_close(again, whole)


def test_the_first_turn_is_told_classes_and_the_next_only_what_was_drawn() -> None:
    """Each a number of its class; the other part must name the number that it sees."""

    class Namer(nn.Module):
        def forward(self, networks: Any, x: Any, t: Any, told: Any, apart: Any = None) -> Any:
            assert t["a"].any() or "label" not in told["b"]  # which sees a, at t = 0
            said = told["a"].get("label", -torch.ones(len(t["a"])))
            heard = torch.where(t["a"] < 1, x["a"][:, 0, 0].round(), -1.0)
            return {n: v[:, None, None].expand_as(x[n]).float()
                    for n, v in (("a", said), ("b", heard))}  # fmt: skip

    parts = {}
    for part, shape in SHAPES.items():
        network = nn.Identity()
        network.conditions = {"label": Class(4)}  # type: ignore[assignment]
        parts[part] = mmdiff.Diffusion(network, mmdiff.Trigonometric(), "x0")
        parts[part].info = mmdiff.Info(shape)
    model = Joint(parts, Namer(), turns=["a", "b"])
    x = torch.cat(list(in_turn(model, 6, mmdiff.Sampling("ddim", 2), batch=4)))
    assert x[:, 0].tolist() == [[float(k % 4)] * 5 for k in range(6)]
    (x,) = in_turn(model, 2, mmdiff.Sampling("ddim", 2), batch=4, label=3)
    assert x.eq(3).all()


def test_turns_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="turns must be all of a, b, not a"):
        joint("alike", ["a"])


@each
def test_one_given_the_other_has_the_conditional_law(name: str) -> None:
    a = torch.tensor([[1.2, -0.9]], dtype=torch.float64)
    gain = COVARIANCE[B, A] @ torch.linalg.inv(COVARIANCE[A, A])
    mean = MEAN[B] + gain @ (a[0] - MEAN[A])
    view = joint(name).view("b", given="a")
    assert_law(draw(view, 3, a=a), mean, COVARIANCE[B, B] - gain @ COVARIANCE[A, B])
    assert_law(draw(view, 3), MEAN[B], COVARIANCE[B, B])  # not told is absent


@each
def test_one_alone_has_the_marginal_law(name: str) -> None:
    assert_law(draw(joint(name).view("a"), 2), MEAN[A], COVARIANCE[A, A])
    assert_law(draw(joint(name).view("b"), 3), MEAN[B], COVARIANCE[B, B])


def test_guidance_goes_from_the_absent_to_the_given() -> None:
    view = joint("alike").view("b", "a")
    a = torch.tensor([[1.2, -0.9]], dtype=torch.float64)
    x_t, t = torch.full((1, 1, 3), 0.7, dtype=torch.float64), torch.tensor([0.6]).double()
    told, untold = view.denoise(x_t, t, a=a).x0, view.denoise(x_t, t).x0
    seen = []
    how: dict[str, Any] = {"noise": x_t, "guidance": 2.5, "a": a, "start": 0.6}
    mmdiff.sample(view, (1, 1, 3), mmdiff.DDIM(1), on_step=lambda *s: seen.append(s[-1]), **how)
    torch.testing.assert_close(seen[0], untold + 2.5 * (told - untold))


def test_what_is_known_of_a_packed_state_stays() -> None:
    """So that one part is given by `Known` too."""
    model = joint("alike")
    value = model.packing.pack({"a": torch.tensor([[1.0, 2.0]]), "b": torch.zeros(1, 3)})
    mask = model.packing.pack({"a": torch.ones(1, 2) > 0, "b": torch.ones(1, 3) < 0})
    noise = torch.randn(4, 1, 5, dtype=torch.float64)
    known = mmdiff.Known(value, mask)
    x = mmdiff.sample(model, noise.shape, mmdiff.DDIM(5), noise=noise, steer=[known])
    assert torch.equal(model.packing.unpack(x)["a"], torch.tensor([[[1.0, 2.0]]] * 4).double())


def test_the_parts_errors_are_their_own() -> None:
    """Where they are alone, the loss is that of their models at the times of their training."""
    model = joint("alike")
    model.shares = Shares(0, 0, 1, 0)
    draws = Draws(3, 5, torch.arange(64), 64)
    x = torch.randn(64, 1, 5, dtype=torch.float64)
    z = model.packing.unpack(draws.normal(x))
    times, wanted, apart = model.times_of(draws)
    assert (wanted["a"] & wanted["b"] & apart).all()
    total = torch.zeros((), dtype=torch.float64)
    for name, of in model.parts.items():
        view, x0, t = model.view(name), model.packing.unpack(x)[name], times[name]
        assert (t == of.training_times(draws.times())).double().mean() > 0.2
        total += view.loss_at(x0, t, z[name])
    torch.testing.assert_close(model.loss({"x": x}, draws), total)


class Silent(nn.Module):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Sign(nn.Module):
    """Says v as if x0 were -1 or 1 throughout, whichever x_t is closer to."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level[:, None, None] for level in mmdiff.Trigonometric()(t))
        return (alpha * x - x.mean((1, 2), keepdim=True).sign()) / sigma


@pytest.mark.parametrize("prediction", ["v", "x0", "flow"])
def test_errors_are_in_units_of_the_least_that_each_part_errs_alone(prediction: Any) -> None:
    """That of its network, or of mean and variance alone: E[v | x_t] = 0 if they are 0 and 1."""
    size = 16
    parts = {"a": mmdiff.Diffusion(Sign(), mmdiff.Trigonometric(), "v"),
             "b": mmdiff.Diffusion(Silent(), mmdiff.Trigonometric(), prediction, "v")}  # fmt: skip
    for of in parts.values():
        of.info = mmdiff.Info((1, size))
    model = Joint(parts, nn.Identity())
    signs = 1 - 2.0 * (torch.arange(20_000) % 2)
    model.prepare([{"x": signs[:, None, None].expand(-1, 1, 2 * size)}] * LEVELS)
    t = (torch.arange(LEVELS) + 0.5) / LEVELS
    alpha, sigma = mmdiff.Trigonometric()(t)
    wrong = torch.special.ndtr(-alpha * size**0.5 / sigma)
    expected = (4 * wrong / sigma.square()).clamp(max=1)
    torch.testing.assert_close(model.alone_a, expected, rtol=0.1, atol=0.01)
    torch.testing.assert_close(model.alone_b, torch.ones(LEVELS), rtol=0.05, atol=0)


def test_what_is_taught_is_what_labels_tell() -> None:
    """A student that is told them errs nowhere; one that is not, as far as they matter."""
    model = small()
    shake(model.parts["image"])  # the bridge is fresh, and changes nothing
    model.taught, model.shares = True, Shares(1, 0, 0, 0)
    x, label = torch.randn(64, *model.packing.shape), torch.arange(64) % 3
    batch = {"x": x, "label": label}
    model.prepare([batch] * LEVELS)
    draws = [Draws(1, k, torch.arange(64), 64) for k in range(10)]
    for hide, expected in ((0.0, 0.0), (1.0, 1.0)):
        model.hide = hide
        loss = torch.stack([model.loss(batch, each).detach() for each in draws]).mean()
        assert float(loss) == pytest.approx(expected, abs=0.05)


def test_what_is_given_is_given_with_a_little_noise() -> None:
    """In training as in a view; and a NaN is not there."""
    model = small()
    shake(model)
    model.backbone.given_at, model.shares = 0.25, Shares(0, 1, 0, 0)
    model.given_times = (0.0, 1e-3)
    times, wanted, _ = model.times_of(Draws(0, 0, torch.arange(64), 64))
    assert (times["image"][wanted["image"]] - 0.5).abs().max() < 0.01
    assert (times["sound"][wanted["image"]] == 0.25).all()
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    sound = torch.randn(2, 1, 32)
    view, near = model.view("image", "sound"), torch.full((2,), 0.25)
    noise: Any = view.backbone.noise_sound
    assert noise.std() == pytest.approx(1.0, abs=0.4)
    given = model.parts["sound"].add_noise(sound, near, noise.expand(2, 1, 32))
    found = model.backbone.outputs({"image": x, "sound": given}, {"image": t, "sound": near}, {})
    torch.testing.assert_close(view.backbone(x, t, sound=sound), found["image"])
    alone = view.backbone(x, t, sound=torch.full_like(sound, torch.nan))
    torch.testing.assert_close(alone, model.view("image").backbone(x, t))


def test_a_view_is_guided_as_the_joint_model_is() -> None:
    model = small()
    model.info = mmdiff.Info(model.packing.shape, sampling=mmdiff.Sampling(guidance=2.5))
    assert model.view("sound", "image").info.sampling.guidance == 2.5
    assert model.view("sound").info.sampling.guidance is None


def test_times_are_matched_as_they_are_shared() -> None:
    model = joint("of other schedules")
    draws = Draws(0, 0, torch.arange(4000), 4000)
    a, b = (model.parts[n].schedule for n in "ab")
    for share in ("together", "given", "alone", "independent"):
        model.shares = Shares(**{**dict.fromkeys(("together", "given", "alone"), 0.0),
                                 "independent": 0.0, share: 1.0})  # fmt: skip
        times, wanted, apart = model.times_of(draws)
        t, s = times["a"], times["b"]
        assert (apart == (share == "alone")).all()
        if share == "together":
            reached = (t > 0) & (t < 1)
            torch.testing.assert_close(a.log_snr(t)[reached], b.log_snr(s)[reached],
                                       rtol=1e-3, atol=1e-3)  # fmt: skip
        elif share == "given":
            assert (s[wanted["a"]] == 0).all()
            assert (t[wanted["b"]] == 0).all()
        else:
            assert torch.stack((t, s)).corrcoef()[0, 1].abs() < 0.1
        asked = 0.5 if share == "given" else 1.0
        assert wanted["a"].float().mean() == pytest.approx(asked, abs=0.05)
        assert (wanted["a"] | wanted["b"]).all()


def small(seed: int = 0) -> Joint:
    """Two fresh U-Nets and a bridge."""
    torch.manual_seed(seed)
    label = {"label": Class(3)}
    image = mmdiff.Diffusion(UNet(2, 1, 1, (8, 16), 1, conditions=label), mmdiff.Linear(), "flow")
    sound = mmdiff.Diffusion(UNet(1, 1, 1, (8, 16), 1), mmdiff.Trigonometric(), "v")
    infos = {"image": mmdiff.Info((1, 8, 8)), "sound": mmdiff.Info((1, 32))}
    bridge = Bridge({"image": 16, "sound": 16}, 32, 1)
    return Joint({"image": image, "sound": sound}, bridge, infos=infos)


def shake(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_guidance_leads_away_from_parts_that_are_alone() -> None:
    """Alone is what parts say across a bridge that is nothing."""
    model = small().eval()
    shake(model)
    alone = copy.deepcopy(model)
    for name, value in alone.backbone.bridge.state_dict().items():
        if ".leave." in name or ".embed." in name:
            value.zero_()
    state = torch.randn(3, *model.packing.shape)

    def x0(of: Joint, guidance: float | None) -> torch.Tensor:
        how = {"noise": state, "start": 0.5, "guidance": guidance, "label": 2}
        return mmdiff.sample(of, state.shape, mmdiff.DDIM(1), **how)

    near, far = x0(model, None), x0(model, 0.0)
    torch.testing.assert_close(far, mmdiff.sample(alone, state.shape, mmdiff.DDIM(1),
                                                  noise=state, start=0.5))  # fmt: skip
    torch.testing.assert_close(x0(model, 3.0), far + 3 * (near - far))
    assert (near - far).abs().max() > 0.01


def test_one_file_holds_all_of_it(tmp_path: Path) -> None:
    model = small().eval()
    shake(model)
    mmdiff.save(tmp_path / "it", model, mmdiff.Info(model.packing.shape))
    again = mmdiff.load(tmp_path / "it")
    assert isinstance(again, Joint)
    assert again.packing == model.packing
    assert again.shares == model.shares
    x, t = torch.randn(2, *model.packing.shape), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        found, made = (of.denoise(x, t, label=2).x0 for of in (again, model))
    torch.testing.assert_close(found, made)


def test_bundled_parts_stay_in_their_own_files(tmp_path: Path) -> None:
    parts = {"picture": Bundled("digits"), "sound": Bundled("speech")}
    model = Joint(parts, Bridge({"picture": 128, "sound": 256}, 32, 1)).requires_grad_(True)
    digits = mmdiff.load("digits")
    assert all(name.startswith(("backbone.bridge.", "alone_")) for name in model.state_dict())
    assert not any(p.requires_grad for p in model.parts["picture"].parameters())
    mmdiff.save(tmp_path / "it", model, mmdiff.Info(model.packing.shape))
    again = mmdiff.load(tmp_path / "it")
    assert isinstance(again, Joint)
    x, t = torch.randn(2, 1, 28, 28), torch.tensor([0.3, 0.8])
    assert torch.equal(again.view("picture").denoise(x, t).x0, digits.denoise(x, t).x0)
    with pytest.raises(ValueError, match="made with another 'digits'"):
        Bundled("digits", "0" * 16)
    with pytest.raises(ValueError, match="no bundled model 'cats'"):
        Bundled("cats")


def test_loaded_parts_are_stored_and_only_the_bridge_is_trained(tmp_path: Path) -> None:
    parts = {}
    for name in "ab":
        backbone = UNet(1, 1, 1, (32,), 1, (True,))
        fresh = mmdiff.Diffusion(backbone, mmdiff.Trigonometric(), "v")
        mmdiff.save(tmp_path / name, fresh, mmdiff.Info((1, 8)))
        parts[name] = mmdiff.load(tmp_path / name)
    model = Joint(parts, Bridge({"a": 32, "b": 32}, 32, 1)).requires_grad_(True)
    assert {name.split(".")[1] for name, _ in model.named_parameters()} == {"bridge"}
    assert all(list(part.parameters()) for part in parts.values())  # a copy was frozen

    model.loss(
        {"x": torch.randn(64, *model.packing.shape)}, Draws(0, 0, torch.arange(64), 64)
    ).backward()
    assert all(p.grad is not None for p in model.backbone.bridge.parameters())
    torch.optim.SGD(model.parameters(), 1.0).step()
    mmdiff.save(tmp_path / "it", model, mmdiff.Info(model.packing.shape))
    again = mmdiff.load(tmp_path / "it").requires_grad_(True)
    assert isinstance(again, Joint)
    assert {name.split(".")[1] for name, _ in again.named_parameters()} == {"bridge"}
    x, t = torch.randn(2, 1, 8), torch.tensor([0.3, 0.8])
    for name, part in parts.items():
        assert torch.equal(again.view(name).denoise(x, t).x0, part.denoise(x, t).x0)
    whole = torch.randn(2, *model.packing.shape)
    assert torch.equal(again.denoise(whole, t).x0, model.eval().denoise(whole, t).x0)


def test_errors_name_the_cure() -> None:
    model = joint("alike")
    with pytest.raises(ValueError, match="a view is of one of a, b, given others, not of c"):
        model.view("c")
    with pytest.raises(ValueError, match="not of a given a"):
        model.view("a", "a")
    with pytest.raises(ValueError, match=r"a must be floating-point numbers \[2, 1, 2\]"):
        model.view("b", "a").denoise(torch.zeros(2, 1, 3), torch.ones(2), a=torch.zeros(7))
    with pytest.raises(ValueError, match="shares must be 0 or more, and 1 together"):
        Shares(1, 1, 0, 0)
    parts = {name: mmdiff.Diffusion(nn.Identity(), mmdiff.Linear(), "v") for name in "ab"}
    with pytest.raises(ValueError, match="a must say what it makes"):
        Joint(parts, nn.Identity())
    knows = UNet(1, 1, 1, (32,), 1, (True,), conditions={"a": Class(2)})
    told = {"a": mmdiff.Diffusion(knows, mmdiff.Linear(), "v")}
    with pytest.raises(ValueError, match="a part cannot be called a: a is told such"):
        Joint(told, nn.Identity(), infos={"a": mmdiff.Info((1, 8))})
    fits = {name: mmdiff.Diffusion(UNet(1, 1, 1, (32,), 1), mmdiff.Linear(), "v") for name in "ab"}
    infos = dict.fromkeys("ab", mmdiff.Info((1, 8)))
    with pytest.raises(ValueError, match="is between a, c, not a, b: name both alike"):
        Joint(fits, Bridge({"a": 32, "c": 32}), infos=infos)
    with pytest.raises(ValueError, match=r"b meets the bridge with .* \(32, 256\), which expects"):
        Joint(fits, Bridge({"a": 32, "b": 64}), infos=infos)
    with pytest.raises(ValueError, match=r"a meets the bridge with .* \(32, 256\), which expects"):
        Joint(fits, SharedTrunk({name: {"time": 1.0} for name in "ab"}, 64), infos=infos)
