"""The program as a whole: usage, exit codes, and what a failure says."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff.cli import options, program
from mmdiff.recipe import Precision


def test_words_are_those_of_the_library() -> None:
    assert [name.value for name in options.SolverName] == list(mmdiff.SOLVERS)
    assert [name.value for name in options.PrecisionName] == list(get_args(Precision))


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
        ("sample", "digits", "--strength", "0"),
        ("train", "--size", "3x"),
        ("train", "--precision", "half"),
        ("sample", "digits", "--seed", "x"),
        ("evaluate", "digits", "-n", "60001"),
        ("train", "--epochs", "0"),
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


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("sample", "digits"), "use a smaller --batch, or a smaller --size for pictures, or fewer "
             "--seconds for sounds."),
        (("evaluate", "digits"), "use a smaller --batch."),
        (("train",), "use a smaller --batch, or --preset fast, or a smaller --size for "
         "pictures, or fewer --seconds for sounds."),
        (("info", "digits"), "close other programs."),
        (("spectrogram", "a.wav"), "close other programs."),
    ],
)  # fmt: skip
def test_no_memory_is_cured_by_what_the_command_has(
    run: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], cure: str
) -> None:
    (command,) = (c for c in program.app.registered_commands if c.callback.__name__ == arguments[0])

    @functools.wraps(command.callback)
    def exhaust(**_: Any) -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(command, "callback", exhaust)
    result = run(*arguments)
    result.refused()
    assert result.err == f"mmdiff: there is not enough memory: {cure}\n"
    monkeypatch.setenv("COLUMNS", "300")
    shown = run(arguments[0], "--help").out
    assert all(option in shown for option in re.findall("--[a-z]+", cure))


def test_warnings_outside_of_the_program_stay_as_they_are(run: Any) -> None:
    before = warnings.formatwarning
    assert run("--version").code == 0
    assert warnings.formatwarning is before


def test_a_warning_is_a_sentence() -> None:
    code = (
        "import typer, warnings; from mmdiff.cli import run\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def main(): warnings.warn('two files skipped,\\n  a and b'); warnings.warn('more')\n"
        "run(app, 'x', [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: two files skipped, a and b\nwarning: more\n"


def test_a_full_disk_is_one_sentence(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(Image.Image, "save", full)
    run("sample", labelled, "-n", 1, "--steps", 1, "--out", "x.png").refused(
        "No space left", "make room"
    )


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
