"""Where generated samples go: one file of all, a folder of many, and never over what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmdiff.errors import UserError
from mmdiff.files import make_folder

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
        """By the suffix; a folder if there is none, if `out` ends in a slash or is a folder.

        Raises:
            UserError: another suffix, or no name at all.
        """
        path = Path(out).expanduser()
        suffix = path.suffix.lower()
        if not out:
            raise UserError("--out is empty: name a file such as samples.png, or a folder/.")
        if out.endswith("/") or path.is_dir():
            return cls(path, "folder")
        if path.name.lower() in _KINDS:
            raise UserError(f"--out {out} has no name before its suffix: put one there.")
        if not suffix:
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

        Makes the folder, and finds out now rather than after the work that nothing can be written
        there, or that a file is in the way.

        Raises:
            UserError: a file exists and `overwrite` is false, a folder stands where a file is to
                be, or the folder for them cannot be made or written to.
        """
        files, folder = [self.path], self.path.parent
        if self.kind == "folder":
            files, folder = [self.path / f"{name}{suffix}" for name in names], self.path
        make_folder(folder)
        folders = [file for file in files if file.is_dir()]
        if folders:
            raise UserError(f"{folders[0]} is a folder: choose another --out.")
        taken = [file for file in files if file.exists()]
        if taken and not overwrite:
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise UserError(f"{taken[0]} exists already{more}: add --overwrite to replace it.")
        return files
