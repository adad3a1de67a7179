"""Muon, against PyTorch's for matrices, AdamW's for the rest, and exact results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim._muon import _zeropower_via_newtonschulz
from train_tiny import assert_same_run, trainer

from mmdiff.errors import Interrupted
from mmdiff.training.muon import Muon, orthogonalised

STEPS = 6
_PYTORCHS = ((3.4445, -4.7750, 2.0315), 5, 1e-7)  # polynomial, rounds and the least norm


class Two(nn.Module):
    """A matrix and a vector, neither of which reacts to the other."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(rows, columns))
        self.vector = nn.Parameter(torch.randn(rows))


def gradients(like: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(like.shape, generator=generator) for _ in range(STEPS)]


def follow(optimizer: torch.optim.Optimizer, *parameters: nn.Parameter) -> None:
    for step in range(STEPS):
        for p in parameters:
            p.grad = gradients(p)[step]
        optimizer.step()
        optimizer.zero_grad()


def exactly_orthogonal(x: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ vh


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (16, 16)])
def test_like_pytorchs(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the iteration, which is another one here: both are given the exact result of it."""
    monkeypatch.setattr("mmdiff.training.muon.orthogonalised", exactly_orthogonal)
    monkeypatch.setattr(
        "torch.optim._muon._zeropower_via_newtonschulz", lambda x, *_: exactly_orthogonal(x)
    )
    ours, theirs = Two(*shape), Two(*shape)
    follow(Muon(ours, lr=0.02), ours.matrix, ours.vector)
    muon = torch.optim.Muon(
        [theirs.matrix], lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
    )
    follow(muon, theirs.matrix)
    follow(torch.optim.AdamW([theirs.vector], lr=0.02, weight_decay=0.01), theirs.vector)
    assert not torch.equal(ours.matrix, Two(*shape).matrix)
    torch.testing.assert_close(ours.matrix, theirs.matrix)
    torch.testing.assert_close(ours.vector, theirs.vector)


@pytest.mark.parametrize("shape", [(32, 48), (64, 64), (64, 576)])
def test_nearer_to_orthogonal_than_pytorchs(shape: tuple[int, int]) -> None:
    """PyTorch's iteration has five rounds of one polynomial, in bfloat16."""
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    exact = exactly_orthogonal(x)
    theirs = torch.stack([_zeropower_via_newtonschulz(m, *_PYTORCHS) for m in x])
    assert (orthogonalised(x) - exact).norm() < 0.9 * (theirs - exact).norm()
    cosine = nn.functional.cosine_similarity(orthogonalised(x).flatten(1), exact.flatten(1))
    assert cosine.min() > 0.98


def test_a_kernel_is_a_matrix() -> None:
    layer, flat = nn.Conv1d(16, 32, 3, bias=False), Two(32, 48)
    with torch.no_grad():
        layer.weight.copy_(flat.matrix.view(32, 16, 3))
    follow(Muon(flat, lr=0.1), flat.matrix, flat.vector)
    optimizer = Muon(layer, lr=0.1)
    for gradient in gradients(flat.matrix):
        layer.weight.grad = gradient.view(32, 16, 3)
        optimizer.step()
    torch.testing.assert_close(layer.weight.flatten(1), flat.matrix)


@pytest.mark.parametrize("layer", [nn.Embedding(40, 40), nn.Linear(40, 8), nn.GroupNorm(4, 40)])
def test_what_is_left_to_adamw(layer: nn.Module) -> None:
    optimizer = Muon(layer, lr=0.1)
    for p in layer.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all("exp_avg" in optimizer.state[p] for p in layer.parameters())


def with_values(values: Tensor, rows: int, columns: int, seed: int) -> tuple[Tensor, ...]:
    """Random u [rows, k], v [columns, k] and the matrix u diag(values) v^T."""
    generator = torch.Generator().manual_seed(seed)
    u, _ = torch.linalg.qr(torch.randn(rows, len(values), generator=generator))
    v, _ = torch.linalg.qr(torch.randn(columns, len(values), generator=generator))
    return u, v, (u * values) @ v.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(16, 80), st.integers(0, 80), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_all_directions_alike(
    dtype: torch.dtype, rows: int, more: int, seed: int, scale: float
) -> None:
    """The same singular vectors; singular values that are not tiny end near 1."""
    u, v, x = with_values(torch.logspace(0, -1.5, 16), rows, rows + more, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmdiff.training.muon.resolve", lambda *_: dtype)
        (found,) = orthogonalised(scale * x[None])
    found = u.T @ found @ v
    assert found.diagonal().min() > 0.7
    assert found.diagonal().max() < 1.25
    assert (found - found.diagonal().diag()).abs().max() < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [16, 64, 256])
def test_no_spectrum_diverges(
    dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The polynomials grow beyond their interval, whose end a matrix of rank one reaches."""
    monkeypatch.setattr("mmdiff.training.muon.resolve", lambda *_: dtype)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randn(size, 1, generator=generator).sign() * torch.ones(1, 2 * size)
    spectra = (torch.ones(1), torch.ones(2), torch.tensor([1, 0.4, 0.1]), torch.ones(size))
    made = [with_values(values, size, 2 * size, 0)[2] for values in spectra]
    x = torch.stack([*made, 0.7137 * signs, torch.full_like(signs, 0.3313)])
    values = torch.linalg.svdvals(orthogonalised(x))
    assert values.max() < 1.3
    assert values[:, 0].min() > 0.6


def test_each_of_a_batch_by_itself() -> None:
    """As far as rounding goes: matrices of one shape share products, and nothing else."""
    x = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0))
    x[1] *= 100
    alone = torch.cat([orthogonalised(m[None]) for m in x])
    torch.testing.assert_close(orthogonalised(x), alone, rtol=0, atol=1e-2)


def test_a_closure_comes_before_the_step() -> None:
    once, twice = Two(16, 20), Two(16, 20)

    def closure() -> float:
        loss = (once.matrix.square().sum() + once.vector.square().sum()) / 2
        loss.backward()
        return float(loss.detach())

    assert Muon(once, lr=0.1).step(closure) > 0
    twice.matrix.grad, twice.vector.grad = twice.matrix.detach().clone(), twice.vector.detach()
    Muon(twice, lr=0.1).step()
    torch.testing.assert_close(once.matrix, twice.matrix)
    torch.testing.assert_close(once.vector, twice.vector)
    assert not torch.equal(once.matrix, Two(16, 20).matrix)


def test_nothing_of_nothing() -> None:
    assert not orthogonalised(torch.zeros(1, 16, 20)).any()


def test_resumes_exactly(tmp_path: Path) -> None:
    trainer(tmp_path / "whole", optimizer="muon").fit()
    kept = trainer(tmp_path / "parts", optimizer="muon")

    def stop(*_: object) -> None:
        raise Interrupted("enough for now")

    with pytest.raises(Interrupted):
        kept.fit(stop)
    assert any("momentum_buffer" in state for state in kept.optimizer.state.values())
    trainer(tmp_path / "parts", optimizer="muon", resume=True).fit()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
