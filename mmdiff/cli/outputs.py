"""Where generated samples go: one file of all, a folder of many, and never over what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdiff.errors import UserError
from mmdiff.files import make_folder


@dataclass(frozen=True)
class Destination:
    """What `--out` names: the file of a suffix, in lower case; or, if that is "", a folder."""

    path: Path
    suffix: str

    @classmethod
    def parse(cls, out: str, suffixes: Sequence[str], what: str) -> Destination:
        """By the suffix; a folder if there is none, if `out` ends in a slash or is a folder.

        Args:
            out: what the user said.
            suffixes: of files that it may be.
            what: what goes there, such as "pictures".

        Raises:
            UserError: another suffix, or no name at all.
        """
        path = Path(out).expanduser()
        suffix = path.suffix.lower()
        known = ", ".join(dict.fromkeys(suffixes))
        if not out:
            raise UserError(f"--out is empty: name a file ({known}) or a folder/.")
        if out.endswith("/") or path.is_dir():
            return cls(path, "")
        if path.name.lower() in suffixes:
            raise UserError(f"--out {out} has no name before its suffix: put one there.")
        if suffix and suffix not in suffixes:
            raise UserError(f"--out {out} is not for {what}: use one of {known}, or a folder/.")
        return cls(path, suffix)

    def prepare(
        self,
        names: Sequence[str],
        suffix: str,
        overwrite: bool,
        written: Callable[[Path, bool], Sequence[Path]] = lambda path, many: [path],
    ) -> list[Path]:
        """The paths for samples with these `names`, those in a folder with this `suffix`.

        Makes the folder, and finds out now rather than after the work that nothing can be written
        there, or that a file is in the way. `written` tells the files for a path, of one or of
        many, see `Modality.files`.

        Raises:
            UserError: a file exists and `overwrite` is false, a folder stands where a file is to
                be, or the folder for them cannot be made or written to; whatever `written` raises.
        """
        paths, folder = [self.path], self.path.parent
        if not self.suffix:
            paths, folder = [self.path / f"{name}{suffix}" for name in names], self.path
        files = [file for path in paths for file in written(path, bool(self.suffix))]
        make_folder(folder)
        folders = [file for file in files if file.is_dir()]
        if folders:
            raise UserError(f"{folders[0]} is a folder: choose another --out.")
        taken = [file for file in files if file.exists()]
        if taken and not overwrite:
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise UserError(f"{taken[0]} exists already{more}: add --overwrite to replace it.")
        return paths
