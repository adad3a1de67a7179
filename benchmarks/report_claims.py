"""What the thesis says of front ends and what was aimed at, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from report_data import Group
from report_files import COMMANDS, Found, Study
from report_rules import (
    AS_GOOD,
    CONFIRMED,
    FAST,
    GAIN,
    NEARLY,
    OPEN,
    REFUTED,
    UNMEASURED,
    WORSE,
    Race,
    Verdict,
    at_each,
    at_least,
    audible,
    compared,
    levels_text,
    listed,
    measurable,
    nearly,
    overall,
    quality_of,
    race_word,
    races,
    rivals,
)

LARGE = 64  # the largest patch that the thesis finds good
NAMES = {"fsdd": "spoken digits", "synthetic": "synthetic sounds"}


def verdicts(found: Found) -> list[Verdict]:
    """In the order of the page."""
    return [
        *_faster(found),
        *_per_study(found),
        *_speed_target(found),
        *_artefact_target(found),
    ]


def missing(file: str) -> str:
    return f"`{COMMANDS[file]}` measures it"


def named(study: Study) -> str:
    return NAMES.get(study.dataset, study.dataset)


def _faster(found: Found) -> Iterator[Verdict]:
    claim = "Patching is nearly p times as fast for p = 2 to 32"
    for speed in found.speeds:
        yield Verdict(f"{claim} (clips of {speed.clips})", *nearly(speed, "patch"))
    if not found.speeds:
        yield Verdict(claim, UNMEASURED, missing("frontend_speed.json"))


def _per_study(found: Found) -> Iterator[Verdict]:
    claims = (
        ("Patching aliases measurably at every p", partial(_aliases, measurable)),
        ("Patching aliases audibly at every p", partial(_aliases, audible)),
        (f"With patches, quality falls for p > {LARGE}", _falls),
        ("The STFT (1024, hop 256) is fast, but its noise is audible", _stft),
        ("The learned transform of kernel 128 and stride 64 is the best trade", _best_trade),
    )
    for claim, judge in claims:
        for study in found.studies.values():
            if isinstance(judge, partial) or study.dataset == "fsdd":
                yield Verdict(f"{claim} ({named(study)})", *judge(found, study))
        if not found.studies:
            yield Verdict(claim, UNMEASURED, missing("frontend_quality.csv"))


def _aliases(rule: Callable[[Group], str], found: Found, study: Study) -> tuple[str, str]:
    groups = study.of("patch")
    words = at_each(groups, rule)
    return overall(words), levels_text(groups.values()) if words else "no patches"


def _falls(found: Found, study: Study) -> tuple[str, str]:
    qualities = {p: q for p, group in study.of("patch").items() if (q := quality_of(group))}
    small = [p for p in qualities if p <= LARGE]
    large = [p for p in qualities if p > LARGE]
    text = ", ".join(f"{value.text('.2f')} at {p}" for p, value in qualities.items())
    text = f"Fréchet distance / floor {text}" if qualities else "no patches"
    if not small or not large:
        return UNMEASURED, f"{text}; needs p up to {LARGE} and beyond, as `--frontends patch:128`"
    words = [compared(qualities[p], qualities[max(small)]) for p in large]
    as_claimed = {WORSE: CONFIRMED, AS_GOOD: REFUTED}
    return overall([as_claimed.get(word, OPEN) for word in words]), text


def _stft(found: Found, study: Study) -> tuple[str, str]:
    group = study.groups.get("stft")
    quartiles = found.speed.quartiles("stft", "forward") if found.speed else None
    if group is None or quartiles is None:
        return UNMEASURED, "needs the speed and the samples of `stft`"
    words = [at_least(quartiles[0], quartiles[2], FAST), audible(group)]
    text = f"{quartiles[1]:.3g} times as fast; {levels_text([group])}"
    if tilt := group.values("tilt_plain"):
        text += f"; tilt {tilt.text('.1f')} dB"
    text += ". Noise that does not repeat with the hop is not seen in these"
    return overall(words), text


def _best_trade(found: Found, study: Study) -> tuple[str, str]:
    name = f"learned:{LARGE}"
    ours = study.groups.get(name)
    own = quality_of(ours) if ours else None
    others = {
        group.name: value
        for group in rivals(found, study, name)
        if (value := quality_of(group)) is not None
    }
    if own is None or not others:
        return UNMEASURED, f"needs `{name}` and others as fast, and their speed"
    words = []
    for value in others.values():
        if compared(own, value) == WORSE:
            words.append(REFUTED)
        else:
            words.append(CONFIRMED if compared(value, own) == WORSE else OPEN)
    text = ", ".join(f"`{other}` {value.text('.2f')}" for other, value in others.items())
    return overall(words), (
        f"Fréchet distance / floor: `{name}` {own.text('.2f')}; of those as fast: {text}"
    )


def _speed_target(found: Found) -> Iterator[Verdict]:
    claim = f"Target: a speed-up of at least {NEARLY:g} p up to p = 32 on long clips"
    long = [speed for speed in found.speeds if "long" in speed.file]
    if not long:
        yield Verdict(claim, UNMEASURED, missing("frontend_speed_long.json"))
    for speed in long:
        for kind, name in (("patch", "patches"), ("mdct", "MDCT")):
            yield Verdict(f"{claim} ({speed.clips}; {name})", *nearly(speed, kind))


def _artefact_target(found: Found) -> Iterator[Verdict]:
    claim = (
        f"Target: MDCT or spun sampling at least {GAIN:g} dB below plain patching in spurs and "
        "phase variance, at the same p and equal quality"
    )
    for study in found.studies.values():
        lines = races(study)
        words = (f"{way}: {_words(line)}" for way, line in lines.items())
        evidence = f"{'; '.join(words)}. The numbers are below" if lines else "no pairs"
        yield Verdict(f"{claim} ({named(study)})", race_word(lines), evidence)
    if not found.studies:
        yield Verdict(claim, UNMEASURED, missing("frontend_quality.csv"))


def _words(line: Sequence[Race]) -> str:
    sizes = {
        word: [str(r.p) for r in line if r.word == word] for word in (CONFIRMED, REFUTED, OPEN)
    }
    return ", ".join(f"{word} at {listed(at)}" for word, at in sizes.items() if at)
