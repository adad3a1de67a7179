"""One transformer over several modalities: who sees whom, where tokens are, any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff.audio import Sound
from mmdiff.conditions import Class
from mmdiff.joint import Joint
from mmdiff.nn import MDCT, Ends, FrontEnd, SharedTrunk
from mmdiff.video import Video

AXES = {"film": {"time": 0.5, "height": 2.0, "width": 2.0}, "sound": {"time": 0.1}}
X = {"film": (4, 1, 3, 5, 6), "sound": (4, 1, 50)}


def networks() -> dict[str, Any]:
    torch.manual_seed(0)
    film = Ends(3, 1, 1, 64, (1, 2, 2), {"label": Class(3)})
    sound = FrontEnd(MDCT(4), Ends(1, 4, 4, 64, 1))
    return {"film": awake(film), "sound": awake(sound)}


def awake(module: Any) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.double().eval()


def trunk() -> Any:
    return awake(SharedTrunk(AXES, 64, 2))


def asked(seed: int = 1) -> tuple[Any, dict[str, Tensor], Any]:
    torch.manual_seed(seed)
    x = {name: torch.randn(shape, dtype=torch.float64) for name, shape in X.items()}
    told = {"film": {"label": torch.tensor([0, 1, 2, -1])}, "sound": dict[str, Tensor]()}
    return x, {name: torch.rand(4, dtype=torch.float64) for name in X}, told


def moved(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).flatten(1).abs().amax(1)


def test_who_is_absent_or_apart_tells_nothing() -> None:
    of, shared = networks(), trunk()
    x, t, told = asked()
    t["film"][0] = 1.0
    apart = torch.tensor([False, True, False, False])
    other = {**x, "film": torch.randn_like(x["film"])}
    with torch.no_grad():
        change = moved(*(shared(of, v, t, told, apart)["sound"] for v in (x, other)))
    assert (change[:2] == 0).all()
    assert (change[2:] > 1e-4).all()


def test_a_batch_is_its_samples() -> None:
    of, shared = networks(), trunk()
    x, t, told = asked()
    with torch.no_grad():
        whole = shared(of, x, t, told)
        for k in range(4):
            label = {"label": told["film"]["label"][k : k + 1]}
            one = shared(of, cut(x, k), cut(t, k), {"film": label, "sound": {}})
            for name in of:
                torch.testing.assert_close(one[name][0], whole[name][k])


def cut(parts: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {name: part[k : k + 1] for name, part in parts.items()}


def test_modalities_share_their_axes() -> None:
    shared = trunk()
    assert shared.axes == ("time", "height", "width")
    film = shared._places("film", torch.zeros(1, 64, 3, 2, 2).double())
    sound = shared._places("sound", torch.zeros(1, 64, 8))
    assert torch.equal(film[::4, 0], torch.tensor([0.25, 0.75, 1.25]).double())
    assert torch.equal(film[:4, 1:], torch.tensor([[1.0, 1], [1, 3], [3, 1], [3, 3]]))
    assert torch.allclose(sound[:, 0], torch.arange(8) / 10 + 0.05)
    assert sound[:, 1:].isnan().all()


def test_all_of_it_learns() -> None:
    of, shared = networks(), trunk()
    sum(y.square().mean() for y in shared(of, *asked()).values()).backward()
    modules = nn.ModuleList([*of.values(), shared])
    assert all(p.grad is not None and p.grad.any() for p in modules.parameters())


def test_it_starts_at_nothing_and_any_size_comes_back() -> None:
    network = Ends(2, 2, 3, 64, 4)  # in tokens of 4 x 4 pixels
    y = network(torch.randn(2, 2, 9, 6), torch.rand(2))
    assert y.shape == (2, 3, 9, 6)
    assert not y.any()


def test_a_joint_model_of_it_is_stored(tmp_path: Any) -> None:
    kinds: dict[str, Any] = {"film": Video(2.0), "sound": Sound(100, 1.0)}
    parts = {
        n: mmdiff.Diffusion(one.float(), mmdiff.Trigonometric(), "x0")
        for n, one in networks().items()
    }
    infos = {n: mmdiff.Info(X[n][1:], kinds[n], mmdiff.Sampling("ddim", 2)) for n in X}
    model = Joint(parts, trunk().float(), infos=infos).eval()
    x = mmdiff.sample(model, (2, *model.packing.shape), mmdiff.DDIM(2), seed=0)
    info = mmdiff.Info(model.packing.shape, None, mmdiff.Sampling("ddim", 2))
    mmdiff.save(tmp_path / "a.safetensors", model, info)
    again = mmdiff.load(tmp_path / "a.safetensors")
    assert torch.equal(x, mmdiff.sample(again, x.shape, mmdiff.DDIM(2), seed=0))


def test_a_width_that_no_head_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="a width that 64 divides"):
        SharedTrunk(AXES, 65)
