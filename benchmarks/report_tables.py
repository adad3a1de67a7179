"""The tables of `report.py`, in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from frontend_report import markdown
from report_data import STATISTICS, VARIANTS, Group, Level, Values, level_text
from report_files import Found, Speed, Study, rank
from report_rules import Verdict, races

LIMIT = 200  # dB: image rejection beyond it is rounding, see `mmdiff.metrics.equivariance`


def verdict_table(found: Iterable[Verdict]) -> str:
    rows = [[one.claim, f"**{one.word}**", one.evidence] for one in found]
    return markdown(["claim", "verdict", "by these numbers"], rows, left=3)


def shown(values: Values | None, form: str) -> str:
    return values.text(form) if values else ""


def level_cell(level: Level | None) -> str:
    return level.text() if level else ""


def percent(values: Values | None) -> str:
    return shown(Values(tuple(100 * one for one in values.each)) if values else None, ".1f")


def summary_table(study: Study) -> str:
    """What decides: speed, quality and what is left of the frames."""
    head = ["front end", "p", "levels of the U-Net", "clips a second in training", "times raw"]
    head += ["steps", "Fréchet / floor", "labels right, %", "tilt, dB"]
    head += ["coherence, dB", "coherence, spun"]
    raw = study.groups.get("raw")
    rows = [
        [
            name,
            period_text(group),
            whole_cell(group.values("levels")),
            f"{group.speed:.0f}",
            f"{group.speed / raw.speed:.2f}" if raw else "",
            whole_cell(group.values("steps")),
            shown(group.distance("plain"), ".2f"),
            percent(group.values("accuracy_plain")),
            shown(group.values("tilt_plain"), ".1f"),
            *(level_cell(group.level("coherence", variant)) for variant in VARIANTS),
        ]
        for name, group in study.groups.items()
    ]
    return without_empty(head, rows)


def quality_table(study: Study) -> str:
    """The loss by noise level, and what the summary leaves out of the samples."""
    levels = columns_of(study.groups.values(), r"loss_at_(.*)")
    head = ["front end", "p", "parameters, M", "validation loss", *(f"at t = {t}" for t in levels)]
    head += ["speakers right, %", "labels, spun", "speakers, spun", "Fréchet / floor, spun"]
    head += ["tilt, spun"]
    rows = []
    for name, group in study.groups.items():
        size = group.values("parameters")
        cells = [name, str(group.p), f"{size.mean / 1e6:.1f}" if size else ""]
        cells.append(shown(group.values("loss"), ".4f"))
        losses = (group.values(f"loss_at_{t}") for t in levels)
        cells += [f"{loss.mean:.4f}" if loss else "" for loss in losses]
        cells.append(percent(group.values("speakers_plain")))
        cells += [percent(group.values(f"{one}_spun")) for one in ("accuracy", "speakers")]
        cells += [shown(group.distance("spun"), ".2f"), shown(group.values("tilt_spun"), ".1f")]
        rows.append(cells)
    return without_empty(head, rows)


def whole_cell(values: Values | None) -> str:
    """Whole numbers, without a range where there is none."""
    if not values:
        return ""
    low, high = values.ends
    return f"{low:,.0f}" if low == high else values.text(",.0f")


def speed_table(found: Found) -> str:
    """How many times as fast as raw sound, and that as a share of p."""
    head = ["front end", "p"]
    for speed in found.speeds:
        head += [f"{work}, {speed.clips}" for work in ("call", "training step")]
    names = sorted({name for speed in found.speeds for name in speed.rows}, key=rank)
    rows = []
    for name in names:
        p = next(speed.rows[name]["p"] for speed in found.speeds if name in speed.rows)
        cells = [name, str(p)]
        for speed in found.speeds:
            cells += [speed_cell(speed, name, work) for work in ("forward", "training step")]
        rows.append(cells)
    return markdown(head, rows)


def speed_cell(speed: Speed, name: str, work: str) -> str:
    quartiles = speed.quartiles(name, work)
    if quartiles is None:
        return ""
    share = quartiles[1] / speed.rows[name]["p"]
    return f"{quartiles[1]:.3g}, {share:.2f} p"


def without_empty(head: list[str], rows: list[list[str]]) -> str:
    """The table without columns in which nothing stands."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return markdown([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def artefact_table(groups: Iterable[Group]) -> str:
    head, rows = ["front end", "p"], []
    for statistic in STATISTICS:
        head += [statistic.replace("_", " "), f"{statistic.replace('_', ' ')}, spun"]
    for group in groups:
        cells = [group.name, period_text(group)]
        for statistic in STATISTICS:
            cells += [level_cell(group.level(statistic, variant)) for variant in VARIANTS]
        rows.append(cells)
    return without_empty(head, rows)


def period_text(group: Group) -> str:
    """p, and which period was sought where there is none."""
    period = group.rows[0].get("period")
    return str(group.p) if group.p > 1 or not period else f"1 (sought: {period})"


def columns_of(groups: Iterable[Group], pattern: str) -> list[str]:
    """Noise levels, as the columns that match name them."""
    names = {name for group in groups for name in group.rows[0]}
    found = (re.fullmatch(pattern, name) for name in names)
    return sorted((match[1] for match in found if match), key=float)


def times_of(groups: Iterable[Group]) -> list[str]:
    return columns_of(groups, r"rejection_(\d.*)")


def rejection(group: Group, column: str) -> str:
    """In dB: the images' powers are averaged over seeds, not their decibels."""
    values = group.values(column)
    if values is None:
        return ""
    images = sum(10 ** (-one / 10) for one in values.each) / len(values.each)
    mean, low, high = (
        f"{one:.1f}" if one < LIMIT - 1 else f"> {LIMIT - 1}"
        for one in (-10 * math.log10(images), *values.ends)
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def shift_error(group: Group, column: str) -> str:
    values = group.values(column)
    if values is None:
        return ""
    if len(values.each) == 1:
        return level_text(values.mean)
    low, high = values.ends
    return f"{level_text(values.mean)} ({level_text(low)} to {level_text(high)})"


def denoiser_table(groups: Sequence[Group]) -> str:
    times = times_of(groups)
    head, rows = ["front end", "p"], []
    for t in times:
        head += [f"image rejection, t = {t}", "control", f"shift error, t = {t}"]
    for group in groups:
        cells = [group.name, period_text(group)]
        for t in times:
            cells += [rejection(group, f"rejection{part}_{t}") for part in ("", "_control")]
            cells.append(shift_error(group, f"shift_error_{t}"))
        rows.append(cells)
    return without_empty(head, rows)


def race_table(study: Study) -> str:
    """How much lower than plain patching, by p and way."""
    measure = "Fréchet / floor" if study.dataset == "fsdd" else "tilt, dB"
    rows = [
        [
            str(race.p),
            race.way,
            *(one.text for one in race.gains),
            *(value.text(".2f") for value in race.qualities),
            race.quality,
            f"**{race.word}**",
        ]
        for line in races(study).values()
        for race in line
    ]
    head = [
        "p",
        "against plain patches",
        *(f"{name.replace('_', ' ')}, dB lower" for name in STATISTICS),
    ]
    head += [measure, "of patches", "quality", "at least 10 dB, equal quality"]
    return markdown(head, sorted(rows, key=lambda row: int(row[0])), left=2)


def untrained_table(found: Found) -> str:
    """Fresh networks, a row for each front end, the statistics for each input."""
    sources = sorted({source for _, source in found.untrained}, reverse=True)
    times = times_of(found.untrained.values())
    head = ["front end", "p", "seeds"]
    head += [f"{s.replace('_', ' ')}, {source}" for s in STATISTICS for source in sources]
    head += [f"{name}, t = {t}" for t in times for name in ("image rejection", "shift error")]
    rows = []
    for name in dict.fromkeys(name for name, _ in found.untrained):
        groups = {s: g for (other, s), g in found.untrained.items() if other == name}
        first = next(iter(groups.values()))
        cells = [name, period_text(first), str(len(first.rows))]
        for statistic in STATISTICS:
            found_in = (groups[s].level(statistic) if s in groups else None for s in sources)
            cells += [level_cell(level) for level in found_in]
        for t in times:
            cells += [rejection(first, f"rejection_{t}"), shift_error(first, f"shift_error_{t}")]
        rows.append(cells)
    return without_empty(head, rows)
