"""Data sets of any modality: what they hold, and which options they take."""

from __future__ import annotations

import inspect
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdiff.cli.plain import arguments
from mmdiff.data.folders import find
from mmdiff.errors import UserError
from mmdiff.modality import Data, Modality, known, presets_of

# Where a flag is called otherwise than the argument.
_FLAGS = {"width": "--channels", "channels": "--stereo"}


def takes(modality: type[Modality], preset: str | None, task: str | None = None) -> set[str]:
    """The arguments of its data sets and of a preset (the usual one if None), if it has that."""
    presets = presets_of(modality, task)
    chosen = presets.get(preset or next(iter(presets)))
    return {*modality.options, *(inspect.signature(chosen).parameters if chosen else ())}


def modality_of(
    dataset: str, preset: str | None, options: Mapping[str, Any]
) -> tuple[type[Modality], str]:
    """The modality of a data set, and a sentence that says so where one may wonder, else "".

    A name has one. Of a folder the options decide if they are of one modality alone, else what most
    of the data are, in bytes: scanned covers do not make pictures of a folder of sounds.

    Raises:
        UserError: an unknown name, a folder that is missing or holds nothing, or a preset or an
            option that the modality does not have.
    """
    name, _, path = dataset.partition(":")
    if name == "folder" and path:
        modality, reason = _of_folder(Path(path).expanduser(), preset, options)
    else:
        named = [kind for kind in known() if dataset in kind.names]
        if not named:
            names = dict.fromkeys(name for kind in known() for name in kind.names)
            raise UserError(f"unknown data set {dataset!r}; known are {', '.join(names)}.")
        modality, reason = named[0], ""
    task = _task(options)
    presets = presets_of(modality, task)
    if preset not in (None, *presets):
        raise UserError(
            f"--preset {preset} is unknown for {modality.title}, which the data set {dataset} "
            f"holds: use {' or '.join(presets)}."
        )
    for option in options.keys() - takes(modality, preset, task):
        others = [kind.title for kind in known() if option in takes(kind, preset, task)]
        whose = f"is for {' and '.join(others)}" if others else "goes with no such preset"
        raise UserError(
            f"{_flag(option)} {whose}, and the data set {dataset} holds {modality.title}: leave "
            "it out."
        )
    return modality, f"{dataset} is taken for {modality.title}, as {reason}." if reason else ""


def _of_folder(
    root: Path, preset: str | None, options: Mapping[str, Any]
) -> tuple[type[Modality], str]:
    kinds, task = known(), _task(options)
    fits = [
        kind
        for kind in kinds
        if options.keys() <= takes(kind, preset, task) and preset in (None, *presets_of(kind, task))
    ]
    told = ["--preset"] * bool(preset) + [_flag(option) for option in options]
    reason = f"{told[0]} says" if 0 < len(fits) < len(kinds) else ""
    if len(fits) == 1:
        return fits[0], reason
    held = _held(root, fits or list(kinds))
    return held[0], reason or ("most of its data are" if len(held) > 1 else "")


def _held(root: Path, kinds: Sequence[type[Modality]]) -> list[type[Modality]]:
    """What a folder holds of `kinds`, by bytes, the most first.

    A file that may be of several, such as a GIF, is of the first.
    """
    suffixes = {suffix: kind for kind in reversed(kinds) for suffix in kind.suffixes}
    found = find(root, tuple(suffixes), " or ".join(kind.title for kind in kinds))
    held: Counter[type[Modality]] = Counter()
    for name, size in found.files.items():
        held[suffixes[os.path.splitext(name)[1].lower()]] += size + 1
    return [kind for kind, _ in held.most_common()]


def _task(options: Mapping[str, Any]) -> str | None:
    """The name of what is to be done: upsample of upsample:8000."""
    return options["task"].partition(":")[0] if "task" in options else None


def _flag(option: str) -> str:
    return _FLAGS.get(option, f"--{option.replace('_', '-')}")


def open_pairs(pair: tuple[str, str], data_dir: Path | None) -> tuple[Data, Data]:
    """Pairs to train on, and held-out ones, of two data sets that tell the same classes, or names.

    One folder, named twice, may hold both. The parts are called as one of what they hold is,
    `picture` and `sound`; of two alike, `first` and `second`.

    Raises:
        UserError: what `modality_of` and `open_both` raise; data that make no pairs.
    """
    from mmdiff.joint import Pairs
    from mmdiff.joint.pairs import NAME, Joined

    kinds = [modality_of(dataset, None, {})[0] for dataset in pair]
    if pair[0] == pair[1] and pair[0].startswith("folder:"):
        held = _held(Path(pair[0].removeprefix("folder:")).expanduser(), known())
        if len(held) > 1:
            kinds = sorted(held[:2], key=known().index)
    names = [kind.title.removesuffix("s") for kind in kinds]
    names = names if len(set(names)) > 1 else ["first", "second"]
    opened = [open_both(k, name, data_dir, {}, {}) for k, name in zip(kinds, pair, strict=True)]
    classes = all("label" in part.conditions for split in opened for part in split)
    if not classes:
        whole = {name: Joined(*splits) for name, splits in zip(names, opened, strict=True)}
        train, test = Pairs(whole, NAME, "train"), Pairs(whole, NAME, "test")
    else:
        with arguments():
            train, test = (
                Pairs(dict(zip(names, split, strict=True))) for split in zip(*opened, strict=True)
            )
    print(train.met())
    return train, test


def open_both(
    modality: type[Modality],
    dataset: str,
    data_dir: Path | None,
    options: Mapping[str, Any],
    augmentation: Mapping[str, Any],
) -> tuple[Data, Data]:
    """What is trained on, with augmentation, and what is held out, without.

    The summary of the first is printed, and what either warns of that is not in it.

    Raises:
        UserError: data that are missing or broken, or options that they cannot have.
    """
    with warnings.catch_warnings(record=True) as caught, arguments():
        warnings.simplefilter("always", UserWarning)
        data = modality.open(dataset, "train", data_dir, **options, **augmentation)
        held_out = modality.open(dataset, "test", data_dir, **options)
    summary = data.summary()
    print(summary)
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        if not text.endswith(tuple(summary.splitlines())):
            warnings.warn(text, stacklevel=2)
    return data, held_out
