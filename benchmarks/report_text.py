"""The sentences of `report.py` that depend on what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from report_claims import missing, named
from report_data import Values
from report_files import Found, Speed, Study
from report_rules import (
    AS_GOOD,
    CONFIRMED,
    GAIN,
    OPEN,
    REFUTED,
    WORSE,
    Race,
    audible,
    best_use,
    compared,
    listed,
    measurable,
    races,
)

NEAR = 2.0  # times the floor: what is beyond is not near to real clips
SUBJECTS = {
    "MDCT": "An MDCT",
    "patches, spun": "Patches with cycle spinning",
    "MDCT, spun": "An MDCT with cycle spinning",
}


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def measured(found: Found) -> str:
    """What was measured, of what and on which machine: a list."""
    parts = []
    for speed in found.speeds:
        parts.append(
            f"the speed of one U-Net behind {plural(len(speed.rows), 'front end')}, on clips of "
            f"{speed.clips} (`{speed.file}`; {speed.machine})"
        )
    for study in found.studies.values():
        low, high = study.seeds
        seeds = plural(high, "seed") if low == high else f"{low} to {plural(high, 'seed')}"
        parts.append(
            f"the sound of networks that were each trained for {study.minutes} minutes on "
            f"{named(study)}{rate_text(found, study)}, behind "
            f"{plural(len(study.groups), 'front end')} with {seeds} each, {study.samples} samples "
            f"of each (`frontend_quality.csv`; {listed(study.machines) or 'machine unknown'})"
        )
    if found.untrained:
        parts.append("networks before any training (`frontend_untrained.csv`)")
    if not parts:
        return "Nothing has been measured yet: see the commands at the end."
    return "Measured here:\n\n" + "\n".join(f"- {part};" for part in parts)[:-1] + "."


def rate_text(found: Found, study: Study) -> str:
    rate = found.rate(study.dataset)
    return f" at {rate / 1000:g} kHz" if rate else ""


def answer(found: Found) -> str:
    """Which front end to use when: a paragraph."""
    study, speed = found.studies.get("fsdd"), found.speed
    if study is None or speed is None:
        needed = "frontend_speed.json" if study else "frontend_quality.csv"
        return f"**The answer** cannot be given yet: {missing(needed)}."
    qualities = {
        name: value
        for name, group in study.groups.items()
        if speed.median(name) and (value := group.distance("plain"))
    }
    if not qualities:
        return f"**The answer** cannot be given yet: {missing('frontend_quality.csv')}."
    said = [
        f"**The answer**, of networks trained for {study.minutes} minutes on {named(study)}.",
        *_choice(speed, study, qualities),
        _grid(study),
        _races(races(study)),
    ]
    return " ".join(filter(None, said))


def _choice(speed: Speed, study: Study, qualities: dict[str, Values]) -> list[str]:
    best = min(qualities, key=lambda name: qualities[name].mean)
    if len(qualities) < 2:
        return [f"Only `{best}` has been measured, so that there is nothing to choose from."]
    words = {name: compared(value, qualities[best]) for name, value in qualities.items()}
    good = [study.groups[name] for name, word in words.items() if word == AS_GOOD]
    picked = best_use(speed, good).name
    times = {name: speed.median(name) or 0.0 for name in qualities}
    said = [_pick(picked, times[picked], best, qualities)]
    for word, text in ((WORSE, "and worse"), (OPEN, "but whether worse, these seeds do not tell")):
        names = [n for n in qualities if words[n] == word and times[n] > times[picked]]
        if names:
            verb = "is" if len(names) == 1 else "are"
            said.append(f"{listed(f'`{name}`' for name in names)} {verb} faster, {text}.")
    quickest = max(times, key=lambda name: times[name])
    if quickest != picked:
        accuracy = study.groups[quickest].values("accuracy_plain")
        read = f", with {accuracy.mean:.1%} of the labels read right" if accuracy else ""
        said.append(
            f"Where speed counts most: `{quickest}`, the fastest, {times[quickest]:.3g} times as "
            f"fast as raw sound, at {qualities[quickest].text('.2f')} times the floor{read}."
        )
    if qualities[best].mean > NEAR:
        said.append("None is near to real clips yet, which would be at 1.")
    if min(len(qualities[name].each) for name in (best, picked)) < 2:
        said.append("With one network each, chance may have decided this order.")
    return said


def _pick(picked: str, times: float, best: str, qualities: dict[str, Values]) -> str:
    own = f"at a Fréchet distance of {qualities[picked].text('.2f')} times its floor"
    nearest = f"its samples are the nearest to real ones, {own}"
    if picked == "raw":
        return f"**Use no front end**: {nearest}, and nothing faster is as good."
    first = f"**Use `{picked}`**: a network call is {times:.3g} times as fast as on raw sound, and"
    if picked == best:
        return f"{first} {nearest}."
    return (
        f"{first} its samples are as good, {own}, as the nearest to real ones, those of `{best}`, "
        f"at {qualities[best].text('.2f')}."
    )


def _at(sizes: Iterable[int]) -> str:
    return f"at p = {listed(str(p) for p in sizes)}"


def _grid(study: Study) -> str:
    """What plain patching leaves."""
    groups = study.of("patch")
    heard, seen = (
        [p for p, group in groups.items() if rule(group) == CONFIRMED]
        for rule in (audible, measurable)
    )
    if not seen:
        return "Of the grid that patching was expected to leave nothing was found." * bool(groups)
    said = f"Plain patching measurably leaves its grid in the sound {_at(seen)}"
    if not heard:
        return f"{said}; that it is audible, by our rule, is shown at no p."
    return f"{said}; by our rule it is audible {'there' if heard == seen else _at(heard)}."


def _races(lines: Mapping[str, Sequence[Race]]) -> str:
    """Whether the target is met, by each way and at which p; and what became of the images."""
    if not lines:
        return ""
    said = [
        f"Spurs and phase variance at least {GAIN:g} dB below those of plain patches of the same "
        "p, at equal quality?"
    ]
    for way, line in lines.items():
        images = ", ".join(f"{race.gains[-1].text} ({race.p})" for race in line)
        said.append(f"{SUBJECTS[way]}: {_met(line)}; coherence, dB lower (p): {images}.")
    return " ".join(said)


def _met(line: Sequence[Race]) -> str:
    parts = []
    for word, start in ((CONFIRMED, "yes"), (REFUTED, "no"), (OPEN, "not resolved")):
        sizes = [race.p for race in line if race.word == word]
        if sizes:
            where = "at every p measured" if len(sizes) == len(line) > 1 else _at(sizes)
            worse = [r.p for r in line if r.word == word == REFUTED and r.quality == WORSE]
            there = "there" if worse == sizes else _at(worse)
            parts.append(f"{start} {where}" + (f" (quality is worse {there})" if worse else ""))
    return ", ".join(parts)


def untrained_text(found: Found) -> str:
    """What is there before training."""
    said = []
    for source in dict.fromkeys(source for _, source in found.untrained):
        groups = [
            group for (_, at), group in found.untrained.items() if at == source and group.p > 1
        ]
        seen = sum(measurable(group, "") == CONFIRMED for group in groups)
        name = "white noise" if source == "white" else source
        said.append(f"given {name}, behind {seen} of {len(groups)}")
    return f"Something was found, {'; '.join(said)} front ends." if said else ""
