"""The public sets of images, which come through torchvision: it knows where to download them.

What it reads is one uint8 tensor, but for CelebA's faces, which stay files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torchvision import datasets as tv
from torchvision.datasets import mnist as idx
from torchvision.transforms.v2 import functional as tvf

from mmdiff.data.downloads import download
from mmdiff.errors import UserError
from mmdiff.image.decoding import Sides
from mmdiff.image.folders import Decoded, ImageFiles

_IDX_SETS = {"mnist": tv.MNIST, "fashion-mnist": tv.FashionMNIST, "kmnist": tv.KMNIST}
NAMES = (*_IDX_SETS, "cifar10", "celeba")

_CELEBA_SIDES = (64, 64)
_REPLACE = "delete it and run again to download it anew, or put a sound copy in its place"


def open_public(name: str, split: str, root: Path, sides: Sides | None, whole: bool) -> Decoded:
    """The set `name`, one of `NAMES`, in the folder `root` of all sets; see `open_images`."""
    if name == "cifar10":
        return _open_cifar10(split, root, sides, whole)
    if name == "celeba":
        return _open_celeba(split, root, sides or _CELEBA_SIDES, whole)
    return _open_idx(name, split, root, sides, whole)


def _open_idx(name: str, split: str, root: Path, sides: Sides | None, whole: bool) -> Decoded:
    source = _IDX_SETS[name]
    prefix = "train" if split == "train" else "t10k"
    folder = root / source.__name__ / "raw"
    files = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    _get(name, source, root, folder, files)
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
    pixels = _resize(rearrange(images, "n h w -> n 1 h w"), sides, whole)
    return Decoded(pixels, targets, labels, _listing(folder, files), sides=sides)


def _read_idx(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    try:
        return read(str(path))
    except Exception as error:  # asserts, index, value and type errors, by where it is cut
        raise UserError(f"{path} is cut or is not an idx file: {_REPLACE}.") from error


def _open_cifar10(split: str, root: Path, sides: Sides | None, whole: bool) -> Decoded:
    folder = root / tv.CIFAR10.base_folder
    files = [file for file, _ in (*tv.CIFAR10.train_list, *tv.CIFAR10.test_list)]
    files.append(tv.CIFAR10.meta["filename"])
    _get("cifar10", tv.CIFAR10, root, folder, files)
    try:
        source = tv.CIFAR10(root, train=split == "train")
    except RuntimeError as error:  # a checksum does not match: nothing of it was unpickled
        raise UserError(f"{folder} holds a cut or altered file: {_REPLACE}.") from error
    pixels = rearrange(torch.from_numpy(source.data), "n h w c -> n c h w").contiguous()
    targets, labels = torch.tensor(source.targets), tuple(source.classes)
    return Decoded(
        _resize(pixels, sides, whole), targets, labels, _listing(folder, files), sides=sides
    )


def _open_celeba(split: str, root: Path, sides: Sides, whole: bool) -> Decoded:
    folder = root / tv.CelebA.base_folder
    images = folder / "img_align_celeba"
    files = [file for _, _, file in tv.CelebA.file_list if file.endswith(".txt")]
    _get("celeba", tv.CelebA, root, folder, [*files, f"{images.name}/"])
    try:
        names = tv.CelebA(root, split=split, target_type=[]).filename
    except RuntimeError as error:
        raise UserError(f"{folder} holds a cut or altered list: {_REPLACE}.") from error
    with os.scandir(images) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    missing = sorted(name for name in names if not sizes.get(name))
    if missing:
        raise UserError(
            f"{images} lacks {len(missing)} of the {len(names)} images of the {split} split, "
            f"{missing[0]} among them: unpack img_align_celeba.zip there again."
        )
    # Decoded one by one: 162,770 faces would take 2 GB.
    pixels = ImageFiles([images / name for name in names], "RGB", sides, whole)
    none = torch.full((len(names),), -1)
    return Decoded(pixels, none, files={name: sizes[name] for name in names})


def _get(name: str, source: Any, root: Path, folder: Path, files: Sequence[str]) -> None:
    """Let torchvision download what is not there."""
    if not all((folder / file).exists() for file in files):
        wanted = f"{', '.join(files)} (unpacked)"
        download(name, root, folder, wanted, lambda aside: source(aside, download=True))


def _listing(folder: Path, files: Sequence[str]) -> dict[str, int]:
    return {file: (folder / file).stat().st_size for file in files}


def _resize(pixels: Tensor, sides: Sides | None, whole: bool) -> Tensor:
    """[N, C, H, W] uint8, antialiased, to cover `sides`; the middle of it unless `whole`."""
    if sides is None or pixels.shape[2:] == sides:
        return pixels
    scale = max(side / size for side, size in zip(sides, pixels.shape[2:], strict=True))
    covering = [round(size * scale) for size in pixels.shape[2:]]
    kept = covering if whole else list(sides)
    parts = (  # a few at a time, to save memory
        tvf.center_crop(tvf.resize(part, covering, antialias=True), kept)
        for part in pixels.split(4096)
    )
    return torch.cat(list(parts))
