"""Data sets of any modality: what they hold, and which options they take."""

from __future__ import annotations

import inspect
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdiff.cli.plain import arguments
from mmdiff.data.folders import find
from mmdiff.data.turns import evenly
from mmdiff.errors import UserError
from mmdiff.modality import Data, Modality, known, presets_of

if TYPE_CHECKING:
    from mmdiff.joint import Pairs

# Where a flag is called otherwise than the argument.
_FLAGS = {"width": "--channels", "channels": "--stereo"}
_LENGTH = "seconds"  # the option
_OF_NO_PAIR = ("task", "noise", "native")  # pairs of another kind; sizes that differ
_LOOKED_AT = 4  # files of a kind that may be of several modalities


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


def _held(
    root: Path, kinds: Sequence[type[Modality]], within: bool = False
) -> list[type[Modality]]:
    """What a folder holds of `kinds`, by bytes, the most first.

    Files that may be of several, such as GIFs, are of the first, unless most of a few of them say
    that they are of another. What is `within` files of others, as sounds are in films, comes last.
    """
    suffixes = tuple(suffix for kind in kinds for suffix in kind.suffixes)
    found = find(root, suffixes, " or ".join(kind.title for kind in kinds))
    alike: dict[str, list[str]] = {}
    for name in found.files:
        alike.setdefault(os.path.splitext(name)[1].lower(), []).append(name)
    held: Counter[type[Modality]] = Counter()
    for suffix, names in alike.items():
        first, *others = (kind for kind in kinds if suffix in kind.suffixes)
        few = [root / names[k] for k in evenly(len(names), min(len(names), _LOOKED_AT))]
        kind = next((kind for kind in others if 2 * sum(map(kind.is_in, few)) > len(few)), first)
        held[kind] += sum(found.files[name] + 1 for name in names)
        held.update({kind: 0 for kind in kinds if within and suffix in kind.within})
    return [kind for kind, _ in held.most_common()]


def _task(options: Mapping[str, Any]) -> str | None:
    """The name of what is to be done: upsample of upsample:8000."""
    return options["task"].partition(":")[0] if "task" in options else None


def _flag(option: str) -> str:
    return _FLAGS.get(option, f"--{option.replace('_', '-')}")


def open_pairs(
    pair: tuple[str, str],
    data_dir: Path | None,
    options: Mapping[str, Any],
    augmentation: Mapping[str, Any],
) -> tuple[Pairs, Pairs]:
    """Pairs to train on, and held-out ones, of two data sets that tell the same classes, or names.

    One folder, named twice, may hold both, and films their sound. The parts are called as one of
    what they hold is, `picture` and `sound`; of two alike, `first` and `second`. Each is opened
    with those of the options that it takes; sounds are as long as videos if no option says.

    Raises:
        UserError: what `modality_of` and `open_both` raise; an option that no part takes; data that
            make no pairs.
    """
    from mmdiff.joint import Pairs
    from mmdiff.joint.pairs import NAME, Joined

    kinds = [modality_of(dataset, None, {})[0] for dataset in pair]
    if pair[0] == pair[1] and pair[0].startswith("folder:"):
        held = _held(Path(pair[0].removeprefix("folder:")).expanduser(), known(), within=True)
        if len(held) > 1:
            kinds = sorted(held[:2], key=known().index)
    for option in {**options, **augmentation}:
        if option in _OF_NO_PAIR or not any(option in kind.options for kind in kinds):
            said = " and ".join(kind.title for kind in kinds)
            raise UserError(f"{_flag(option)} is for no part of pairs of {said}: leave it out.")
    names = [kind.title.removesuffix("s") for kind in kinds]
    names = names if len(set(names)) > 1 else ["first", "second"]
    opened: dict[str, tuple[Data, Data]] = {}
    lasts: dict[str, float] = {}
    # Those of any length last, for they take that of the others.
    for k in sorted(range(len(pair)), key=lambda k: _LENGTH in kinds[k].options):
        own, how = (
            {option: value for option, value in given.items() if option in kinds[k].options}
            for given in ({**lasts, **options}, augmentation)
        )
        opened[names[k]] = open_both(kinds[k], pair[k], data_dir, own, how)
        data, _ = opened[names[k]]
        if data.modality.time and _LENGTH not in kinds[k].options:
            lasts = {_LENGTH: data.shape[1] / data.modality.rate}
    parts = {name: opened[name] for name in names}
    whole = {name: Joined(*splits) for name, splits in parts.items()}
    classes = all("label" in part.conditions for splits in parts.values() for part in splits)
    # Of one folder, what has the same name is of the same thing, whatever its class.
    one = pair[0] == pair[1] and kinds[0] is not kinds[1]
    if one and set.intersection(*(set(part.names) for part in whole.values())):
        classes = False
    with arguments():
        train, test = (
            Pairs({name: splits[k] for name, splits in parts.items()})
            if classes
            else Pairs(whole, NAME, split)
            for k, split in enumerate(("train", "test"))
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
