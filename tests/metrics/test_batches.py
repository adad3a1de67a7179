"""Samples and data in one unit: nothing is lost on the way, and models are told what they know."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from mmdiff import Class, Diffusion, Info, Sampling, Trigonometric, UserError, sample
from mmdiff.audio.modality import Sound
from mmdiff.image.modality import Pictures
from mmdiff.metrics.batches import draw, means_digits, take

DIGITS = tuple("0123456789")
LENGTH = 64


class Grid(nn.Module):
    """Predicts x0: half of the state, and what it is told on a grid of eight positions."""

    def __init__(self, conditions: dict[str, Class]) -> None:
        super().__init__()
        self.conditions = conditions
        self.height = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        grid, known = torch.arange(x.shape[2]) % 8, torch.zeros(len(x), 1, 1)
        for place, name in enumerate(told):
            known = known + 10**place * told[name][:, None, None]
        return x / 2 + grid * self.height * known


def model(*names: str, dataset: str = "", modality: Any = None, **kinds: Class) -> Diffusion:
    conditions = {name: Class(10, DIGITS) for name in names} | kinds
    made = Diffusion(Grid(conditions), Trigonometric(), "x0").eval()
    made.info = Info((1, LENGTH), modality or Sound(8000, 4.0), dataset=dataset)
    return made


@pytest.mark.parametrize("batch", [3, 25])
def test_samples_are_what_sampling_them_together_gives(batch: int) -> None:
    """By seed, guidance and cycle spinning; this model's estimate depends on all of them."""
    wanted = {"label": torch.arange(7), "speaker": torch.arange(7) % 6}
    sampling = Sampling("ddim", 4, guidance=2.0, spin=8)
    drawn = draw(model(*wanted), sampling, 7, wanted, 3, batch, progress=False)
    whole = sample(model(*wanted), (7, 1, LENGTH), **sampling.arguments(3), **wanted)
    torch.testing.assert_close(drawn.pop("x"), whole / 4, rtol=0, atol=1e-5)
    assert drawn == wanted


@pytest.mark.parametrize("known", [(), ("label",), ("speaker",)])
def test_a_model_is_told_only_what_it_knows(known: tuple[str, ...]) -> None:
    wanted = {"label": torch.arange(6), "speaker": torch.arange(6)}
    drawn = draw(model(*known), Sampling("ddim", 1), 6, wanted, progress=False)
    assert set(drawn) == {"x", *known}


class Held(list[dict[str, Any]]):
    """A data set."""

    conditions: ClassVar = {"label": Class(3)}
    modality = Sound(8000, 5.0)


def test_takes_items_at_full_scale() -> None:
    data: Any = Held({"x": torch.full((1, 4), 5.0 * k), "label": k, "else": k} for k in range(3))
    whole = take(data)
    assert set(whole) == {"x", "label"}
    assert whole["label"].tolist() == [0, 1, 2]
    assert torch.equal(whole["x"], torch.arange(3.0)[:, None, None].expand(3, 1, 4))
    some = take(data, (2, 0))
    assert some["label"].tolist() == [2, 0]
    assert torch.equal(some["x"], whole["x"][[2, 0]])


@pytest.mark.parametrize(
    ("about", "digits"),
    [
        ({"label": Class(10, DIGITS)}, True),
        ({"label": Class(10, DIGITS), "dataset": "folder:mine"}, True),
        ({"label": Class(10, DIGITS[::-1]), "dataset": "mnist"}, False),
        ({"label": Class(2, ("coat", "bag")), "dataset": "mnist"}, False),
        ({"label": Class(10), "dataset": "mnist"}, True),
        ({"label": Class(10), "dataset": "fashion-mnist"}, False),
        ({"dataset": "mnist"}, True),
        ({"dataset": "fashion-mnist"}, False),
    ],
)
def test_digits_are_known_by_their_names_or_the_data_set(
    about: dict[str, Any], digits: bool
) -> None:
    assert means_digits(model(**about), "mnist") is digits


def test_refuses_a_model_that_does_not_say_what_it_makes() -> None:
    for info in (None, Info((1, LENGTH))):
        silent = model()
        silent.info = info
        with pytest.raises(UserError, match="loaded from a checkpoint"):
            draw(silent, Sampling(), 2, {}, progress=False)


def test_pictures_are_left_as_they_are() -> None:
    x = torch.rand(2, 1, LENGTH) * 2 - 1
    data: Any = Held({"x": one} for one in x)
    data.modality = Pictures()
    assert torch.equal(take(data)["x"], x)
