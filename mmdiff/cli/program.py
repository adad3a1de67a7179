"""The program as a whole: its commands, its exit codes, and what it says when one fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from mmdiff import __version__
from mmdiff.cli.convert import enhance, upsample, vocode
from mmdiff.cli.evaluate import evaluate
from mmdiff.cli.info import info
from mmdiff.cli.plain import is_full, plain_warnings, sentence
from mmdiff.cli.restore import restore
from mmdiff.cli.sample import sample
from mmdiff.cli.spectrogram import spectrogram
from mmdiff.cli.train import train
from mmdiff.errors import Interrupted, UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train diffusion models, sample from them, and repair what is damaged.",
)
for command in (
    sample, restore, enhance, upsample, vocode, train, evaluate, info, spectrogram,
):  # fmt: skip
    app.command()(command)

# What takes less memory, for those commands that have the option.
_THRIFT = {
    "--batch": "a smaller --batch",
    "--preset": "--preset fast",
    "--size": "a smaller --size for pictures",
    "--seconds": "fewer --seconds for sounds",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `mmdiff`; `arguments` are those of the process if None."""
    run(app, "mmdiff", arguments)


def run(program: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run `program` and exit: 0 done, 1 an error to cure, 2 wrong usage, 130 interrupted."""
    try:
        with plain_warnings():
            program(args=arguments, prog_name=name)
    except Interrupted as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError) as error:
        sys.exit(f"{name}: {sentence(error)}")
    except (MemoryError, RuntimeError) as error:
        if not is_full(error):
            raise
        thrift = _thrift(program, sys.argv[1:] if arguments is None else arguments)
        sys.exit(f"{name}: there is not enough memory: {thrift}.")


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
