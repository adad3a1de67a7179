"""The program as a whole: usage, exit codes, and what a failure says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff import options


def test_solver_names_are_those_of_the_library() -> None:
    assert [name.value for name in options.SolverName] == list(mmdiff.SOLVERS)


def test_preset_names_are_those_of_the_library() -> None:
    from mmdiff.training.images import PRESETS

    assert [name.value for name in options.PresetName] == list(PRESETS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample",),
        ("no-such-command",),
        ("sample", "digits", "-n", "0"),
        ("sample", "digits", "-n", "1000001"),
        ("sample", "digits", "--steps", "0"),
        ("sample", "digits", "--batch", "0"),
        ("sample", "digits", "--guidance", "-1"),
        ("sample", "digits", "--guidance", "nan"),
        ("sample", "digits", "--solver", "magic"),
        ("sample", "digits", "--device", "toaster"),
        ("sample", "digits", "--seed", "x"),
        ("evaluate", "digits", "-n", "60001"),
        ("train", "--epochs", "0"),
        ("train", "--preset", "slow"),
        ("train", "--seconds", "0"),
        ("train", "--channels", "8"),
        ("sample", "speech", "--spin", "-1"),
        ("spectrogram",),
    ],
)
def test_wrong_usage_exits_with_2(run: Any, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert "Usage: mmdiff" in result.err


def test_interrupt_exits_with_130(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mmdiff.Diffusion, "x0", interrupt)
    assert run("sample", labelled, "--out", "x.png").code == 130
    assert not Path("x.png").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_no_memory_is_one_sentence(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhaust(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(mmdiff.Diffusion, "x0", exhaust)
    run("sample", labelled, "--out", "x.png").refused("--batch")


def test_a_full_disk_is_one_sentence(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(Image.Image, "save", full)
    run("sample", labelled, "-n", 1, "--steps", 1, "--out", "x.png").refused("No space left")


def test_help_has_examples_and_loads_no_torch() -> None:
    commands = ("sample", "train", "evaluate", "info", "spectrogram")
    code = (
        "import sys; from mmdiff.cli import main\n"
        f"for command in {commands}:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
        check=True,
    )
    for command in commands:
        assert f"mmdiff {command} " in done.stdout.split("Examples:", 1)[1]
    assert "mmdiff sample digits --label 7" in done.stdout
    assert "mmdiff sample speech --label 7 --speaker george" in done.stdout
    assert "recommends" in done.stdout
    assert "1 switches it off" in done.stdout


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmdiff", "sample", "no-such-model"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mmdiff: ")
    assert done.stderr.count("\n") == 1
