"""An optimiser whose steps turn weights in all directions alike."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmdiff.precision import resolve

_NARROWEST = 16  # the least rows and columns of what counts as a matrix
# Of x, x^3 and x^5: each is nearest to 1 on what the one before it makes of [0.003, 1], and stands
# one per cent more, by which bfloat16 may miss (Amsel et al. 2025).
_ROUNDS = (
    (8.3007, -24.0376, 17.4661),
    (4.0059, -2.9253, 0.5424),
    (3.4914, -2.5693, 0.5041),
    (2.5338, -1.8830, 0.4476),
)
_MARGIN = 1.02  # of the greatest singular value, which the first round may not find above 1
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
        alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                rows, columns = p.flatten(1).shape
                alike[min(rows, columns), max(rows, columns)].append(p)
        for (short, long), parameters in alike.items():
            updates = orthogonalised(torch.stack([self._direction(p) for p in parameters]))
            for p, update in zip(parameters, updates, strict=True):
                update = update if len(p) == short else update.mT
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape), alpha=-group["lr"] * _RMS * math.sqrt(long))
                p.grad = None  # what has none is left alone by AdamW
        super().step()
        return loss

    def _direction(self, p: nn.Parameter) -> Tensor:
        """The averaged gradient of `p` as a matrix [short, long]."""
        assert p.grad is not None
        state = self.state[p]
        if not state:  # AdamW, when it is loaded, looks for a step in every state
            state |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(p)}
        state["step"] += 1
        average = state["momentum_buffer"].lerp_(p.grad, 1 - self.momentum)
        matrix = p.grad.lerp(average, self.momentum).flatten(1)
        return matrix if len(matrix) <= matrix.shape[1] else matrix.mT


def orthogonalised(x: Tensor) -> Tensor:
    """Matrices [k, m, n], m <= n, with singular values of about 1 in place of their own.

    Four rounds of X <- (a I + b X X^T + c (X X^T)^2) X (Newton and Schulz), whose polynomials are
    those of Polar Express (Amsel et al. 2025). They bring every singular value of at least 0.003
    of (sum of s^4)^(1/4), which is the greatest or little more, between about 0.8 and 1.2; that
    serves as well as 1 (Jordan et al. 2024). Computed in bfloat16 where the hardware multiplies
    it, else in float32; returned as it came.
    """
    dtype = x.dtype
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)).to(resolve("auto", x.device))
    for turn, (a, b, c) in enumerate(_ROUNDS):
        gram = x @ x.mT
        if turn == 0:
            size = _MARGIN**2 * gram.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
            x, gram = x / size.sqrt(), gram / size
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(dtype)
