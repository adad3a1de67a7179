"""The digit judge: its file is refused unless it is whole, and the bundled one can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.metrics.batches import take
from mmdiff.metrics.judge import (
    BUNDLED,
    DigitJudge,
    accuracy,
    load_judge,
    run_judge,
    save_judge,
)
from mmdiff.tensorfile import read, write


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "judge.safetensors"
    save_judge(DigitJudge(), path, {"data": "none"})
    return path


def test_bundled_judge_loads_without_data() -> None:
    judge = load_judge()
    features, logits = run_judge(judge, torch.rand(7, 1, 28, 28) * 2 - 1)
    assert features.shape == (7, 96)
    assert logits.shape == (7, 10)
    assert features.isfinite().all()
    assert logits.isfinite().all()
    assert not judge.training


def test_bundled_file_is_small_and_says_what_it_is() -> None:
    assert BUNDLED.stat().st_size < 1_000_000
    _, header = read(BUNDLED)
    assert {"data", "licence", "command", "test_accuracy"} <= set(header)
    assert float(header["test_accuracy"]) >= 0.994


def test_bundled_judge_reads_the_test_set(data_dir: Path) -> None:
    images = open_images("mnist", "test", data_dir)
    some = take(images, range(0, len(images), 5))
    _, logits = run_judge(load_judge(), some["x"])
    assert accuracy(logits, some["label"]) >= 0.99


def test_accuracy_counts_the_largest_logits() -> None:
    logits, classes = torch.eye(10)[:4], torch.tensor([0, 1, 2, 9])
    assert accuracy(logits, classes) == 0.75
    for wrong in (classes[:3], classes[:, None]):
        with pytest.raises(ValueError, match="4 samples need as many classes"):
            accuracy(logits, wrong)


def test_batches_do_not_matter() -> None:
    judge, x = load_judge(), torch.rand(10, 1, 28, 28) * 2 - 1
    for whole, parts in zip(run_judge(judge, x), run_judge(judge, x, batch=3), strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_stored_judge_is_the_judge(tmp_path: Path) -> None:
    judge = DigitJudge().eval()
    save_judge(judge, tmp_path / "a.safetensors", {})
    save_judge(load_judge(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {})
    once, twice = (load_judge(tmp_path / f"{name}.safetensors") for name in "ab")
    x = torch.rand(4, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(once(x)[0], judge(x)[0], rtol=1e-2, atol=1e-2)
    assert torch.equal(once(x)[0], twice(x)[0])


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_judge(tmp_path / "none.safetensors")


def test_refuses_a_damaged_file(saved: Path) -> None:
    damaged = bytearray(saved.read_bytes())
    damaged[-1] ^= 0x10
    saved.write_bytes(damaged)
    with pytest.raises(UserError, match="damaged"):
        load_judge(saved)


def test_refuses_what_is_no_judge(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write(path, DigitJudge().state_dict(), {"kind": "something else"})
    with pytest.raises(UserError, match="is no digit judge"):
        load_judge(path)


def test_refuses_another_network_in_the_same_wrapping(tmp_path: Path) -> None:
    other = DigitJudge()
    other.head = torch.nn.Linear(96, 12)
    save_judge(other, tmp_path / "judge.safetensors", {})
    with pytest.raises(UserError, match="is no digit judge"):
        load_judge(tmp_path / "judge.safetensors")


def test_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="28, 28"):
        DigitJudge().features(torch.zeros(2, 1, 32, 32))
