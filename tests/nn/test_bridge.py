"""Networks that see each other half way through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmdiff.conditions import Class
from mmdiff.nn import MDCT, Bridge, FrontEnd, UNet


def networks() -> dict[str, Any]:
    torch.manual_seed(0)
    picture = UNet(2, 1, 1, (8, 16), 1, conditions={"label": Class(3)})
    sound = FrontEnd(MDCT(4), UNet(1, 4, 4, (8, 24), 1))
    of = {"picture": picture, "sound": sound}
    for network in of.values():
        shake(network)
    return of


def shake(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


def bridge(of: dict[str, Any], slices: dict[str, tuple[int, ...]] | None = None) -> Bridge:
    return Bridge({name: network.width for name, network in of.items()}, 64, 2, slices=slices)


def test_of_three_each_sees_those_that_are_there() -> None:
    """And a bridge in bfloat16 is about the same."""
    torch.manual_seed(0)
    of: dict[str, Any] = {name: UNet(1, 1, 1, (8, 16), 1) for name in "abc"}
    between = Bridge(dict.fromkeys("abc", 16), 64, 2)
    for network in (*of.values(), between):
        shake(network)
    x = {name: torch.randn(2, 1, 8) for name in "abc"}
    t = {name: torch.tensor([0.2, 0.7]) for name in "abc"}
    told: dict[str, dict[str, Tensor]] = {name: {} for name in "abc"}
    whole = between(of, x, t, told)["c"].detach()
    for name in "ab":
        other = {**x, name: -x[name]}
        assert (between(of, other, t, told)["c"] - whole).abs().max() > 1e-3
        absent = {**t, name: torch.ones(2)}
        left = between(of, x, absent, told)["c"]
        torch.testing.assert_close(between(of, other, absent, told)["c"], left)
        assert (left - whole).abs().max() > 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        narrow = between(of, x, t, told)["c"]
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), whole, rtol=0.1, atol=0.1 * float(whole.std()))


X = {"picture": (4, 1, 9, 12), "sound": (4, 1, 40)}  # bottlenecks of 5 x 6 and of 5 positions
SLICES = pytest.mark.parametrize("slices", [None, {"picture": (1, 6), "sound": (1,)}])
TOLD: dict[str, dict[str, Tensor]] = {
    "picture": {"label": torch.tensor([0, 1, 2, -1])},
    "sound": {},
}


def asked(seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(seed)
    x = {name: torch.randn(shape) for name, shape in X.items()}
    return x, {name: torch.rand(4) for name in X}


@SLICES
@pytest.mark.parametrize("grad", [True, False])
def test_at_first_it_changes_nothing(grad: bool, slices: Any) -> None:
    of = networks()
    x, t = asked()
    with torch.set_grad_enabled(grad):
        found = bridge(of, slices)(of, x, t, TOLD)
        for name, network in of.items():
            assert torch.equal(found[name], network(x[name], t[name], **TOLD[name]))


@SLICES
def test_who_is_alone_stays_what_it_is(slices: Any) -> None:
    of = networks()
    between = bridge(of, slices)
    shake(between)
    x, t = asked()
    t["sound"][:2] = 1.0
    found = between(of, x, t, TOLD)
    alone = of["picture"](x["picture"], t["picture"], **TOLD["picture"])
    changed = (found["picture"] - alone).flatten(1).abs().amax(1)
    assert (changed[:2] == 0).all()
    assert (changed[2:] > 1e-4).all()


@SLICES
def test_the_absent_tell_nothing_and_the_present_do(slices: Any) -> None:
    of = networks()
    between = bridge(of, slices)
    shake(between)
    x, t = asked()
    t["picture"][:2] = 1.0
    before = between(of, x, t, TOLD)["sound"]
    after = between(of, {**x, "picture": torch.randn(X["picture"])}, t, TOLD)["sound"]
    difference = (after - before).flatten(1).abs().amax(1)
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 1e-5).all()


@SLICES
def test_a_batch_is_its_samples(slices: Any) -> None:
    of = networks()
    between = bridge(of, slices).eval()
    shake(between)
    x, t = asked()
    t["picture"][0] = 1.0
    with torch.no_grad():
        whole = between(of, x, t, TOLD)
        for k in range(4):
            told = {"picture": {"label": TOLD["picture"]["label"][k : k + 1]}, "sound": {}}
            one = between(
                of, *({n: v[k : k + 1] for n, v in part.items()} for part in (x, t)), told
            )
            for name in of:
                torch.testing.assert_close(one[name][0], whole[name][k], rtol=1e-4, atol=1e-5)


@SLICES
def test_all_of_it_learns(slices: Any) -> None:
    of = networks()
    between = bridge(of, slices)
    shake(between)
    sum(y.square().mean() for y in between(of, *asked(), TOLD).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in between.parameters())


def test_slices_begin_with_what_is_near_in_time() -> None:
    of = networks()
    between = bridge(of, {"picture": (1, 6), "sound": (1,)})
    shake(between)
    for layer in between.body.layers:
        layer.self_attn.in_proj_weight.data[:128] = 0  # all queries and keys are alike
        layer.self_attn.in_proj_bias.data[:128] = 0
    x, t = asked()
    halves = {n: of[n].encode(x[n], t[n], **TOLD[n]) for n in of}
    picture = halves["picture"].h.detach().requires_grad_(True)
    of["picture"].encode = lambda *_, **__: halves["picture"]._replace(h=picture)
    of["sound"].decode = lambda encoded: encoded.h
    changed = between(of, x, t, TOLD)["sound"]  # [4, 24, 1, 5]
    for k in range(5):
        (slope,) = torch.autograd.grad(changed[..., k].sum(), picture, retain_graph=True)
        assert slope.abs().sum((0, 1, 3)).argmax() == k


def test_one_slice_of_a_video_is_one() -> None:
    of: dict[str, Any] = {"film": UNet(3, 1, 1, (8,), 1), "sound": UNet(1, 1, 1, (8,), 1)}
    between = bridge(of, {"film": (1, 4, 4), "sound": (5,)})
    x = {"film": torch.randn(2, 1, 1, 4, 4), "sound": torch.randn(2, 1, 5)}
    found = between(of, x, dict.fromkeys(x, torch.rand(2)), {name: {} for name in x})
    assert {name: y.shape for name, y in found.items()} == {name: y.shape for name, y in x.items()}


@pytest.mark.parametrize(
    ("slices", "why"),
    [
        ({"picture": (1, 6)}, "of all modalities, or of none"),
        ({"picture": (5, 6), "sound": (1,)}, "equally many of each"),
        ({"picture": (2, 6), "sound": (1,)}, "are not slices of"),
        ({"picture": (1, 3), "sound": (1,)}, "are not slices of"),
        ({"picture": (6,), "sound": (1,)}, "are not slices of"),
    ],
)
def test_slices_that_do_not_go_together_are_refused(slices: Any, why: str) -> None:
    of = networks()
    with pytest.raises(ValueError, match=why):
        bridge(of, slices)(of, *asked(), TOLD)


@pytest.mark.parametrize(("slices", "whole"), [(None, 32), ({"a": (1,)}, 64)])
def test_a_width_that_no_head_fits_is_refused(slices: Any, whole: int) -> None:
    with pytest.raises(ValueError, match=f"a width that {whole} divides, not 33"):
        Bridge({"a": 8}, 33, slices=slices)
