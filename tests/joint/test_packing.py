"""Several signals as one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdiff.joint import Packing

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


@given(st.dictionaries(st.text(min_size=1), shapes, min_size=1, max_size=3), st.booleans())
def test_what_is_packed_comes_back(of: dict[str, tuple[int, ...]], batched: bool) -> None:
    packing = Packing(of)
    lead = (2,) if batched else ()
    signals = {name: torch.randn(*lead, *shape) for name, shape in of.items()}
    x = packing.pack(signals)
    assert x.shape == (*lead, 1, sum(map(math.prod, of.values())))
    assert {name: part.tolist() for name, part in packing.unpack(x).items()} == {
        name: part.tolist() for name, part in signals.items()
    }


def test_other_shapes_are_refused() -> None:
    packing = Packing({"a": (1, 2), "b": (1, 3)})
    with pytest.raises(ValueError, match="what is packed must be of shapes"):
        packing.pack({"a": torch.zeros(1, 3), "b": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="what is packed must be of shapes"):
        packing.pack({"a": torch.zeros(1, 2), "b": torch.zeros(1, 3), "c": torch.zeros(1, 1)})
    with pytest.raises(ValueError, match=r"a packed signal is \[1, 5\]"):
        packing.unpack(torch.zeros(1, 4))
