"""Folders of voices and of noises from unpacked packages, to train and judge sound from sound on.

    python recipes/voices.py packages --out data     # data/README.md names the packages

It writes WAV files of 16 kHz, mono and 16 bits:

    data/voices/train/{en,fr,nsh,hibari}/*.wav    English, French, Russian; a synthetic one
    data/voices/test/{en,es,it,ru}/*.wav          other English sentences; other voices
    data/transcripts.csv                          what the English test clips say
    data/noises/train/*.wav                       ambience, weather, loops, percussion, babble
    data/noises/test/*.wav                        others of these, key strokes, coloured noise

No voice of the tests is heard in training, but for two: of `en` the sentences differ, and `es` is
the same person in another language.
"""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor

from mmdiff.audio import sound
from mmdiff.cli import run

RATE = 16_000  # Hz
SHORTEST = 0.5  # seconds of a clip of speech
QUIETEST = 0.003  # root mean square, about -50 dB of full scale
NO_SPEECH = ("beep", "silence", "2tone", "confbridge-join", "confbridge-leave", "monkeys")
HALF_SPEECH = ("vm-intro",)  # a tone is heard in it
HELD_OUT = 5  # one English sentence of so many is for the tests
SENTENCE = 4  # words at least
FIRST = 40  # of the clips of key strokes
LONG = ("ambi", "vinyl", "loop")  # kinds of samples that fill seconds on their own
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # how amplitude falls: frequency ** -slope


def main(packages: Path, out: Path = Path("data")) -> None:
    """Write the folders of voices and of noises.

    Args:
        packages: a folder that holds each package, unpacked, in a folder of its name.
        out: where to.
    """
    texts = transcripts(packages / "asterisk-core-sounds-en")
    for language in ("en", "fr", "es", "it", "ru"):
        clips = dict(speech(packages / f"asterisk-core-sounds-{language}-g722"))
        sentences = [name for name in clips if len(texts.get(name, "").split()) >= SENTENCE]
        tests = {"en": sentences[::HELD_OUT], "fr": []}.get(language, list(clips))
        for name, x in clips.items():
            split = "test" if name in tests else "train"
            write(out / "voices" / split / language / f"{name}.wav", x)
        if language == "en":
            said = [(f"voices/test/en/{name}.wav", texts.pop(name)) for name in tests]
            with (out / "transcripts.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("file", "text"), *said])
        if language != "es":
            split = "test" if language in ("it", "ru") else "train"
            heard = [x for name, x in clips.items() if split == "test" or name not in tests]
            write(out / f"noises/{split}/babble_{language}.wav", babble(heard))
    for path in sorted((packages / "festvox-ru").rglob("*.wav")):
        write(out / "voices/train/nsh" / path.name, read(path))
    for name, x in noises(packages / "sonic-pi-samples", packages / "bucklespring-data"):
        write(out / "noises" / f"{name}.wav", x)
    for name, x in scenes(packages / "megaglest-data"):
        write(out / "noises/train" / f"{name}.wav", x)
    for name, x in synthetic(packages / "hibari-tts", texts):
        write(out / "voices/train/hibari" / f"{name}.wav", x)


def transcripts(package: Path) -> dict[str, str]:
    """What is said in the clips of a language by name; what is no speech is in brackets there."""
    (path,) = package.rglob("core-sounds-*.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.strip().partition(": ") for line in file if not line.startswith(";")]
    told = {name.replace("/", "_"): text for name, _, text in lines}
    return {
        name: t for name, t in told.items() if t and is_speech(name) and not set(t) & set("[(<")
    }


def is_speech(name: str) -> bool:
    return not any(part in name for part in NO_SPEECH) and name not in HALF_SPEECH


def speech(package: Path) -> Iterator[tuple[str, Tensor]]:
    """The clips [1, L] of a voice by name, in order, but for tones, silence, and what is short."""
    (folder,) = package.glob("usr/share/asterisk/sounds/*")
    paths = {
        "_".join(path.relative_to(folder).with_suffix("").parts): path
        for path in folder.rglob("*.g722")
    }
    wanted = {name: paths[name] for name in sorted(paths) if is_speech(name)}
    with ThreadPoolExecutor(2) as pool:
        for name, x in zip(wanted, pool.map(decoded, wanted.values()), strict=True):
            if x.shape[1] >= SHORTEST * RATE and level(x) > QUIETEST:
                yield name, x


def decoded(path: Path) -> Tensor:
    """A file of G.722, which is 16 kHz and mono, by ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-f", "f32le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return torch.from_numpy(np.frombuffer(raw, np.float32).copy())[None]  # one file is empty


def synthetic(package: Path, texts: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    """The texts as a synthetic voice says them, by their names."""
    sys.path.append(str(package))
    say = import_module("hibari").Hibari()
    for name, text in texts.items():
        x = sound.resample(torch.from_numpy(say(text, seed=0))[None], 24_000, RATE)
        if x.shape[1] >= SHORTEST * RATE:
            yield name, x


def noises(samples: Path, keys: Path) -> Iterator[tuple[str, Tensor]]:
    """Noises [1, L] by split and name: long samples each, short ones by their kind."""
    torch.manual_seed(0)
    long, short = {}, dict[str, list[Tensor]]()
    for path in sorted(samples.rglob("*.flac")):
        kind = path.stem.split("_")[0]
        if kind in LONG:
            x = read(path)
            long[path.stem] = x.tile(-(-4 * RATE // x.shape[1]))  # four seconds at least
        else:
            short.setdefault(kind, []).append(read(path))
    tracks = {kind: one_after_another(clips, 30) for kind, clips in short.items()}
    for kinds in (long, tracks):
        for index, (name, x) in enumerate(kinds.items()):
            yield f"{'test' if index % 4 == 3 else 'train'}/{name}", x
    strokes = [read(path) for path in sorted(keys.rglob("*.wav"))]
    # In the tests alone: what is trained on must allow that models are given away.
    yield "test/typing", one_after_another(strokes[FIRST:], 60)
    for name, slope in COLOURS.items():
        yield f"test/{name}", coloured(slope, 30)


def scenes(package: Path) -> Iterator[tuple[str, Tensor]]:
    """What is heard out of doors [1, L], rain, wind, birds, insects, by the place and a name."""
    seen = set[bytes]()
    for path in sorted(package.rglob("tilesets/*/sounds/*")):
        if path.stat().st_size > 50_000 and path.read_bytes() not in seen:  # places share files
            seen.add(path.read_bytes())
            yield f"{path.parent.parent.name}_{path.stem}", read(path)


def one_after_another(clips: Sequence[Tensor], seconds: int) -> Tensor:
    """Clips drawn at random, a new one each 0.05 to 0.4 seconds, over those that still sound."""
    x = torch.zeros(1, seconds * RATE)
    start = 0
    while start < x.shape[1]:
        clip = clips[int(torch.randint(len(clips), ()))][:, : x.shape[1] - start]
        x[:, start : start + clip.shape[1]] += clip
        start += int(torch.empty(()).uniform_(0.05, 0.4) * RATE)
    return x


def babble(clips: Sequence[Tensor], voices: int = 6, seconds: int = 60) -> Tensor:
    """A voice that says `voices` things at once, equally loud."""
    torch.manual_seed(0)
    orders = [torch.randperm(len(clips)).tolist() for _ in range(voices)]
    talks = [torch.cat([clips[i] for i in order], 1)[:, : seconds * RATE] for order in orders]
    return torch.stack([talk / level(talk) for talk in talks]).sum(0)


def coloured(slope: float, seconds: int) -> Tensor:
    """Noise whose amplitude falls as frequency ** -slope, from 20 Hz on."""
    white = torch.fft.rfft(torch.randn(1, seconds * RATE))
    frequency = torch.fft.rfftfreq(seconds * RATE, 1 / RATE).clamp(min=20)
    x = torch.fft.irfft(white * frequency**-slope)
    return 0.1 * x / level(x)


def level(x: Tensor) -> float:
    """The root mean square."""
    return float(x.square().mean().sqrt())


def read(path: Path) -> Tensor:
    x, rate = sound.read(path)
    return sound.resample(sound.mix(x, 1), rate, RATE)


def write(path: Path, x: Tensor) -> None:
    """A WAV file, turned down where it goes beyond full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound.write(path, x / max(1.0, float(x.abs().max())), RATE)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "voices")
