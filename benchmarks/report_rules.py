"""The rules by which `report.py` calls a claim confirmed, refuted or not resolved."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from report_data import STATISTICS, Group, Level, Values, decibels
from report_files import Speed, Study

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "not resolved"
UNMEASURED = "not measured"
NOTHING = "nothing to lower"

NEARLY = 0.9  # times p is nearly p times
SIZES = (2, 4, 8, 16, 32)  # for which the thesis says so
FAST = 10.0  # times raw sound
AUDIBLE = -40.0  # dB relative to the sound, a convention
GAIN = 10.0  # dB below plain patching, the target
SLACK = 1.1  # times the other's distance is as good, a speed that is less by less is as fast
LEEWAY = 1.0  # dB: a tilt that is larger by less is as good
AS_GOOD, WORSE = "as good", "worse"
HEARD = ("spurs", "phase_variance")  # what the thesis' aliasing and the target are judged by
WAYS = (("mdct", "plain"), ("patch", "spun"), ("mdct", "spun"))

RULES = f"""
- *Nearly p times as fast*: at least {NEARLY:g} p, for a network call and for a training step.
- A claim about a number is **confirmed** where the whole interval of the number agrees with it,
  **refuted** where the whole interval contradicts it, and **not resolved** where the interval
  holds both. The interval is from quartile to quartile of the rounds for a speed-up; for an
  artefact the 95% interval of the bootstrap and, of several seeds, at least their range.
- A claim about several p is confirmed if it is at each of them, refuted if it is at one.
- *Measurably*: spurs, phase variance or coherence are found (their interval does not hold 0), and
  the control periods do not have them within 3 dB. That there is nothing cannot be shown.
- *Audible* is a convention and no listening test: spurs or phase variance of {AUDIBLE:g} dB or
  more, which the control periods do not have within 3 dB.
- *The noise of the STFT is audible*: by this rule or, since noise need not repeat with the hop, if
  its sound is worse than that of every other front end.
- *Quality* is the Fréchet distance over its floor, or, where no judge can be had, the tilt. It
  takes two seeds of each to tell. Of two front ends one is *as good* if its mean is at most
  {SLACK:g} times the other's (of tilts: {LEEWAY:g} dB more); it is *worse* if it is more and the
  ranges over seeds do not overlap; else that is not resolved.
- *Falls*: it is worse. That it does not fall is shown by what is as good.
- *Fast* is at least {FAST:g} times raw sound. *As fast* is at most {SLACK:g} times slower, in
  training the very networks whose sound is compared.
- *The best trade*: confirmed if all that is as fast is worse, refuted if it is worse than one of
  them.
- *At least {GAIN:g} dB below* is asked of what was found with plain patches; where they have
  nothing that is measurable, there is nothing to lower, and it does not count.
- *Use*: of all that is as good as the best, the fastest. Those that are as fast tie.
""".strip()


@dataclass(frozen=True)
class Verdict:
    """What became of a claim, and by which numbers."""

    claim: str
    word: str
    evidence: str


def overall(words: Collection[str]) -> str:
    """Of a claim that has to hold in every case."""
    if not words:
        return UNMEASURED
    if REFUTED in words:
        return REFUTED
    return CONFIRMED if set(words) == {CONFIRMED} else OPEN


def at_least(low: float, high: float, limit: float) -> str:
    """Whether a number reaches `limit`, of which an interval is known."""
    return CONFIRMED if low >= limit else REFUTED if high < limit else OPEN


@dataclass(frozen=True)
class Quality:
    """The smaller the better; what is at most `limit` is as good."""

    values: Values
    limit: float


def quality_of(group: Group, variant: str = "plain") -> Quality | None:
    if distance := group.distance(variant):
        return Quality(distance, SLACK * distance.mean)
    if tilt := group.values(f"tilt_{variant}"):
        return Quality(tilt, tilt.mean + LEEWAY)
    return None


def several(*qualities: Quality) -> bool:
    """Whether there are seeds enough to tell."""
    return all(len(one.values.each) > 1 for one in qualities)


def compared(ours: Quality, theirs: Quality) -> str:
    """Whether the first is as good as the second, worse, or which of these is not resolved."""
    if not several(ours, theirs):
        return OPEN
    if ours.values.mean <= theirs.limit:
        return AS_GOOD
    return WORSE if ours.values.ends[0] > theirs.values.ends[1] else OPEN


def audible(group: Group, variant: str = "plain") -> str:
    """By what is heard most."""
    words = []
    for level in filter(None, (group.level(statistic, variant) for statistic in HEARD)):
        word = at_least(level.low, level.high, 10 ** (AUDIBLE / 10))
        words.append(OPEN if word == CONFIRMED and not level.own else word)
    if not words:
        return UNMEASURED
    if CONFIRMED in words:
        return CONFIRMED
    return REFUTED if set(words) == {REFUTED} else OPEN


def measurable(group: Group, variant: str = "plain") -> str:
    """Whether anything of its own period is found; that nothing is there stays open."""
    levels = [one for s in STATISTICS if (one := group.level(s, variant))]
    if not levels:
        return UNMEASURED
    return CONFIRMED if any(level.own for level in levels) else OPEN


@dataclass(frozen=True)
class Gain:
    """How far an artefact lies below that of plain patching, in dB."""

    word: str
    text: str


def gain(ours: Level, plain: Level) -> Gain:
    least, most = (_quotient(*pair) for pair in ((plain.low, ours.high), (plain.high, ours.low)))
    enough = 10 ** (GAIN / 10)
    if plain.own:
        word = at_least(least, most, enough)
    elif ours.own:  # there is nothing to be below, but ours may be seen to be no lower
        word = REFUTED if most < enough else OPEN
    else:
        word = NOTHING
    if plain.found and ours.found:
        return Gain(word, f"{decibels(plain.mean / ours.mean):.1f}")
    if plain.found:
        return Gain(word, "all of it" if math.isinf(least) else f"> {decibels(least):.1f}")
    if ours.found:
        return Gain(word, f"< {decibels(most):.1f}" if most > 0 else "none of it")
    return Gain(word, "neither found")


def _quotient(above: float, below: float) -> float:
    return max(above, 0.0) / below if below > 0 else math.inf


@dataclass(frozen=True)
class Race:
    """One way of being lower than plain patching, at one p."""

    p: int
    way: str
    gains: tuple[Gain, ...]  # of `STATISTICS`; only those of `HEARD` count
    quality: str
    qualities: tuple[Values, Values]  # ours, that of plain patching

    @property
    def word(self) -> str:
        equal = {AS_GOOD: CONFIRMED, WORSE: REFUTED}.get(self.quality, OPEN)
        heard = [one.word for s, one in zip(STATISTICS, self.gains, strict=True) if s in HEARD]
        counting = [word for word in heard if word != NOTHING]
        return overall([*counting, equal]) if counting else NOTHING


def way_name(kind: str, variant: str) -> str:
    return f"{'MDCT' if kind == 'mdct' else 'patches'}{', spun' if variant == 'spun' else ''}"


def races(study: Study) -> dict[str, list[Race]]:
    """By way, at every p where both it and plain patching were measured."""
    found: dict[str, list[Race]] = {}
    for kind, variant in WAYS:
        for p, plain in study.of("patch").items():
            ours = study.of(kind).get(p)
            if ours is None:
                continue
            pairs = [(ours.level(s, variant), plain.level(s, "plain")) for s in STATISTICS]
            gains = tuple(gain(a, b) for a, b in pairs if a and b)
            mine, theirs = quality_of(ours, variant), quality_of(plain)
            if len(gains) == len(STATISTICS) and mine and theirs:
                values = (mine.values, theirs.values)
                race = Race(p, way_name(kind, variant), gains, compared(mine, theirs), values)
                found.setdefault(race.way, []).append(race)
    return found


def race_word(found: Mapping[str, list[Race]]) -> str:
    """Of the target: one way at all p where there is something to lower is enough."""
    lines = ([race.word for race in line if race.word != NOTHING] for line in found.values())
    words = [overall(line) for line in lines if line]
    if not words:
        return OPEN if found else UNMEASURED
    if CONFIRMED in words:
        return CONFIRMED
    return REFUTED if set(words) == {REFUTED} else OPEN


def nearly(speed: Speed, kind: str) -> tuple[str, str]:
    """The word and the numbers of: nearly p times as fast."""
    words, parts, most = [], [], 0.0
    for work in ("forward", "training step"):
        shares = []
        for p in SIZES:
            quartiles = speed.quartiles(f"{kind}:{p}", work)
            if quartiles:
                words.append(at_least(quartiles[0], quartiles[2], NEARLY * p))
                shares.append(f"{quartiles[1] / p:.2f} ({p})")
                most = max(most, quartiles[1] / p)
        parts.append(f"{work} {', '.join(shares)}")
    # Fewer operations bring no more than p.
    more = ". What is above 1 is the machine's doing, see the limits" * (most > SLACK)
    return overall(words), f"speed-up / p (p): {'; '.join(parts)}{more}"


def rivals(study: Study, name: str) -> list[Group]:
    """The other front ends that are as fast as `name`."""
    own = study.groups[name].speed
    return [g for g in study.groups.values() if g.name != name and g.speed * SLACK >= own]


def fastest(groups: Sequence[Group]) -> list[Group]:
    """Those that are as fast as the fastest."""
    most = max(group.speed for group in groups)
    return [group for group in groups if group.speed * SLACK >= most]


def by_word(line: Sequence[Race]) -> dict[str, list[Race]]:
    """The races of one way, by what came out."""
    words = (CONFIRMED, REFUTED, OPEN, NOTHING)
    return {word: of for word in words if (of := [race for race in line if race.word == word])}


def levels_text(groups: Iterable[Group]) -> str:
    """Of plain sampling, without ranges."""
    parts = []
    for statistic in STATISTICS:
        cells = [
            f"{level.brief()} ({group.p})"
            for group in groups
            if (level := group.level(statistic, "plain"))
        ]
        parts.append(f"{statistic.replace('_', ' ')} {', '.join(cells)}")
    return f"dB (p): {'; '.join(parts)}"


def listed(words: Iterable[str], joined: str = "and") -> str:
    """a, b and c."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} {joined} {last}" if first else last
