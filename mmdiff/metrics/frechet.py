"""The Fréchet distance between two sets of features (Dowson & Landau 1982; Heusel et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdiff import noise


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance between Gaussians fitted to `a` [N, D] and `b` [M, D].

    This is the number that is called FID when the features are Inception's. Computed in float64
    with the unbiased covariance. Raises ValueError unless both sets are finite, of equal D, and
    hold at least two rows.
    """
    for name, features in (("first", a), ("second", b)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] < 1:
            raise ValueError(
                f"the {name} set must be features [N, D] with N >= 2, not {list(features.shape)}."
            )
        if not bool(features.isfinite().all()):
            raise ValueError(f"the {name} set holds values that are not finite.")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the sets have {a.shape[1]} and {b.shape[1]} features; they must agree.")
    a, b = a.double(), b.double()
    return gaussian_frechet_distance(a.mean(0), _covariance(a), b.mean(0), _covariance(b))


def gaussian_frechet_distance(
    mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor
) -> float:
    """|mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)); means [D], covs [D, D].

    The trace of the root is the sum of the singular values of cov_a^(1/2) cov_b^(1/2), so that no
    root of an unsymmetric matrix is taken and singular covariances do no harm. Never negative.
    """
    roots = torch.linalg.svdvals(_root(cov_a) @ _root(cov_b)).sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots
    return max(0.0, float(distance))


def training_part(values: Tensor, count: int) -> Tensor:
    """The `count` training items that every floor of that size is measured with, or their labels.

    Samples that are to be compared with the floor are drawn with the same labels: the classes are
    seldom equally common, and the Fréchet distance sees a difference of one per cent.

    Raises:
        ValueError: there are fewer than `count`.
    """
    if count > len(values):
        raise ValueError(
            f"{count:,} samples need as many training items for their floor, and there are "
            f"{len(values):,}: judge fewer samples."
        )
    return values[noise.permutation(0, len(values), step=0)[:count]]


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    # Rounding leaves the zero eigenvalues of a singular matrix slightly off zero, on either side.
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)
