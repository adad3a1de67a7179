"""What a model is told: which values are valid, how they are hidden, and how they enter."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mmdiff
from mmdiff import Class, Signal, Tokens, Vector
from mmdiff.conditions import ClassEmbedding, Condition, VectorEmbedding
from mmdiff.nn import MDCT, Patch, UNet
from mmdiff.told import Told, stack, tell

NAN = float("nan")
X = torch.zeros(5, 1, 12)
LABEL = Class(3, ("low", "mid", "high"))
KINDS: dict[str, Condition] = {
    "label": LABEL,
    "style": Vector(2),
    "text": Tokens(4),
    "mel": Signal(2, factor=5),
}
VALUES = {
    "label": torch.tensor([0, 1, 2, -1, 1]),
    "style": torch.arange(10.0).reshape(5, 2),
    "text": torch.arange(60.0).reshape(5, 3, 4),
    "mel": torch.arange(30.0).reshape(5, 2, 3),
}
each_kind = pytest.mark.parametrize("name", KINDS)


def untold(value: Tensor) -> Tensor:
    return value.isnan() if value.is_floating_point() else value == -1


@each_kind
def test_hiding_makes_of_some_samples_what_tells_nothing(name: str) -> None:
    kind, value = KINDS[name], VALUES[name]
    nothing = kind.nothing(X)
    assert untold(nothing).all()
    assert nothing.shape[:2] == (5, *value.shape[1:2]) if name != "text" else (5, 1)
    where = torch.tensor([True, False, False, True, False])
    hidden = kind.hide(value, where)
    assert untold(hidden[where]).all()
    assert torch.equal(hidden[~where], value[~where])
    told = Told(KINDS, VALUES)
    assert torch.equal(told.hidden(where).values[name].isnan(), hidden.isnan())
    assert untold(told.hidden().values[name]).all()


@each_kind
def test_valid_values_pass_as_they_are_and_one_serves_all(name: str) -> None:
    kind, value = KINDS[name], VALUES[name]
    assert torch.equal(kind.check(name, value, 5), value)
    assert torch.equal(kind.check(name, value.numpy(), 5), value)
    assert torch.equal(kind.check(name, value[2], 5), value[2].expand_as(value))
    assert torch.equal(kind.check(name, value[:1], 1), value[:1])
    hidden = kind.nothing(X)
    assert torch.equal(untold(kind.check(name, hidden, 5)), untold(hidden))


@pytest.mark.parametrize(
    "value", [[0, 1, 2, -1, 1], (0, 1, 2, -1, 1), np.array([0, 1, 2, -1, 1])], ids=lambda v: type(v)
)
def test_classes_in_any_dress(value: Any) -> None:
    assert torch.equal(LABEL.check("label", value, 5), VALUES["label"])


@pytest.mark.parametrize("value", [2, np.int64(2), torch.tensor(2).byte(), "high", ["high"] * 5])
def test_one_class_serves_all(value: Any) -> None:
    assert torch.equal(LABEL.check("label", value, 5), torch.full((5,), 2))


def test_a_signal_is_a_batch_where_it_can_be_one() -> None:
    """As many samples as channels do not make it one sample of more dimensions."""
    value = torch.randn(2, 2, 9)
    assert torch.equal(Signal(2).check("mel", value, 2), value)
    assert Signal(1).check("mel", torch.randn(1, 1, 9), 1).shape == (1, 1, 9)
    assert Signal(3).check("picture", torch.randn(3, 8, 8), 4).shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("label", [0, 1, 2], r"one entry for each of 5 samples, but its shape is \[3\]"),
        ("label", [0.0] * 5, "label must hold integers, not torch.float32"),
        ("label", [True] * 5, "must hold integers, not torch.bool"),
        ("label", [0, 1, 2, 3, 0], r"lie in 0 \.\. 2, or be -1 for none, but they span 0 \.\. 3"),
        ("label", -2, r"span -2 \.\. -2"),
        ("label", "loud", "no label 'loud'; it knows low, mid, high"),
        ("style", torch.zeros(5, 3), r"style must be \[5, 2\], not \[5, 3\]"),
        ("style", torch.zeros(4, 2), "one entry for each of 5 samples"),
        ("style", torch.zeros(5, 2).long(), "style must hold floating-point numbers"),
        ("text", torch.zeros(5, 3, 2), r"text must be \[5, any, 4\], not \[5, 3, 2\]"),
        ("mel", torch.zeros(5, 3, 9), r"mel must be \[5, 2, any\], not \[5, 3, 9\]"),
        ("genre", 1, "no condition 'genre': leave it out .it knows label, style, text, mel"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tell(KINDS, 5, {name: value})


def test_a_class_without_names_has_none() -> None:
    with pytest.raises(ValueError, match="no label 'low'; it knows numbers alone"):
        Class(3).check("label", "low", 1)
    assert (Class(3).say(1), LABEL.say(1), LABEL.choices, Vector(2).choices) == ("1", "mid", 3, 0)
    for count, names in ((0, ()), (2, ("one",))):
        with pytest.raises(ValueError, match="Class needs"):
            Class(count, names)


def test_what_is_none_is_left_out() -> None:
    assert set(tell(KINDS, 5, {"label": None, "mel": VALUES["mel"]}).values) == {"mel"}


def test_items_make_a_batch() -> None:
    items = [
        {"x": X[i], "path": f"{i}.wav", **{name: value[i] for name, value in VALUES.items()}}
        for i in range(5)
    ]
    items[0]["label"] = 0
    items[1]["text"] = VALUES["text"][1, :1]
    batch = stack(KINDS, items)
    assert set(batch) == {"x", *KINDS}
    assert torch.equal(batch["x"], X)
    for name in ("label", "style", "mel"):
        assert torch.equal(batch[name], VALUES[name])
    assert torch.equal(batch["text"][1, :1], VALUES["text"][1, :1])
    assert batch["text"][1, 1:].isnan().all()
    assert torch.equal(batch["text"][2:], VALUES["text"][2:])
    assert torch.equal(tell(KINDS, 5, {"text": [i["text"] for i in items]}).values["text"][2:],
                       VALUES["text"][2:])  # fmt: skip


def test_what_is_not_told_has_a_vector_of_its_own() -> None:
    table, layer = ClassEmbedding(3, 8), VectorEmbedding(2, 8)
    found = table(torch.tensor([-1, 0, 2]))
    assert torch.equal(found, table.table.weight[[3, 0, 2]])
    layer.none.detach().normal_()
    vector = torch.tensor([[NAN, NAN], [1.0, 2.0]])
    assert torch.equal(layer(vector)[0], layer.none)
    assert torch.equal(layer(vector)[1], layer.layer(vector[1]))
    layer(vector).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def awake(dims: int, conditions: dict[str, Condition], **config: Any) -> UNet:
    network = UNet(dims, 2, 2, (8, 16), blocks=1, conditions=conditions, **config).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.detach().normal_(std=0.2, generator=generator)
    return network.eval()


@each_kind
@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_a_network_hears_what_it_is_told(name: str, dims: int) -> None:
    kind = KINDS[name]
    network = awake(dims, {name: kind})
    sides = (10, 6, 4)[:dims]
    x, t = torch.randn(3, 2, *sides).double(), torch.rand(3).double()
    value = kind.nothing(x)
    if name == "label":
        value = torch.tensor([0, 2, -1])
    else:
        value[:2] = torch.randn(value[:2].shape, dtype=torch.float64)
    told, without = network(x, t, **{name: value}), network(x, t)
    torch.testing.assert_close(told[2], without[2], rtol=0, atol=1e-12)  # which is told nothing
    assert (told[:2] - without[:2]).flatten(1).abs().amax(1).min() > 1e-5
    alone = network(x[1:2], t[1:2], **{name: value[1:2]})
    torch.testing.assert_close(told[1:2], alone, rtol=0, atol=1e-9)
    none = torch.zeros(3, dtype=torch.bool)
    assert torch.equal(network(x, t, **{name: kind.hide(value, ~none)}), without)


@torch.no_grad()
def test_tokens_that_do_not_exist_change_nothing() -> None:
    network = awake(1, {"text": Tokens(4)}, attention=(True, False))
    x, t = torch.randn(2, 2, 12).double(), torch.rand(2).double()
    text = torch.randn(2, 3, 4).double()
    wanted = network(x, t, text=text)
    more = torch.cat((text, torch.full((2, 5, 4), NAN).double()), dim=1)
    torch.testing.assert_close(network(x, t, text=more), wanted, rtol=0, atol=1e-6)
    order = torch.tensor([3, 0, 5, 2, 1, 7, 6, 4])
    torch.testing.assert_close(network(x, t, text=more[:, order]), wanted, rtol=0, atol=1e-6)
    short = torch.randn(1, 2, 4).double()
    both = Tokens(4).stack([text[0], short[0]])
    torch.testing.assert_close(
        network(x, t, text=both)[1:], network(x[1:], t[1:], text=short), rtol=0, atol=1e-6
    )


def test_a_frame_stands_at_its_centre() -> None:
    """A ramp of frames of 4 is the same ramp in positions, constant beyond the outer centres; a
    channel says where it is told."""
    frames = torch.tensor([[[1.5, 5.5, 9.5]]])
    found = Signal(1, 4).align(frames, (11,))
    wanted = torch.arange(11.0).clamp(1.5, 9.5)
    torch.testing.assert_close(found, torch.stack((wanted, torch.ones(11)))[None])
    assert torch.equal(Signal(1, 4).align(frames * NAN, (11,)), torch.zeros(1, 2, 11))
    assert torch.equal(Signal(1).align(frames, (3,))[:, :1], frames)


def test_what_a_signal_is_behind_a_codec() -> None:
    assert Signal(2).inside(MDCT(8)) == Signal(16)
    assert Signal(80, 256).inside(MDCT(64)) == Signal(80, 4)
    assert Signal(80, 160).inside(Patch(64)) == Signal(80, 2.5)
    assert LABEL.inside(MDCT(8)) is LABEL
    codec, value = MDCT(8), torch.randn(3, 2, 40)
    value[1] = NAN
    code = Signal(2).encode(value, codec)
    assert code[1].isnan().all()
    assert torch.equal(code[::2], codec.encode(value[::2]))
    frames = torch.randn(3, 80, 5)
    assert Signal(80, 8).encode(frames, codec) is frames


class Echo(nn.Module):
    conditions: ClassVar = {"label": LABEL}

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        self.told.append(label)
        return x


def test_every_way_in_checks_what_is_told() -> None:
    model = mmdiff.Diffusion(Echo(), mmdiff.LinearBeta(), "v")
    x, t = torch.randn(3, 1, 4), torch.rand(3)
    model.denoise(x, t, label="mid")
    mmdiff.sample(model, x.shape, mmdiff.DDIM(1), noise=x, label="mid")
    mmdiff.picard(model, x.shape, mmdiff.DDIM(1), noise=x, label="mid")
    assert all(torch.equal(label, torch.ones(3).long()) for label in model.backbone.told)  # type: ignore[union-attr]
    for ask in (
        lambda: model.denoise(x, t, label=3),
        lambda: mmdiff.sample(model, x.shape, mmdiff.DDIM(1), noise=x, label=3),
        lambda: mmdiff.picard(model, x.shape, mmdiff.DDIM(1), noise=x, label=3),
    ):
        with pytest.raises(ValueError, match=r"every label must lie in 0 \.\. 2"):
            ask()


def test_a_signal_must_go_along_with_x() -> None:
    kinds = {"mel": Signal(2, factor=4), "wave": Signal(1)}
    told = tell(kinds, 3, {"mel": torch.zeros(3, 2, 3), "wave": torch.zeros(1, 10)}, (10,))
    assert told.values["wave"].shape == (3, 1, 10)
    with pytest.raises(ValueError, match=r"mel must be \[3, 2, 3\], not \[3, 2, 4\]"):
        tell(kinds, 3, {"mel": torch.zeros(3, 2, 4)}, (10,))
