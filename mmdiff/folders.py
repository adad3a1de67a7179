"""Any folder of files as a data set: which files it holds, of which split and of which class."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from mmdiff.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def find(root: Path, suffixes: tuple[str, ...], kind: str) -> list[str]:
    """Relative POSIX paths of the files under `root`, at any depth, sorted; hidden ones left out.

    Links to folders are followed; a folder that lies there in several places counts in one.

    Args:
        root: the folder.
        suffixes: of the files, in lower case; the case of their names does not matter.
        kind: what the files are, for the error, such as "images".

    Raises:
        UserError: `root` is missing, is not a folder or holds no such file.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {problem}: give folder:PATH the path of a folder of {kind}.")
    found = [
        (folder / name).relative_to(root).as_posix()
        for folder, files in _walk(root)
        for name in files
        if name.lower().endswith(suffixes) and not name.startswith(".")
    ]
    if not found:
        raise UserError(f"{root} holds no {kind}: put {', '.join(suffixes)} files into it.")
    return sorted(found)


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of its files) of `root` and the folders below it.

    What lies there comes before what is only linked to, so that neither a link back up nor a
    second link to the same folder brings it again, under another name and perhaps in both splits.
    """
    seen, tops = set(), [root]
    for top in tops:  # links are added on the way
        for folder, folders, files in os.walk(top):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(n for n in folders if not n.startswith((".", "__MACOSX")))
            tops += [path for name in folders if (path := Path(folder, name)).is_symlink()]
            yield Path(folder), files


def choose(names: Sequence[str], split: str) -> tuple[list[str], dict[str, str]]:
    """The files of a split, and the class of every file (empty if there are no classes).

    Two folders `train` and `test` at the top are the splits. Otherwise a tenth of the files, at
    least one, is held out for "test" by a hash of their names, so that the choice stays (nearly)
    the same when files are added; a single file serves both.

    The folders at the top, or right below train and test, are the classes if there are several
    and no file lies outside of them.

    Raises:
        UserError: a folder `train` among others than `test`, which would become a class.
    """
    parts = {name: name.split("/") for name in names}
    tops = {part[0] for part in parts.values()}
    if "train" in tops and tops != {"train", "test"}:
        others = f"{some(sorted(tops - {'train'}))} beside it" if len(tops) > 1 else "no other"
        raise UserError(
            f"a folder train needs a folder test and nothing else beside it, and has {others}: "
            "rename or move what is there, or give folder:PATH the path of train itself."
        )
    if tops == {"train", "test"}:
        chosen = [name for name, part in parts.items() if part[0] == split]
        parts = {name: part[1:] for name, part in parts.items()}
    else:
        ranked = sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))
        count = max(1, len(names) // 10)
        chosen = sorted(ranked[:count] if split == "test" else ranked[count:] or ranked)
    classes = {name: part[0] for name, part in parts.items() if len(part) > 1}
    if len(classes) < len(names) or len(set(classes.values())) < 2:
        classes = {}
    return chosen, classes


def for_each(function: Callable[[T], R], items: Iterable[T], title: str) -> list[R]:
    """[function(item) ...] on a few threads (decoders free the GIL), a bar if it takes long."""
    items = list(items)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        bar = tqdm(pool.map(function, items), title, len(items), delay=2, leave=False, disable=None)
        return list(bar)


def warn_of_skipped(root: Path, names: Sequence[str], problem: str) -> None:
    """One warning that names the first files that are left out, if there are any."""
    if names:
        count = f"{len(names)} {problem} file{'s' * (len(names) > 1)}"
        # Beyond whoever opens the folder and the data set: at the line that asked for it.
        warnings.warn(f"{count} skipped in {root}: {some(names)}", stacklevel=4)


def some(names: Sequence[str]) -> str:
    """The first three."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
