"""Nearest training samples against a plain search, and the detection of memorised ones."""

from __future__ import annotations

import pytest
import torch

from mmdiff.metrics.neighbours import compare_neighbours, nearest_neighbours


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_equals_a_plain_search(chunk: int) -> None:
    x, reference = torch.rand(20, 1, 5, 5) * 2 - 1, torch.rand(60, 1, 5, 5) * 2 - 1
    distance, index = nearest_neighbours(x, reference, chunk=chunk)
    plain = (x[:, None] - reference).double().flatten(2).norm(dim=2)
    torch.testing.assert_close(distance.double(), plain.min(1).values, rtol=1e-6, atol=1e-6)
    assert torch.equal(index, plain.argmin(1))


def test_finds_copies_at_distance_zero() -> None:
    reference = torch.rand(500, 1, 28, 28) * 2 - 1
    chosen = torch.randperm(500)[:100]
    distance, index = nearest_neighbours(reference[chosen], reference)
    assert torch.equal(index, chosen)
    assert torch.equal(distance, torch.zeros(100))


def test_flags_memorised_samples_and_only_them() -> None:
    training, unseen, fresh = (torch.randn(n, 1, 8, 8) for n in (2000, 1000, 1000))
    assert compare_neighbours(fresh, unseen, training).near < 0.04
    planted = fresh.clone()
    planted[:300] = training[:300] + 0.01 * torch.randn(300, 1, 8, 8)
    found = compare_neighbours(planted, unseen, training)
    assert 0.3 <= found.near < 0.34
    assert found.samples[1] < 0.2 < found.unseen[0]


def test_quantiles_ascend_and_agree_for_the_same_set() -> None:
    training, unseen = torch.randn(200, 4), torch.randn(100, 4)
    found = compare_neighbours(unseen, unseen, training)
    assert found.samples == found.unseen == tuple(sorted(found.unseen))


@pytest.mark.parametrize(("x", "reference"), [((3, 4), (5, 6)), ((3, 4), (0, 4))])
def test_refuses(x: tuple[int, ...], reference: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be sought"):
        nearest_neighbours(torch.zeros(x), torch.zeros(reference))
