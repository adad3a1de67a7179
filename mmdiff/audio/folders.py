"""Any folder of sound files as sounds of one rate and one number of channels.

Nothing about the files is trusted: every one is decoded in full when the folder is opened, so that
a cut, foreign or silent file costs a warning there and never a crash in the middle of an epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mmdiff.audio.sound import (
    SUFFIXES,
    SoundInfo,
    blocks,
    mix,
    probe,
    read_resampled,
    resampled_length,
)
from mmdiff.errors import UserError
from mmdiff.folders import choose, find, for_each, some, warn_of_skipped

CACHE_BYTES = 1 << 30  # decoded sounds up to this size stay in memory
_SILENCE = 1e-4  # a peak below this, -80 dB of full scale, is dither at most


@dataclass(frozen=True)
class StoredSound:
    """A sound file that is decoded when it is asked for, a part at a time.

    Attributes:
        path, info: the file, and what its header says.
        sample_rate, channels: what its parts come in.
        gain: what its values are multiplied by, so that they lie in [-1, 1].
    """

    path: Path
    info: SoundInfo
    sample_rate: int
    channels: int
    gain: float = 1.0

    @property
    def length(self) -> int:
        """In frames at `sample_rate`."""
        return resampled_length(self.info.frames, self.info.sample_rate, self.sample_rate)

    @property
    def decoded_bytes(self) -> int:
        """As float32, before or after all changes, whichever is more."""
        return 4 * max(self.info.frames * self.info.channels, self.length * self.channels)

    def part(self, start: int, frames: int) -> Tensor:
        """[channels, frames], the same whichever part is asked for.

        Raises:
            UserError: the file has gone, or is not what it was.
        """
        try:
            x = read_resampled(self.path, self.info, self.sample_rate, start, frames)
        except ValueError as error:
            raise UserError(f"{self.path} became shorter: open the folder again.") from error
        # Between its samples a sound may be louder than at them, which resampling brings out.
        return (mix(x, self.channels) * self.gain).clamp(-1, 1)

    def peak(self) -> float | None:
        """The largest magnitude in all of the file as it is mixed; None if it cannot be read."""
        try:
            return max(float(mix(x, self.channels).abs().max()) for x in blocks(self.path))
        except UserError:
            return None


@dataclass(frozen=True)
class Held:
    """The sounds of one split.

    Attributes:
        sounds: [C, L] each, in [-1, 1], of any length.
        sample_rate: in Hz.
        targets, labels: the class of each sound, -1 = none, and the names of the classes.
        voices, speakers: the same for who speaks.
        aligned: each sound is one thing that begins at its beginning, such as a word; otherwise
            any part of it will do.
    """

    sounds: Sequence[Tensor | StoredSound]
    sample_rate: int
    targets: Sequence[int]
    labels: tuple[str, ...] = ()
    voices: Sequence[int] | None = None
    speakers: tuple[str, ...] = ()
    aligned: bool = False


def open_folder(root: Path, split: str, sample_rate: int | None, channels: int) -> Held:
    """The sounds under `root`, at any depth; see `datasets.open_sounds` for the rules.

    Raises:
        UserError: `root` is missing, is not a folder or holds no sound that can be read and heard.
    """
    found = find(root, SUFFIXES, "sounds")
    headers = for_each(_header, [root / name for name in found], "listing sounds")
    infos = {name: info for name, info in zip(found, headers, strict=True) if info is not None}
    if not infos:
        raise UserError(
            f"{root} holds no readable sound: replace its files ({some(found)}), none of which "
            "opens."
        )
    # Both splits decide the rate from all files, so that they always agree.
    rates = Counter(info.sample_rate for info in infos.values())
    sample_rate = sample_rate or max(rates, key=lambda rate: (rates[rate], rate))

    names, classes = choose(list(infos), split)
    files = [StoredSound(root / name, infos[name], sample_rate, channels) for name in names]
    peaks = for_each(StoredSound.peak, files, "checking sounds")
    kept = [index for index, peak in enumerate(peaks) if peak is not None and peak >= _SILENCE]
    if not kept:
        raise UserError(
            f"{root} holds no sound for the {split} split: every file that belongs to it "
            f"({some(names)}) is broken or silent; replace such files, or take them out."
        )
    bad = [name for name in found if name not in infos]
    bad += [name for name, peak in zip(names, peaks, strict=True) if peak is None]
    quiet = (peak is not None and peak < _SILENCE for peak in peaks)
    silent = [name for name, is_quiet in zip(names, quiet, strict=True) if is_quiet]
    warn_of_skipped(root, bad, "unreadable")
    warn_of_skipped(root, silent, "silent")

    sounds = [replace(files[index], gain=1 / max(1.0, peaks[index] or 0)) for index in kept]
    labels = tuple(sorted(set(classes.values())))
    targets = [labels.index(classes[names[index]]) if labels else -1 for index in kept]
    if sum(sound.decoded_bytes for sound in sounds) > CACHE_BYTES:
        return Held(sounds, sample_rate, targets, labels)
    decoded = for_each(lambda sound: sound.part(0, sound.length), sounds, "reading sounds")
    return Held(decoded, sample_rate, targets, labels)


def _header(path: Path) -> SoundInfo | None:
    try:
        return probe(path)
    except UserError:
        return None
