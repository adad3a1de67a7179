"""Image data sets by name: changing the data is changing one word.

The public sets come through torchvision, which also knows where to download them; what it reads is
kept as one uint8 tensor and turned into floats item by item.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets as tv
from torchvision.datasets import mnist as idx
from torchvision.transforms.v2 import functional as tvf

from mmdiff.errors import UserError
from mmdiff.files import folder_aside
from mmdiff.image.folders import Decoded, ImageFiles, open_folder

NAMES = ("mnist", "fashion-mnist", "kmnist", "cifar10", "celeba", "folder:PATH")

LARGEST = 1 << 12  # pixels of a side: a batch of larger images fits into no memory

_IDX_SETS = {"mnist": tv.MNIST, "fashion-mnist": tv.FashionMNIST, "kmnist": tv.KMNIST}
_CELEBA_SIZE = 64
_NETWORK_SECONDS = 30.0  # without an answer for this long there is no network
_REPLACE = "delete it and run again to download it anew, or put a sound copy in its place"


class Item(TypedDict):
    """One image: `x` float32 [C, H, W] in [-1, 1]; `label` -1 where there are none."""

    x: Tensor
    label: int


class Images(Dataset[Item]):
    """Images and their labels, see `open_images`.

    Attributes:
        name: what `open_images` was asked for.
        shape: (C, H, W) of every item.
        labels: the names of the classes, () if there are none.
    """

    def __init__(self, name: str, held: Decoded) -> None:
        self.name = name
        self.shape: tuple[int, int, int] = (
            held.pixels.shape[1],
            held.pixels.shape[2],
            held.pixels.shape[3],
        )
        self.labels = held.labels
        self._pixels = held.pixels
        self._targets = held.targets.tolist()

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Item:
        return {"x": self._pixels[index] / 127.5 - 1, "label": self._targets[index]}

    def __getitems__(self, indices: list[int]) -> list[Item]:
        """The items of a batch, converted at once: a DataLoader is three times faster by it."""
        if isinstance(self._pixels, ImageFiles):
            return [self[index] for index in indices]
        x = self._pixels[torch.tensor(indices)] / 127.5 - 1
        return [{"x": x[row], "label": self._targets[i]} for row, i in enumerate(indices)]


def open_images(
    name: str, split: str = "train", data_dir: Path | None = None, size: int | None = None
) -> Images:
    """A data set of images with values in [-1, 1].

    `folder:PATH` is any folder of images (PNG, JPEG, WebP, BMP, GIF, TIFF), at any depth. They are
    resized and centre-cropped to `size`, laid on white where transparent, and have one channel if
    all files are greyscale, else three. The folders right below PATH are the classes if there are
    several and no image lies outside of them. `train` and `test` below PATH are the splits;
    without them a tenth of the files, chosen by their names, is held out for "test". A file that
    cannot be read is left out with a warning.

    Args:
        name: one of `NAMES`.
        split: "train" or "test".
        data_dir: where the sets are, or are downloaded to; $MMDIFF_DATA or ./data if None. Not
            used by a folder.
        size: side of the images in pixels. If None: the data set's own (28 for MNIST and its kin,
            32 for CIFAR-10), 64 for CelebA (the faces' central 178x178 made smaller), and for a
            folder the shorter side of its first image, rounded down to a multiple of 4, from 4
            to 64.

    Raises:
        UserError: an unknown name; data that are missing and cannot be downloaded, or are broken;
            a size beyond `LARGEST`.
        ValueError: an unknown split or a size below 4.
    """
    if split not in ("train", "test"):
        raise ValueError(f'unknown split {split!r}; known are "train" and "test".')
    if size is not None and size < 4:
        raise ValueError(f"images need a size of at least 4 pixels, not {size}.")
    if size is not None and size > LARGEST:
        raise UserError(
            f"images of {size:,} x {size:,} pixels fit into no memory: choose a smaller --size, "
            f"{LARGEST:,} at most."
        )
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return Images(name, open_folder(Path(path).expanduser(), split, size))
    root = Path(data_dir or os.environ.get("MMDIFF_DATA") or "data").expanduser()
    if name in _IDX_SETS:
        return Images(name, _open_idx(name, split, root, size))
    if name == "cifar10":
        return Images(name, _open_cifar10(split, root, size))
    if name == "celeba":
        return Images(name, _open_celeba(split, root, size or _CELEBA_SIZE))
    raise UserError(f"unknown data set {name!r}; known are {', '.join(NAMES)}.")


def _resize(pixels: Tensor, size: int | None) -> Tensor:
    """[N, C, H, W] uint8 -> [N, C, size, size], antialiased, a few at a time to save memory."""
    if size is None or pixels.shape[2:] == (size, size):
        return pixels
    parts = (pixels[start : start + 4096] for start in range(0, len(pixels), 4096))
    return torch.cat([tvf.resize(part, [size, size], antialias=True) for part in parts])


def _open_idx(name: str, split: str, root: Path, size: int | None) -> Decoded:
    source = _IDX_SETS[name]
    prefix = "train" if split == "train" else "t10k"
    folder = root / source.__name__ / "raw"
    files = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    if not all((folder / file).is_file() for file in files):
        _download(name, lambda aside: source(aside, download=True), root, folder, files)
    images = _read_idx(folder / files[0], idx.read_image_file)
    targets = _read_idx(folder / files[1], idx.read_label_file)
    labels = tuple("0123456789") if name == "mnist" else tuple(source.classes)
    if len(images) != len(targets):
        raise UserError(
            f"{folder} holds {len(images)} images but {len(targets)} labels for the {split} split: "
            f"{_REPLACE}."
        )
    if not 0 <= int(targets.min()) <= int(targets.max()) < len(labels):
        raise UserError(f"{folder / files[1]} has labels beyond 0 to 9: {_REPLACE}.")
    return Decoded(_resize(images[:, None], size), targets, labels)


def _read_idx(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    try:
        return read(str(path))
    except Exception as error:  # asserts, index, value and type errors, by where it is cut
        raise UserError(f"{path} is cut or is not an idx file: {_REPLACE}.") from error


def _open_cifar10(split: str, root: Path, size: int | None) -> Decoded:
    folder = root / tv.CIFAR10.base_folder
    files = [file for file, _ in (*tv.CIFAR10.train_list, *tv.CIFAR10.test_list)]
    files.append(tv.CIFAR10.meta["filename"])
    if not all((folder / file).is_file() for file in files):
        _download("cifar10", lambda aside: tv.CIFAR10(aside, download=True), root, folder, files)
    try:
        source = tv.CIFAR10(root, train=split == "train")
    except RuntimeError as error:  # a checksum does not match: nothing of it was unpickled
        raise UserError(f"{folder} holds a cut or altered file: {_REPLACE}.") from error
    pixels = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return Decoded(_resize(pixels, size), torch.tensor(source.targets), tuple(source.classes))


def _open_celeba(split: str, root: Path, size: int) -> Decoded:
    folder = root / tv.CelebA.base_folder
    images = folder / "img_align_celeba"
    files = [file for _, _, file in tv.CelebA.file_list if file.endswith(".txt")]
    if not images.is_dir() or not all((folder / file).is_file() for file in files):
        wanted = [*files, f"{images.name}/"]
        _download("celeba", lambda aside: tv.CelebA(aside, download=True), root, folder, wanted)
    try:
        names = tv.CelebA(root, split=split, target_type=[]).filename
    except RuntimeError as error:
        raise UserError(f"{folder} holds a cut or altered list: {_REPLACE}.") from error
    with os.scandir(images) as entries:
        present = {entry.name for entry in entries if entry.stat().st_size}
    missing = sorted(set(names) - present)
    if missing:
        raise UserError(
            f"{images} lacks {len(missing)} of the {len(names)} images of the {split} split, "
            f"{missing[0]} among them: unpack img_align_celeba.zip there again."
        )
    # Decoded one by one: 162,770 faces would take 2 GB.
    pixels = ImageFiles([images / file for file in names], "RGB", size)
    return Decoded(pixels, torch.full((len(names),), -1), ())


def _download(
    name: str,
    fetch: Callable[[Path], object],
    root: Path,
    folder: Path,
    files: list[str] | tuple[str, ...],
) -> None:
    """Let torchvision `fetch` into a folder beside `root`'s own and move what arrived into place.

    It unpacks under the final names and believes any file that has one, so that in place an
    interrupted download would pass for a finished one.
    """
    try:
        with folder_aside(root) as aside, _timeout():
            fetch(aside)
            _move(aside, root)
    except Exception as error:  # every layer below has errors of its own
        # The last line has the cause, where there are several.
        reason = shorten((str(error).strip() or repr(error)).split("\n")[-1], 120)
        raise UserError(
            f"{name} is not in {root} and could not be downloaded ({reason}): "
            f"put {', '.join(files)} (unpacked) into {folder}, "
            "or name another folder with --data-dir or MMDIFF_DATA."
        ) from error


@contextmanager
def _timeout() -> Iterator[None]:
    """torchvision sets none, and would wait for minutes where packets are dropped."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move(source: Path, target: Path) -> None:
    """Everything in `source` into the folder `target`, whole folders at once where they are new."""
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move(entry, place)
        else:
            entry.replace(place)
