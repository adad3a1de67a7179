"""The bundled pairs of digits."""

from __future__ import annotations

from typing import Any

import torch

import mmdiff
from mmdiff import restore
from mmdiff.joint import in_turn
from mmdiff.metrics.joint import PICTURE, SOUND, Readers
from mmdiff.metrics.judge import load_judge
from mmdiff.metrics.speech_judge import load_speech_judge


def test_what_is_drawn_in_turn_agrees() -> None:
    """Also with what it was told; and what is made of one alone is as that is."""
    duet: Any = mmdiff.load("duet")
    how = mmdiff.Sampling("dpmpp2msde", 12, guidance=3.0, interval=(0.5, 1.0))
    labels = torch.arange(20) % 10
    (x,) = in_turn(duet, 20, how, batch=20, label=labels)
    pairs = duet.packing.unpack(x)
    readers = Readers(load_judge(), load_speech_judge(), 4.0)
    read = {name: readers.digits(name, part).argmax(1) for name, part in pairs.items()}
    assert (read[PICTURE] == read[SOUND]).sum() >= 17
    assert (read[SOUND] == labels).sum() >= 18
    says = duet.view(SOUND, PICTURE)
    x = mmdiff.sample(says, (20, *says.info.shape), mmdiff.DPMpp2MSDE(12), guidance=3.0,
                      picture=pairs[PICTURE])  # fmt: skip
    assert (readers.digits(SOUND, x).argmax(1) == read[PICTURE]).sum() >= 16
    writes, lower = duet.view(PICTURE, SOUND), torch.arange(28)[:, None] >= 8
    few = mmdiff.Sampling("dpmpp2msde", 12, guidance=3.0, clip=(-1, 1))
    for digit in (1, 7):  # of which the upper eight rows are alike at most
        whole = pairs[PICTURE][digit]
        filled = restore.fill(
            writes, whole, lower, count=5, sampling=few, sound=pairs[SOUND][digit]
        )
        assert torch.equal(filled[..., :8, :], whole[:, :8].clamp(-1, 1).expand(5, 1, 8, 28))
        assert (readers.digits(PICTURE, filled).argmax(1) == digit).sum() >= 4
