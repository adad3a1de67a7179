"""Where generated samples go: one file of all, a folder of many, and never over what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmdiff.errors import UserError

Kind = Literal["png", "gif", "wav", "folder"]
_KINDS: dict[str, Kind] = {".png": "png", ".gif": "gif", ".wav": "wav"}


@dataclass(frozen=True)
class Destination:
    """What `--out` names.

    Attributes:
        path: the file or the folder.
        kind: "png" is one picture of all samples, "gif" pictures as they come out of the noise,
            "wav" all sounds one after another, "folder" a file a sample.
    """

    path: Path
    kind: Kind

    @classmethod
    def parse(cls, out: str) -> Destination:
        """By the suffix; a folder if there is none, if `out` ends in a slash or is a folder."""
        path = Path(out).expanduser()
        suffix = path.suffix.lower()
        if out.endswith("/") or path.is_dir() or not suffix:
            return cls(path, "folder")
        if suffix in _KINDS:
            return cls(path, _KINDS[suffix])
        raise UserError(
            f"--out {out} ends in none of {', '.join(_KINDS)}: use one of them, or a folder/."
        )

    def check(self, sound: bool) -> None:
        """Raises UserError if what comes is sound and cannot go here, or is pictures and cannot."""
        if sound and self.kind == "gif":
            raise UserError(
                f"--out {self.path} is for pictures and the model makes sound: use .wav, .png "
                "(which shows waveforms and spectrograms) or a folder/."
            )
        if not sound and self.kind == "wav":
            raise UserError(
                f"--out {self.path} is for sound and the model makes pictures: use .png, .gif or "
                "a folder/."
            )

    def prepare(self, names: Sequence[str], suffix: str, overwrite: bool) -> list[Path]:
        """The files for samples with these `names`, those in a folder with this `suffix`.

        Makes the folder, and finds out now rather than after the work that a file is in the way.

        Raises:
            UserError: a file exists and `overwrite` is false, or the folder cannot be made.
        """
        files, folder = [self.path], self.path.parent
        if self.kind == "folder":
            files, folder = [self.path / f"{name}{suffix}" for name in names], self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}): choose another --out."
            ) from error
        taken = [file for file in files if file.exists()]
        if taken and not overwrite:
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise UserError(f"{taken[0]} exists already{more}: add --overwrite to replace it.")
        return files
