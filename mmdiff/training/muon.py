"""An optimiser whose steps turn weights in all directions alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_NARROWEST = 16  # the least rows and columns of what counts as a matrix
_QUINTIC = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5
_ROUNDS = 5
_RMS = 0.2  # of AdamW's usual update, in units of the learning rate
_TINY = 1e-7


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for the matrices of a network, AdamW for everything else.

    The averaged gradient of a matrix is replaced by the nearest orthogonal one before the step is
    taken, so that rare directions are learned as fast as common ones. A kernel of a convolution is
    the matrix [out, in * positions]. Embeddings, vectors and what has less than 16 rows or columns,
    such as the last convolution of a network for images, are AdamW's. Updates are scaled to the
    size of AdamW's (Liu et al. 2025), so that one learning rate suits both.

    Args:
        model: whose parameters are trained.
        lr: the learning rate.
        momentum: decay of the average of the gradients, with Nesterov's look ahead.
        weight_decay: decoupled, of all parameters.
    """

    def __init__(
        self, model: nn.Module, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for p in model.parameters():
            wide = p.ndim > 1 and min(p.flatten(1).shape) >= _NARROWEST
            (matrices if wide and id(p) not in tables else others).append(p)
        groups = [{"params": others}, {"params": matrices}]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=True)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; it uses the gradients of the matrices up. What `closure` returns, if given."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        group = self.param_groups[1]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:  # AdamW, when it is loaded, looks for a step in every state
                state |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(p)}
            state["step"] += 1
            average = state["momentum_buffer"].lerp_(p.grad, 1 - self.momentum)
            update = orthogonalised(p.grad.lerp(average, self.momentum).flatten(1))
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(update.view_as(p), alpha=-group["lr"] * _RMS * math.sqrt(max(update.shape)))
            p.grad = None  # what has none is left alone by AdamW
        super().step()
        return loss


def orthogonalised(matrix: Tensor) -> Tensor:
    """[m, n] with singular values of about 1 in place of its own, by a Newton-Schulz iteration.

    They end between about 0.7 and 1.2, which serves as well as 1 (Jordan et al. 2024). Computed in
    bfloat16, returned as it came.
    """
    a, b, c = _QUINTIC
    x = matrix.bfloat16()
    x = x.T if len(x) > x.shape[1] else x
    x = x / x.norm().clamp(min=_TINY)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        gram = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, gram, x, beta=a)
    x = x.T if len(matrix) > matrix.shape[1] else x
    return x.to(matrix.dtype)
