"""What the thesis says of front ends and what was aimed at, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    at_least,
    audible,
    by_word,
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
    words = {p: word for p, group in groups.items() if (word := rule(group)) != UNMEASURED}
    if not words:
        return UNMEASURED, "no patches"
    each = ", ".join(
        f"{word} at {listed(str(p) for p in words if words[p] == word)}"
        for word in dict.fromkeys(words.values())
    )
    levels, tilt = levels_text(groups.values()), _trained(groups.values())
    return overall(words.values()), f"{each}; {levels}. {tilt}"


def _trained(groups: Iterable[Group]) -> str:
    """How far from real the sound is in which artefacts were sought."""
    tilts = [tilt for group in groups if (tilt := group.values("tilt_plain"))]
    if not tilts:
        return ""
    low, high = min(tilt.ends[0] for tilt in tilts), max(tilt.ends[1] for tilt in tilts)
    range_text = f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"
    return f"The mean spectrum of that sound is {range_text} dB from that of real clips"


def _falls(found: Found, study: Study) -> tuple[str, str]:
    qualities = {p: q for p, group in study.of("patch").items() if (q := quality_of(group))}
    small = [p for p in qualities if p <= LARGE]
    large = [p for p in qualities if p > LARGE]
    text = ", ".join(f"{one.values.text('.2f')} at {p}" for p, one in qualities.items())
    text = f"Fréchet distance / floor {text}" if qualities else "no patches"
    if not small or not large:
        return UNMEASURED, f"{text}; needs p up to {LARGE} and beyond, as `--frontends patch:128`"
    edge = qualities[max(small)]
    verdict = {WORSE: CONFIRMED, AS_GOOD: REFUTED}
    words = [verdict.get(compared(qualities[p], edge), OPEN) for p in large]
    already = [str(p) for p in small if compared(edge, qualities[p]) == WORSE]
    if already:
        text += f". At {LARGE} it is worse than at {listed(already)} already"
    return overall(words), text


def _stft(found: Found, study: Study) -> tuple[str, str]:
    group = study.groups.get("stft")
    quartiles = found.speed.quartiles("stft", "forward") if found.speed else None
    if group is None or quartiles is None or found.speed is None:
        return UNMEASURED, "needs the speed and the samples of `stft`"
    heard = CONFIRMED if CONFIRMED in (audible(group), _worst(study, group)) else OPEN
    word = overall([at_least(quartiles[0], quartiles[2], FAST), heard])
    text = f"{quartiles[1]:.3g} times as fast ({found.speed.clips}); {levels_text([group])}"
    if raw := study.groups.get("raw"):
        text += f"; the network that was heard trains {group.speed / raw.speed:.1f} times as fast"
    if distance := group.distance("plain"):
        text += f"; Fréchet distance / floor {distance.text('.1f')}"
    if accuracy := group.values("accuracy_plain"):
        text += f", {accuracy.mean:.0%} of the labels read right"
    return word, f"{text}. Noise that does not repeat with the hop shows in the distance alone"


def _worst(study: Study, group: Group) -> str:
    """Whether the sound is worse than that of every other front end."""
    own, names = quality_of(group), study.groups.keys() - {group.name}
    others = [one for name in names if (one := quality_of(study.groups[name]))]
    return overall([CONFIRMED if own and compared(own, one) == WORSE else OPEN for one in others])


def _best_trade(found: Found, study: Study) -> tuple[str, str]:
    name = f"learned:{LARGE}"
    own = quality_of(study.groups[name]) if name in study.groups else None
    if own is None:
        return UNMEASURED, f"needs `{name}`"
    others = {g.name: other for g in rivals(study, name) if (other := quality_of(g))}
    if not others:
        return UNMEASURED, f"needs others as fast as `{name}`"
    words = []
    for other in others.values():
        if compared(own, other) == WORSE:
            words.append(REFUTED)
        else:
            words.append(CONFIRMED if compared(other, own) == WORSE else OPEN)
    text = ", ".join(f"`{other}` {one.values.text('.2f')}" for other, one in others.items())
    return overall(words), (
        f"Fréchet distance / floor: `{name}` {own.values.text('.2f')}; of those as fast: {text}. "
        "Ours begins as an MDCT"
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
    return ", ".join(
        f"{word} at {listed(str(race.p) for race in of)}" for word, of in by_word(line).items()
    )
