"""Which files of a folder are trained on, which are held out, and of which class each is."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmdiff.data.folders import some
from mmdiff.errors import UserError

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}
_SHOWN_CLASSES = 12


@dataclass(frozen=True)
class Chosen:
    """The files of a split and their classes.

    Attributes:
        names: of the split's files, sorted.
        labels: the classes, sorted, () if there are none; each has a training file that works.
        targets: the place in `labels` of each of `names`, -1 without classes.
        left_out: files of either split that belong to none of `labels`, and why.
        note: why there are no classes where one might expect some, else "".
    """

    names: list[str]
    labels: tuple[str, ...] = ()
    targets: list[int] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    note: str = ""


def choose(
    names: Sequence[str],
    split: str,
    works: Callable[[str], bool] = lambda name: True,
    labelled: bool = True,
) -> Chosen:
    """The files of a split, and their classes.

    Two folders at the top that are called train or training, and test, testing, val, valid or
    validation, in any case of letters, are the splits (test goes before validation). Otherwise a
    tenth of the files of each class, at least one of two or more, is held out for "test" by a hash
    of their names, so that the choice stays (nearly) the same when files are added. If that holds
    nothing out, as with a single file, the training files serve both.

    The folders at the top, or right below those of the splits, are the classes if the training
    files lie in several and most of them in any. Files outside of them are left out then. So are
    held-out files of a class without a training file that works: no model can have learnt it.

    Args:
        names: relative POSIX paths.
        split: "train" or "test".
        works: whether a file can be used; asked until each class has one that can.
        labelled: whether folders are classes; if not, no file is left out for its folder's sake.

    Raises:
        UserError: a folder `train` or `test` among others, which would become a class.
    """
    named = _named_splits(names)
    train, test, left_out = named or (list(names), [], {})
    classes, stray, note = (
        _classes(train, test, depth=1 if named else 0) if labelled else ({}, [], "")
    )
    left_out |= dict.fromkeys(stray, "outside of the folders of the classes")
    train, test = ([name for name in part if name not in left_out] for part in (train, test))
    if not test:
        test = _held_out(train, classes)
        train = sorted(set(train) - set(test))
        test = test or train
    members: dict[str, list[str]] = {}
    for name in train:
        members.setdefault(classes.get(name, ""), []).append(name)
    labels = tuple(sorted(label for label in members if label and any(map(works, members[label]))))
    if classes and test is not train:
        unknown = [name for name in test if classes[name] not in labels]
        left_out |= dict.fromkeys(unknown, "of a class without a training file")
        test = [name for name in test if name not in left_out]
    chosen = sorted(train if split == "train" else test)
    place = {label: index for index, label in enumerate(labels)}
    targets = [place.get(classes.get(name, ""), -1) for name in chosen]
    return Chosen(chosen, labels, targets, left_out, note)


def _named_splits(names: Sequence[str]) -> tuple[list[str], list[str], dict[str, str]] | None:
    """Training files, held-out files and those left out; None if no folder is called a split."""
    tops = {name: name.split("/")[0] for name in names if "/" in name}
    roles = {top: _ROLES.get(top.lower()) for top in sorted(set(tops.values()))}
    splits = [top for top, role in roles.items() if role]
    others = [top for top, role in roles.items() if not role]
    has_train = "train" in roles.values()
    has_test = any(role not in ("train", None) for role in roles.values())
    if not splits or (not has_train and len(roles) == 1):
        return None
    if not has_train or (others and not has_test):
        raise UserError(
            f"a folder {splits[0]} needs a folder {'test' if has_train else 'train'} beside it, "
            f"and has {some([top for top in roles if top != splits[0]])}: rename or move what is "
            f"there, or give folder:PATH the path of {splits[0]} itself."
        )
    held = "test" if "test" in roles.values() else "validation"
    parts: dict[str | None, list[str]] = {}
    for name in names:
        role = roles[tops[name]] if name in tops else None
        parts.setdefault(role if role in ("train", held) else None, []).append(name)
    left_out = dict.fromkeys(parts.get(None, []), "outside of the folders of the splits")
    return parts["train"], parts.get(held, []), left_out


def _classes(
    train: Sequence[str], test: Sequence[str], depth: int
) -> tuple[dict[str, str], list[str], str]:
    """The class of each file, the files outside of all classes, and why there are no classes."""
    parts = {name: name.split("/")[depth:] for name in (*train, *test)}
    folders = {name: part[0] for name, part in parts.items() if len(part) > 1}
    inside = [name for name in train if name in folders]
    if len({folders[name] for name in inside}) < 2:
        return {}, [], ""
    loose = len(train) - len(inside)
    if loose > len(inside):
        return {}, [], f"no classes: {loose:,} of {len(train):,} files lie outside of their folders"
    return folders, [name for name in parts if name not in folders], ""


def _held_out(names: Sequence[str], classes: Mapping[str, str]) -> list[str]:
    """A tenth of each class, at least one of two or more."""
    ranked: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (zlib.crc32(os.fsencode(name)), name)):
        ranked.setdefault(classes.get(name, ""), []).append(name)
    return [name for part in ranked.values() for name in part[: _tenth(len(part))]]


def _tenth(count: int) -> int:
    return max(1, count // 10) if count > 1 else 0


def describe_classes(labels: Sequence[str], targets: Iterable[int]) -> str:
    """How many items each of the classes has: "cat 12, dog 30"."""
    counts = Counter(targets)
    said = [f"{label} {counts[index]}" for index, label in enumerate(labels)]
    more = f", and {len(said) - _SHOWN_CLASSES} more" if len(said) > _SHOWN_CLASSES else ""
    return ", ".join(said[:_SHOWN_CLASSES]) + more
