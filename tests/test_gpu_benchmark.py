"""The benchmark for GPUs works without one, and says so where it needs one."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu")


def test_quick(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--device=cpu", f"--out={tmp_path}"])
    gpu.main()
    with (tmp_path / "gpu.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["precision"]: row for row in csv.DictReader(file)}
    assert {row["variant"] for row in rows.values()} == {"eager"}
    assert float(rows["float32"]["difference"]) == 0
    assert 0 < float(rows["bfloat16"]["difference"]) < 0.05


def test_without_a_gpu(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match=r"^torch finds no CUDA device here: add --quick[^.]*\.$"):
        gpu.main()
