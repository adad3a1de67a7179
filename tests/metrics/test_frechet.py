"""The Fréchet distance against closed forms, scipy's matrix square root, and its symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmdiff.metrics.frechet import frechet_distance, gaussian_frechet_distance, training_part


def normal(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator)


def exactly(mean: Tensor, root: Tensor, rows: int = 200, seed: int = 0) -> Tensor:
    """Rows whose sample mean is `mean` and whose sample covariance is root root^T, to rounding."""
    x = normal(rows, len(mean), seed)
    x = torch.linalg.qr(x - x.mean(0))[0] * (rows - 1) ** 0.5
    return mean + x @ root.T


def rotation(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed))[0]


def test_diagonal_gaussians() -> None:
    mean_a, mean_b = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 3.0]]).double()
    std_a, std_b = torch.tensor([[1.0, 2.0, 0.3], [0.5, 2.0, 4.0]]).double()
    a, b = exactly(mean_a, std_a.diag()), exactly(mean_b, std_b.diag(), rows=300, seed=1)
    expected = ((mean_a - mean_b) ** 2).sum() + ((std_a - std_b) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-10)


def test_full_covariances_that_commute() -> None:
    """With shared eigenvectors the distance is that of the eigenvalues' roots."""
    turn, zero = rotation(6, 0), torch.zeros(6, dtype=torch.float64)
    std_a, std_b = torch.linspace(0.1, 3, 6).double(), torch.linspace(2, 0.5, 6).double()
    a, b = exactly(zero, turn * std_a), exactly(zero + 1, turn * std_b, seed=2)
    expected = 6 + ((std_a - std_b) ** 2).sum().item()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_two_dimensions_in_closed_form() -> None:
    """tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)) for 2x2 matrices, commuting or not."""
    root_a, root_b = normal(2, 2, 3), normal(2, 2, 4)
    cov_a, cov_b = root_a @ root_a.T, root_b @ root_b.T
    product = cov_a @ cov_b
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    zero = torch.zeros(2, dtype=torch.float64)
    expected = (cov_a.trace() + cov_b.trace() - 2 * root).item()
    assert gaussian_frechet_distance(zero, cov_a, zero, cov_b) == pytest.approx(expected, rel=1e-10)
    measured = frechet_distance(exactly(zero, root_a), exactly(zero, root_b, seed=1))
    assert measured == pytest.approx(expected, rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 24))
def test_equals_scipy_is_symmetric_and_invariant_to_rotation(seed: int, size: int) -> None:
    a = normal(80, size, seed) @ normal(size, size, seed + 1) + normal(1, size, seed + 2)
    b = normal(90, size, seed + 3) @ normal(size, size, seed + 4)
    mean_a, mean_b = a.numpy().mean(0), b.numpy().mean(0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x.numpy(), rowvar=False)) for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    measured = frechet_distance(a, b)
    assert measured == pytest.approx(expected, rel=1e-5)
    assert measured == pytest.approx(frechet_distance(b, a), rel=1e-9)
    turn = rotation(size, seed + 5)
    assert measured == pytest.approx(frechet_distance(a @ turn, b @ turn), rel=1e-9)


@pytest.mark.parametrize("rows", [2, 5, 40])
def test_fewer_rows_than_features(rows: int) -> None:
    """Singular covariances: the value is that of the subspace in which the data lie."""
    a, b = normal(rows, 3, 0), normal(rows + 3, 3, 1)
    embedding = rotation(64, 2)[:3]
    flat = frechet_distance(a, b)
    assert frechet_distance(a @ embedding, b @ embedding) == pytest.approx(flat, rel=1e-7)


def test_zero_on_itself() -> None:
    for a in (normal(300, 32, 0), normal(10, 32, 0), torch.ones(5, 4)):
        assert 0 <= frechet_distance(a, a) < 1e-6


def test_float32_features_are_compared_in_float64() -> None:
    a, b = normal(50, 4, 0).float() + 1000, normal(50, 4, 1).float() + 1000
    assert frechet_distance(a, b) == frechet_distance(a.double(), b.double())


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), "first set must be features"),
        (torch.zeros(4, 3), torch.zeros(4, 3, 1), "second set must be features"),
        (torch.zeros(4, 3), torch.zeros(4, 2), "3 and 2 features"),
        (torch.zeros(4, 3), torch.full((4, 3), torch.nan), "second set holds values"),
        (torch.full((4, 3), torch.inf), torch.zeros(4, 3), "first set holds values"),
    ],
)
def test_refuses(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_training_parts_are_nested_and_distinct() -> None:
    train = torch.arange(50)
    assert torch.equal(training_part(train, 10), training_part(train, 50)[:10])
    assert sorted(training_part(train, 50).tolist()) == list(range(50))
    with pytest.raises(ValueError, match="there are 50: judge fewer samples"):
        training_part(train, 51)
