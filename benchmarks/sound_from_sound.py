"""How good are enhancer, upsampler and vocoder on voices and noises that no one trained them on?

    python benchmarks/sound_from_sound.py data/voices/test data/noises/test     # about an hour
    python benchmarks/sound_from_sound.py ... --model enhance=runs/mine/model.safetensors

recipes/voices.py writes the folders. Of the voices `it` and `ru` some clips of 2 s or more are
taken, at most 8 s of each. Peers do the same work in the same run; a model that is neither bundled
nor named is left out.

- enhance: noise at 0 to 15 dB below the speech, all noises in turn; a simulated room, with noise at
  15 dB; and clean speech, which should come out as it went in. "0 to 15 dB" are all four together.
- upsample: from 8 to 16 kHz; "high" is the log-spectral distance above 4 kHz alone.
- vocode: from 80 mel bands. - words: word errors on English sentences, where they are at hand.

A figure has its 95% interval, from a bootstrap over clips, and beside it how much more it is than
of the first method of the same work, which is to leave the input as it is, or a peer; that has its
interval over the same clips. times_real_time is with all threads of torch. A second file has the
models' figures by the number of network calls.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rows import Rows, about, digits, parse, parser
from sound_peers import griffin_lim, reduced, room, wiener
from torch import Tensor

import mmdiff
from mmdiff.audio import Mel, convert, sound
from mmdiff.audio.degradations import low_band
from mmdiff.audio.levels import active_level, ratio
from mmdiff.checkpoints import bundled
from mmdiff.data.turns import evenly
from mmdiff.diffusion import Diffusion
from mmdiff.metrics import paired

RATE, LOW = 16_000, 8_000  # Hz
LONGEST, SHORTEST = 8 * RATE, 2 * RATE  # samples
MEL = Mel(RATE)
VOICES = ("it", "ru")
SNRS = (0, 5, 10, 15)  # dB
FIGURES = {
    "enhance": ("si_sdr", "pesq", "estoi", "dnsmos"),
    "upsample": ("spectral", "high", "pesq", "estoi"),
    "vocode": ("mel", "spectral", "pesq", "estoi", "dnsmos"),
}
BUNDLED = {"enhance": "enhancer", "upsample": "upsampler", "vocode": "vocoder"}
WHAT = {"enhance": "5 dB", "upsample": "8 kHz", "vocode": "80 mel bands"}

JUDGES: dict[str, Callable[[Tensor, Tensor, int], float]] = {
    **paired.FIGURES,
    "high": partial(paired.log_spectral_distance, above=LOW / 2),
    # A distortion-free output would make a mean infinite.
    "si_sdr": lambda *pair: min(paired.si_sdr(*pair), 60.0),
}

Method = Callable[[Tensor], Tensor]  # [1, L] -> [1, L] or more


@dataclass(frozen=True)
class Clip:
    """What is true and what a method is given, both [1, L] at RATE, and what is said if known."""

    true: Tensor
    given: Tensor
    said: str = ""


@dataclass(frozen=True)
class Work:
    """Figures of what a method made, each a number a clip; seconds of sound and of computing."""

    values: dict[str, list[float]]
    sound: float
    computing: float

    def columns(self, first: Work) -> dict[str, float]:
        """Of a row; `first` is what it is compared with."""
        found: dict[str, float] = {}
        for name, values in self.values.items():
            more = [a - b for a, b in zip(values, first.values[name], strict=True)]
            for column, mean in ((name, paired.mean(values)), (f"{name}_more", paired.mean(more))):
                for end, value in zip(("", "_low", "_high"), mean, strict=True):
                    found[column + end] = digits(value)
        return {**found, "times_real_time": digits(self.sound / self.computing)}


def averaged(works: Sequence[Work]) -> Work:
    """One number a clip, of works on the same clips: so that an interval is over clips still."""
    values = {
        name: [sum(of_clip) / len(works) for of_clip in zip(*columns, strict=True)]
        for name in works[0].values
        for columns in [[work.values[name] for work in works]]
    }
    return Work(values, sum(w.sound for w in works), sum(w.computing for w in works))


def clips(voices: Path, count: int) -> list[tuple[str, Tensor]]:
    """(voice, clip), the voices in turn, evenly out of all that are long enough."""
    found = []
    for voice in VOICES:
        read = (sound.read(path)[0] for path in sorted((voices / voice).glob("*.wav")))
        long = [whole(x[:, :LONGEST]) for x in read if x.shape[1] >= SHORTEST]
        places = evenly(len(long), min(count // len(VOICES), len(long)))
        found.append([(voice, long[place]) for place in places])
    return [clip for both in zip(*found, strict=False) for clip in both]


def sentences(voices: Path, count: int) -> list[tuple[Tensor, str]]:
    """English clips and what they say, by transcripts.csv two folders above; none without that."""
    path = voices.parents[1] / "transcripts.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    return [(whole(sound.read(path.parent / row["file"])[0]), row["text"]) for row in rows]


def whole(x: Tensor) -> Tensor:
    """[1, L] without what is no whole frame: so that all methods keep the length."""
    return x[:, : x.shape[1] // MEL.hop * MEL.hop]


def mixed(x: Tensor, heard: Tensor, noise: Tensor, snr: float, place: float) -> Clip:
    """`x`, and `heard` in noise from `place` in [0, 1) on; both quieter where that is too loud."""
    part = noise.roll(-int(place * noise.shape[1]), 1)
    part = part.repeat(1, -(-x.shape[1] // noise.shape[1]))[:, : x.shape[1]]
    level = float(part.square().mean().sqrt()) * ratio(snr)
    noisy = heard + part * (active_level(x, RATE) / level if level else 0.0)
    loudest = max(1.0, float(noisy.abs().max()))
    return Clip(x / loudest, noisy / loudest)


def damaged(
    speech: Sequence[tuple[str, Tensor]], noises: dict[str, Tensor]
) -> dict[str, list[Clip]]:
    """By what was done; nobody speaks against babble of their own voice."""
    done: dict[str, list[Clip]] = {}
    for index, (voice, x) in enumerate(speech):
        place = index / len(speech)
        others = [noise for name, noise in noises.items() if name != f"babble_{voice}"]
        for turn, snr in enumerate(SNRS):
            noise = others[(index + 5 * turn) % len(others)]
            done.setdefault(f"{snr} dB", []).append(mixed(x, x, noise, snr, place))
        heard = room(x, RATE, index)
        noisy = mixed(x, heard, others[(index + 3) % len(others)], SNRS[-1], place)
        done.setdefault("room, 15 dB", []).append(noisy)
        done.setdefault("clean", []).append(Clip(x, x))
    return done


def given(task: str, args: Any) -> dict[str, list[Clip]]:
    """What methods are given, by what it is; English sentences come last, if there are any."""
    speech, spoken = clips(args.voices, args.count), sentences(args.voices, args.count)
    if task != "enhance":
        done = {WHAT[task]: [Clip(x, x) for _, x in speech]}
        said = [Clip(x, x, text) for x, text in spoken]
    else:
        noises = {path.stem: sound.read(path)[0] for path in sorted(args.noises.glob("*.wav"))}
        done = damaged(speech, noises)
        noise = list(noises.values())
        said = [
            replace(mixed(x, x, noise[index % len(noise)], 5, index / len(spoken)), said=text)
            for index, (x, text) in enumerate(spoken)
        ]
    return {**done, f"{WHAT[task]}, English": said} if said else done


def methods(task: str, model: Diffusion | None, **how: Any) -> dict[str, Method]:
    """By name; the one that others are compared with comes first."""
    peers: dict[str, dict[str, Method]] = {
        "enhance": {
            "input": lambda x: x,
            "noisereduce, stationary": partial(reduced, sample_rate=RATE, stationary=True),
            "noisereduce": partial(reduced, sample_rate=RATE, stationary=False),
            "Wiener": partial(wiener, sample_rate=RATE),
        },
        "upsample": {"soxr": lambda x: low_band(x, RATE, LOW)},
        "vocode": {"Griffin-Lim": lambda x: griffin_lim(MEL.of(x)[0], MEL, x.shape[1])},
    }
    if model is None:
        return peers[task]
    ours: dict[str, Method] = {
        "enhance": lambda x: convert.enhance(x, RATE, model, **how),
        "upsample": lambda x: convert.upsample(sound.resample(x, RATE, LOW), LOW, model, **how),
        "vocode": lambda x: convert.vocode(MEL.of(x), model=model, **how),
    }
    return {**peers[task], "mmdiff": ours[task]}


def work(method: Method, group: Sequence[Clip], names: Sequence[str]) -> Work:
    """What a method makes of clips, judged: by the words where they are known, else by `names`."""
    start = time.perf_counter()
    made = [method(clip.given) for clip in group]
    computing = time.perf_counter() - start
    values: dict[str, list[float]] = {}
    for y, clip in zip(made, group, strict=True):
        if clip.said:
            values.setdefault("words", []).append(paired.word_errors(y, clip.said, RATE))
        for name in () if clip.said else names:
            values.setdefault(name, []).append(JUDGES[name](y, clip.true, RATE))
    return Work(values, sum(clip.true.shape[1] for clip in group) / RATE, computing)


def compare(task: str, model: Diffusion | None, groups: dict[str, list[Clip]], args: Any) -> None:
    """Add a row for each method on each group, and on those with noise alone together."""
    rows = Rows(args.out / "sound_from_sound.csv", ("task", "given", "method"))
    noisy: dict[str, list[Work]] = {}

    def add(what: str, name: str, done: Work, first: Work, count: int) -> None:
        rows.add({
            "task": task, "given": what, "method": name, "clips": count, **done.columns(first),
            **about("cpu", "librosa", "noisereduce", "pesq", "pystoi", "speechmos"),
        })  # fmt: skip

    for what, group in groups.items():
        all_methods = methods(task, model)
        if group[0].said and task != "enhance":
            all_methods["true sound"] = lambda x: x
        first = None
        for name, method in all_methods.items():
            done = work(method, group, FIGURES[task])
            first = first or done
            add(what, name, done, first, len(group))
            if what in {f"{snr} dB" for snr in SNRS}:
                noisy.setdefault(name, []).append(done)
    for name, works in noisy.items():
        first = averaged(next(iter(noisy.values())))
        add(f"{SNRS[0]} to {SNRS[-1]} dB", name, averaged(works), first, len(groups["clean"]))


def by_calls(task: str, model: Diffusion, group: Sequence[Clip], args: Any) -> None:
    """Add a row for each number of network calls that the model's solver can do with."""
    rows = Rows(args.out / "sound_from_sound_calls.csv", ("task", "given", "calls"))
    first = None
    for steps in args.steps:
        calls = convert.settings(model, steps).method().plan(model.schedule).calls
        done = work(methods(task, model, steps=steps)["mmdiff"], group, FIGURES[task])
        first = first or done
        rows.add({
            "task": task, "given": WHAT[task], "calls": calls, "clips": len(group),
            **done.columns(first), **about(),
        })  # fmt: skip


def main() -> None:
    made = parser(__doc__, steps=(1, 2, 4, 8, 16, 50))
    made.add_argument("voices", type=Path, help="a folder with folders it and ru, and en for words")
    made.add_argument("noises", type=Path, help="a folder of recorded noise")
    made.add_argument("--tasks", nargs="+", default=list(FIGURES), choices=list(FIGURES))
    made.add_argument("--model", action="append", default=[], metavar="TASK=PATH")
    made.add_argument("--count", type=int, default=60, help="clips for each figure")
    args = parse(made, count=2, steps=(1, 2))
    paths = {task: name for task, name in BUNDLED.items() if name in bundled()}
    paths |= dict(pair.split("=", 1) for pair in args.model)
    for task in args.tasks:
        model = mmdiff.load(paths[task]) if task in paths else None
        groups = given(task, args)
        compare(task, model, groups, args)
        if model is not None:
            by_calls(task, model, groups[WHAT[task]][: args.count // 3 or 1], args)


if __name__ == "__main__":
    main()
