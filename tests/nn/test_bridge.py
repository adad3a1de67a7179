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


def bridge(of: dict[str, Any]) -> Bridge:
    return Bridge({name: network.width for name, network in of.items()}, 32, 2)


X = {"picture": (4, 1, 9, 12), "sound": (4, 1, 50)}
TOLD: dict[str, dict[str, Tensor]] = {
    "picture": {"label": torch.tensor([0, 1, 2, -1])},
    "sound": {},
}


def asked(seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(seed)
    x = {name: torch.randn(shape) for name, shape in X.items()}
    return x, {name: torch.rand(4) for name in X}


@pytest.mark.parametrize("grad", [True, False])
def test_at_first_it_changes_nothing(grad: bool) -> None:
    of = networks()
    x, t = asked()
    with torch.set_grad_enabled(grad):
        found = bridge(of)(of, x, t, TOLD)
        for name, network in of.items():
            assert torch.equal(found[name], network(x[name], t[name], **TOLD[name]))


def test_who_is_alone_stays_what_it_is() -> None:
    of = networks()
    between = bridge(of)
    shake(between)
    x, t = asked()
    t["sound"][:2] = 1.0
    found = between(of, x, t, TOLD)
    alone = of["picture"](x["picture"], t["picture"], **TOLD["picture"])
    changed = (found["picture"] - alone).flatten(1).abs().amax(1)
    assert (changed[:2] == 0).all()
    assert (changed[2:] > 1e-4).all()


def test_the_absent_tell_nothing_and_the_present_do() -> None:
    of = networks()
    between = bridge(of)
    shake(between)
    x, t = asked()
    t["picture"][:2] = 1.0
    before = between(of, x, t, TOLD)["sound"]
    after = between(of, {**x, "picture": torch.randn(X["picture"])}, t, TOLD)["sound"]
    difference = (after - before).flatten(1).abs().amax(1)
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 1e-5).all()


def test_a_batch_is_its_samples() -> None:
    of = networks()
    between = bridge(of).eval()
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


def test_all_of_it_learns() -> None:
    of = networks()
    between = bridge(of)
    shake(between)
    sum(y.square().mean() for y in between(of, *asked(), TOLD).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in between.parameters())


def test_a_width_that_no_head_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="a width that 32 divides, not 33"):
        Bridge({"a": 8}, 33)
