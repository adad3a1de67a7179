"""The loss on held-out data by noise level."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import Waves, trainer

from mmdiff.training.validation import ITEMS, validate

CPU = torch.device("cpu")


def test_a_network_that_knows_nothing(tmp_path: Path) -> None:
    """An eps of 0 is wrong by 1 on average; min-SNR weighs that by min(1, 5 / SNR)."""
    model = trainer(tmp_path).model.eval()
    numbers = ITEMS * 12
    whole = validate(model, Waves(300), 0, ITEMS, CPU)
    for t, loss in whole.items():
        alpha, sigma = model.schedule(torch.tensor(t, dtype=torch.float64))
        weight = min(1.0, 5 / float((alpha / sigma) ** 2))
        assert abs(loss / weight - 1) < 4 * (2 / numbers) ** 0.5
    in_parts = validate(model, Waves(300), 0, 100, CPU)
    assert list(in_parts.values()) == pytest.approx(list(whole.values()), rel=1e-5)


class Asked(Waves):
    """Notes which items it was asked for."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.seen: list[int] = []

    def visit(self, index: int, count: int) -> dict[str, Any]:
        self.seen.append(index)
        return super().visit(index, count)


def test_takes_items_of_all_classes(tmp_path: Path) -> None:
    """Where a data set is sorted by class, its first items are of the first classes alone."""
    data = Asked(1000)
    validate(trainer(tmp_path).model.eval(), data, 0, 64, CPU)
    assert len(set(data.seen)) == ITEMS
    assert max(b - a for a, b in pairwise(sorted({-1, *data.seen, 1000}))) <= 1000 // ITEMS + 1


def test_asks_a_batch_of_the_recipe_at_a_time(tmp_path: Path) -> None:
    sizes: list[int] = []
    run = trainer(tmp_path, held_out=Waves(20), steps=3)
    run.model.backbone.stem.register_forward_hook(
        lambda module, inputs, _: sizes.append(len(inputs[0])) if not module.training else None
    )
    run.fit()
    assert sizes == [8] * 16 + [4] * 8


def test_stops_between_two_parts(tmp_path: Path) -> None:
    data, asked = Asked(100), iter([False, False, True])
    assert validate(trainer(tmp_path).model, data, 0, 8, CPU, lambda: next(asked)) == {}
    assert len(data.seen) == 16
