"""A modality: what a signal is to people, and to their files.

One frozen dataclass in each modality's folder. The command line, the looks of a training and the
checkpoints know pictures, sounds and what may come by this alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from PIL.Image import Image
from torch import Tensor

from mmdiff.conditions import Condition
from mmdiff.recipe import Recipe

Rows = Sequence[tuple[str, Tensor]]  # a name, and signals [N, C, *spatial] side by side


class Data(Protocol):
    """A data set: items are {"x": Tensor [C, *spatial], and by name what `conditions` tell of it}.

    Attributes:
        name: the word that it was opened by.
        shape: of every x; where `shapes` tell that of each, one that many have.
        conditions: what is known of each item beside x.
        modality: what x is.
        identity: a digest of what it holds, whatever the folder is called and wherever it lies.
        costly: items are decoded when they are asked for.
    """

    name: str
    shape: tuple[int, ...]
    conditions: Mapping[str, Condition]
    identity: str
    costly: bool

    @property
    def modality(self) -> Modality: ...

    def summary(self) -> str:
        """What was found, and what was left out and why, in a few lines."""

    def visit(self, index: int, count: int) -> dict[str, Any]:
        """Item `index` at its visit number `count`: another crop, or the same again."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class Modality(ABC):
    """See the head of this module; a signal x is [C, *spatial], in the units of `data_range`."""

    title: ClassVar[str]  # what many of them are called: pictures
    names: ClassVar[tuple[str, ...]]  # data sets that it knows, beside folder:PATH
    suffixes: ClassVar[tuple[str, ...]]  # of files that it reads
    within: ClassVar[tuple[str, ...]] = ()  # of files that hold more, such as films of sounds
    writes: ClassVar[tuple[str, ...]]  # of files that it writes, the usual one first
    options: ClassVar[tuple[str, ...]]  # arguments of `open` that are its own
    batch: ClassVar[int]  # samples that are drawn at a time, where the user does not say
    count: ClassVar[int | None]  # samples that are drawn; None: one for each class
    frames: ClassVar[int]  # pictures in an animation of what it shows, at most
    shown: ClassVar[int] = 10_000  # samples in one picture, at most
    rest: ClassVar[float] = 0.0  # what x is where there is nothing, such as silence
    time: ClassVar[int | None] = None  # the axis of x [C, *spatial] that is time, if there is one
    repairs: ClassVar[tuple[str, ...]] = ("denoise", "vary")  # of `mmdiff restore`, by its options
    folders: ClassVar[bool] = False  # whether one may be a folder, such as of frames

    @property
    @abstractmethod
    def data_range(self) -> tuple[float, float]:
        """The values that x spans."""

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Whether a file says that it is one of these, though others have its suffix too."""
        return False

    @classmethod
    @abstractmethod
    def open(cls, dataset: str, split: str, data_dir: Path | None = None, **options: Any) -> Data:
        """One of `names`, or `folder:PATH`; `split` is "train" or "test"."""

    @classmethod
    @abstractmethod
    def presets(cls) -> Mapping[str, Any]:
        """Functions by name, the usual one first, from a data set (and options) to a `Recipe`."""

    @classmethod
    def tasks(cls) -> Mapping[str, Mapping[str, Any]]:
        """Such presets for each task that its data sets can be opened for, such as enhancing."""
        return {}

    @abstractmethod
    def read(self, path: Path | str, shape: Sequence[int]) -> Tensor:
        """A file as x of a model of such a shape; of a signal of any length all that there is."""

    @abstractmethod
    def write(self, x: Tensor, path: Path | str, note: Mapping[str, str] | None = None) -> None:
        """A file of one x [C, *spatial], or of many [N, C, *spatial], by the suffix of `path`.

        What lies beyond `data_range` is clipped; a .png is what `show` makes.
        """

    def files(self, path: Path | str, many: bool = False) -> Sequence[Path]:
        """The files that `write` makes of one x, or of many, for `path`; known before any x is.

        Raises:
            UserError: `write` would refuse such a path.
        """
        return [Path(path)]

    def beyond(self, x: Tensor) -> Tensor:
        """Which of many signals [N, C, *spatial] `write` clips by more than a hair: bool [N]."""
        low, high = self.data_range
        slack = (high - low) / 1000
        return ((x < low - slack) | (x > high + slack)).flatten(1).any(1)

    @abstractmethod
    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image:
        """A picture of rows of signals, with captions above the columns."""

    def heard(self, x: Tensor) -> tuple[Tensor, int] | None:
        """Many signals [N, C, *spatial] to listen to in one go; None of what makes no sound.

        That is [C, L] in [-1, 1], and the rate in Hz.
        """
        return None

    def seen(self, x: Tensor) -> tuple[list[Image], float] | None:
        """One signal [C, *spatial] to watch; None of what cannot be seen.

        That is frames, and how many there are a second: 0 for a picture that stands still.
        """
        return None

    @abstractmethod
    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        """What there is to say of signals of a shape, such as their rate, by name."""

    @property
    def rate(self) -> float:
        """Positions a second along `time`.

        Raises:
            ValueError: signals without time.
        """
        raise ValueError(f"{self.title} have no length: leave seconds out.")

    def sized(self, shape: Sequence[int], sides: tuple[int, int]) -> tuple[int, ...]:
        """The shape of a signal that is like those of `shape`, but so high and wide.

        Raises:
            ValueError: signals without height and width.
        """
        raise ValueError(f"{self.title} have no height and width: leave size out.")

    def lasting(self, shape: Sequence[int], seconds: float) -> tuple[int, ...]:
        """The shape of a signal that is like those of `shape`, but so many seconds long.

        Raises:
            ValueError: signals without time.
        """
        long = max(1, round(seconds * self.rate))
        return tuple(long if axis == self.time else side for axis, side in enumerate(shape))


def known() -> tuple[type[Modality], ...]:
    """All modalities that come with the library, of which nothing is imported before."""
    homes = {"image": "Pictures", "audio": "Sound", "video": "Video"}
    return tuple(getattr(import_module(f"mmdiff.{home}.modality"), homes[home]) for home in homes)


def presets_of(modality: type[Modality], task: str | None) -> Mapping[str, Any]:
    """The presets for a task, or where no task, or an unknown one, is named, the others."""
    return modality.tasks().get(task or "") or modality.presets()


def recipe_of(modality: type[Modality], preset: str | None, data: Data, **options: Any) -> Recipe:
    """The recipe that a preset (the usual one if None) makes for `data`, and for its task.

    Raises:
        ValueError: an unknown preset.
    """
    presets = presets_of(modality, getattr(getattr(data, "task", None), "name", None))
    name = next(iter(presets)) if preset is None else preset
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}; of {modality.title} {', '.join(presets)}.")
    recipe: Recipe = presets[name](data, **options)
    return recipe
