"""The sentences of `report.py` that depend on what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from frontend_report import PEER
from report_claims import missing, named
from report_data import VARIANTS, Group, decibels
from report_files import Found, Study
from report_rules import (
    AS_GOOD,
    CONFIRMED,
    GAIN,
    REFUTED,
    SLACK,
    WORSE,
    Quality,
    Race,
    audible,
    by_word,
    compared,
    fastest,
    listed,
    measurable,
    quality_of,
    races,
)

from mmdiff.training.audio import FRONTEND

NEAR = 2.0  # times the floor: what is beyond is not near to real clips
SUBJECTS = {
    "MDCT": "by an MDCT",
    "patches, spun": "by patches with cycle spinning",
    "MDCT, spun": "by an MDCT with cycle spinning",
}


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def measured(found: Found) -> str:
    """What was measured, of what and on which machine: a list."""
    parts = []
    for speed in found.speeds:
        own = sum(not name.startswith(PEER) for name in speed.rows)
        parts.append(
            f"the speed of one U-Net behind {plural(own, 'front end')}, on clips of "
            f"{speed.clips}, {plural(speed.about['rounds'], 'round')} (`{speed.file}`; "
            f"{speed.machine})"
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
    """Which front end to use when: a list."""
    study = found.studies.get("fsdd")
    groups = study.groups.values() if study else ()
    qualities = {group.name: one for group in groups if (one := quality_of(group))}
    if study is None or not qualities:
        return f"**The answer** cannot be given yet: {missing('frontend_quality.csv')}."
    if len(qualities) < 2:
        (only,) = qualities
        return f"**The answer**: only `{only}` has been measured; there is nothing to choose from."
    most = max(len(one.values.each) for one in qualities.values())
    judged = {n: one for n, one in qualities.items() if len(one.values.each) >= min(2, most)}
    picked, choice = _choice(study, judged)
    said = [choice, _faster(study, judged, picked)]
    for each in found.studies.values():
        where = f", {named(each)}" if len(found.studies) > 1 else ""
        said += [_grid(each, where), _spinning(each, picked.name, where)]
        said.append(_races(races(each), where))
    said.append(_caution(qualities, judged))
    items = "\n".join(f"- {one}" for one in said if one)
    data = f"{named(study)}{rate_text(found, study)}"
    return f"**The answer**, of networks trained for {study.minutes} minutes on {data}:\n\n{items}"


def _choice(study: Study, judged: Mapping[str, Quality]) -> tuple[Group, str]:
    """What to use, the recipe's own first where it is among them, and why."""
    best = min(judged, key=lambda name: judged[name].values.mean)
    good = [n for n in judged if n == best or compared(judged[n], judged[best]) == AS_GOOD]
    tied = fastest([study.groups[name] for name in good])
    tied.sort(key=lambda group: (group.name != FRONTEND, judged[group.name].values.mean))
    picked = tied[0]
    plain = (f"`{group.name}`" if group.p > 1 else "no front end" for group in tied)
    names = listed(plain, "or")
    values = listed(judged[group.name].values.text(".2f") for group in tied)
    if [group.name for group in tied] == [best]:
        return picked, f"**Use {names}**: its samples, {values} times the floor, are the nearest."
    whose = "its samples" if len(tied) == 1 else "their samples"
    near = "among the nearest to real ones"
    if best not in [group.name for group in tied]:
        times = picked.speed / study.groups[best].speed
        of_best = judged[best].values.text(".2f")
        near = (
            f"as good as the nearest to real ones, those of `{best}`, {of_best} times, and "
            f"training is {times:.1f} times as fast"
        )
    said = f"**Use {names}**: {whose}, {values} times the floor, are {near}."
    tie = f" Between these the numbers do not decide; the recipe has `{FRONTEND}`."
    return picked, said + tie * (len(tied) > 1 and picked.name == FRONTEND)


def _faster(study: Study, judged: Mapping[str, Quality], picked: Group) -> str:
    """Of what is faster than the one to use, those to which nothing as fast is nearer."""
    speeds = {name: study.groups[name].speed for name in judged}
    means = {name: one.values.mean for name, one in judged.items()}
    names = [
        name
        for name in sorted(speeds, key=lambda name: speeds[name])
        if speeds[name] > SLACK * picked.speed
        and not any(
            SLACK * speeds[other] >= speeds[name] and means[other] < means[name] for other in speeds
        )
    ]
    parts = [
        f"`{name}` trains {speeds[name] / picked.speed:.1f} times as fast, "
        f"{judged[name].values.text('.2f')} times the floor"
        f"{' (not shown to be worse)' * (compared(judged[name], judged[picked.name]) != WORSE)}"
        for name in names
    ]
    if not parts:
        return ""
    return f"**Where speed counts more**, the nearest of what is as fast: {'; '.join(parts)}."


def _at(sizes: Iterable[int]) -> str:
    return f"at p = {listed(str(p) for p in sizes)}"


def _grid(study: Study, where: str) -> str:
    """What plain patching leaves."""
    groups = study.of("patch")
    heard, seen = (
        [p for p, group in groups.items() if rule(group) == CONFIRMED]
        for rule in (audible, measurable)
    )
    head = f"**The grid**{where}:"
    if not seen:
        return f"{head} that patching was expected to leave one was not confirmed." * bool(groups)
    said = f"{head} plain patching measurably leaves it in the sound {_at(seen)}"
    if not heard:
        return f"{said}; that it is audible, by our rule, is shown at no p."
    return f"{said}; by our rule it is audible {'there' if heard == seen else _at(heard)}."


def _spinning(study: Study, name: str, where: str) -> str:
    """What cycle spinning does for the front end to use."""
    group = study.groups.get(name)
    plain, spun = (group.level("coherence", v) if group else None for v in VARIANTS)
    qualities = [one for v in VARIANTS if group and (one := quality_of(group, v))]
    if not (group and plain and spun and plain.own and spun.found and len(qualities) == 2):
        return ""
    lower = decibels(plain.mean / spun.mean)
    quality = {AS_GOOD: "as good", WORSE: "worse"}.get(
        compared(qualities[1], qualities[0]), "not resolved"
    )
    return (
        f"**Cycle spinning** (`--spin {group.p}`){where}: it costs no network call; behind "
        f"`{name}` coherence is {lower:.1f} dB lower with it; the quality is {quality}."
    )


def _races(lines: Mapping[str, Sequence[Race]], where: str) -> str:
    """Whether the target is met, by each way and at which p."""
    if not lines:
        return ""
    said = (
        f"**The target**{where}, spurs and phase variance at least {GAIN:g} dB below those of "
        "plain patches of the same p, at equal quality:"
    )
    return f"{said} {'; '.join(f'{SUBJECTS[way]} {_met(line)}' for way, line in lines.items())}."


def _met(line: Sequence[Race]) -> str:
    parts = []
    for word, of in by_word(line).items():
        sizes = [race.p for race in of]
        at = "at every p measured" if len(sizes) == len(line) > 1 else _at(sizes)
        worse = [race.p for race in of if word == REFUTED and race.quality == WORSE]
        there = "there" if worse == sizes else _at(worse)
        parts.append(f"{word} {at}" + (f" (quality is worse {there})" if worse else ""))
    return ", ".join(parts)


def _caution(qualities: Mapping[str, Quality], judged: Mapping[str, Quality]) -> str:
    """How far from real all of it is, and what was left out."""
    said = []
    if min(one.values.mean for one in judged.values()) > NEAR:
        said.append("none is near to real clips yet, which would be at 1")
    if max(len(one.values.each) for one in judged.values()) < 2:
        said.append("with one network each, chance may have decided this order")
    left = [f"`{name}`" for name in qualities if name not in judged]
    if left:
        said.append(f"left out, with one network: {listed(left)}")
    return f"**How sure**: {'; '.join(said)}." if said else ""


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
