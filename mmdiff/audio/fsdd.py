"""The Free Spoken Digit Dataset (Z. Jackson et al., v1.0.10): 3,000 digits by six speakers.

Files are named {digit}_{speaker}_{index}.wav, with 50 of each digit by each speaker; the first
five of them are the test split, as its authors have it.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path

import pooch

from mmdiff.audio.folders import Held, HeldSound
from mmdiff.audio.sound import mix, read, resample
from mmdiff.conditions import Class
from mmdiff.data.downloads import NETWORK_SECONDS, download
from mmdiff.data.folders import for_each
from mmdiff.errors import UserError

_URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip"
_FOLDER = Path("fsdd", "recordings")
_COUNT = 3000
_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]|[1-4][0-9])\.wav")
_DIGITS = tuple("0123456789")
_TEST = 5  # of each digit by each speaker
_PEAK = 0.9


def open_fsdd(root: Path, split: str, sample_rate: int, channels: int) -> Held:
    """The spoken digits of a split, all in memory, each with a peak of 0.9.

    Args:
        root: of the data sets; the recordings are, or are downloaded to, `root`/fsdd/recordings.
        split: "train" or "test".
        sample_rate: in Hz; the recordings have 8000.
        channels: of the result; the recordings have one.

    Raises:
        UserError: recordings are missing and cannot be downloaded, or are broken.
    """
    folder = root / _FOLDER
    if not folder.is_dir():
        wanted = "the WAV files of the Free Spoken Digit Dataset"
        download("fsdd", root, folder, wanted, _fetch)
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    missing = _missing(names)
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} recordings, {missing[0]} among them: "
            "delete it and run again to download it anew, or put a whole copy in its place."
        )
    parts = [name.removesuffix(".wav").split("_") for name in names]
    speakers = tuple(sorted({speaker for _, speaker, _ in parts}))
    chosen = [k for k, part in enumerate(parts) if (int(part[2]) < _TEST) == (split == "test")]

    def load(index: int) -> HeldSound:
        path = folder / names[index]
        x, rate = read(path)
        x = mix(resample(x, rate, sample_rate), channels)
        peak = x.abs().max()
        if not peak > 0:
            raise UserError(f"{path} is silent: put a sound copy in its place.")
        return HeldSound(x * (_PEAK / peak))

    return Held(
        sounds=for_each(load, chosen, "reading fsdd"),
        sample_rate=sample_rate,
        files={names[index]: (folder / names[index]).stat().st_size for index in chosen},
        conditions={
            "label": Class(len(_DIGITS), _DIGITS),
            "speaker": Class(len(speakers), speakers),
        },
        told={
            "label": [int(parts[index][0]) for index in chosen],
            "speaker": [speakers.index(parts[index][1]) for index in chosen],
        },
        aligned=True,
    )


def _missing(names: Collection[str]) -> list[str]:
    """What is not there of all digits by those who speak at least one."""
    there = set(names)
    speakers = {name.split("_")[1] for name in there} or {"*"}
    whole = {f"{d}_{who}_{k}.wav" for d in _DIGITS for who in speakers for k in range(50)}
    return sorted(whole - there)


def _fetch(root: Path) -> None:
    """Get the archive, and unpack it below `root`."""
    fetch = pooch.HTTPDownloader(sys.stderr.isatty(), 1 << 16, timeout=NETWORK_SECONDS)
    pooch.get_logger().setLevel("WARNING")
    # GitHub packs the archive anew when it likes, so that no checksum would last.
    archive = Path(pooch.retrieve(_URL, None, "fsdd.zip", root, downloader=fetch))
    _unpack(archive, root / _FOLDER)
    archive.unlink()


def _unpack(archive: Path, folder: Path) -> None:
    """The recordings in a zip file into `folder`; zipfile checks each against its CRC."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as packed:
        for member in packed.namelist():
            *_, inner, name = ("", *member.split("/"))
            if inner == "recordings" and _NAME.fullmatch(name):
                (folder / name).write_bytes(packed.read(member))
    names = [path.name for path in folder.iterdir()]
    if len(names) != _COUNT or _missing(names):
        raise ValueError(f"the archive holds {len(names)} recordings, not {_COUNT:,}")
