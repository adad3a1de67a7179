"""The command line: mmdiff sample | train | evaluate | info | spectrogram."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

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


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `mmdiff`; `arguments` are those of the process if None."""
    run(app, "mmdiff", arguments)


def run(program: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run `program` and exit: 0 done, 1 an error to cure, 2 wrong usage, 130 interrupted."""
    try:
        program(args=arguments, prog_name=name)
    except Interrupted as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError, MemoryError) as error:
        sys.exit(f"{name}: {_sentence(error)}")
    except RuntimeError as error:  # torch's, for a GPU and for the CPU
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        sys.exit(f"{name}: there is not enough memory: use a smaller --batch.")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part) + "."
    return " ".join(str(error).split()) or "there is not enough memory: use a smaller --batch."


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
