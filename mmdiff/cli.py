"""The command line: mmdiff sample | train | evaluate | info | spectrogram."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.main import get_command

from mmdiff import __version__
from mmdiff.commands.evaluate import evaluate
from mmdiff.commands.info import info
from mmdiff.commands.sample import sample
from mmdiff.commands.spectrogram import spectrogram
from mmdiff.commands.train import train
from mmdiff.errors import Interrupted, UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train diffusion models and sample from them.",
)
for command in (sample, train, evaluate, info, spectrogram):
    app.command()(command)

# What takes less memory, for those commands that have the option.
_THRIFT = {
    "--batch": "a smaller --batch",
    "--preset": "--preset fast",
    "--size": "a smaller --size for pictures",
    "--seconds": "fewer --seconds or --channels for sound",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `mmdiff`; `arguments` are those of the process if None."""
    run(app, "mmdiff", arguments)


def run(program: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run `program` and exit: 0 done, 1 an error to cure, 2 wrong usage, 130 interrupted."""
    try:
        with _plain_warnings():
            program(args=arguments, prog_name=name)
    except Interrupted as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError) as error:
        sys.exit(f"{name}: {_sentence(error)}")
    except (MemoryError, RuntimeError) as error:  # torch's, for a GPU and for the CPU
        full = "out of memory" in str(error) or "can't allocate memory" in str(error)
        if not full and not isinstance(error, MemoryError):
            raise
        thrift = _thrift(program, sys.argv[1:] if arguments is None else arguments)
        sys.exit(f"{name}: there is not enough memory: {thrift}.")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Inside, a warning is a sentence: which line of the library gave it tells a user nothing."""

    def plain(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"warning: {' '.join(str(message).split())}\n"

    before, warnings.formatwarning = warnings.formatwarning, plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part) + "."
    return " ".join(str(error).split())


def _thrift(program: typer.Typer, arguments: Sequence[str]) -> str:
    """How the command that `arguments` name gets by with less memory."""
    command: Any = get_command(program)
    commands = getattr(command, "commands", {})
    command = next((commands[word] for word in arguments if word in commands), command)
    options = {option for parameter in command.params for option in parameter.opts}
    cures = [cure for option, cure in _THRIFT.items() if option in options]
    return f"use {', or '.join(cures)}" if cures else "close other programs"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmdiff {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    pass
