"""The two plots of `report.py`: speed-up against artefacts, and against quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from report_data import STATISTICS, VARIANTS, Group, Level, Values, decibels
from report_files import Found, Study
from report_labels import Label, around, place
from report_rules import AUDIBLE, HEARD

from mmdiff.files import written_aside

# After Okabe & Ito's colours, told apart by most who are colour-blind; and markers, besides.
LOOKS = {
    "patch": ("#D55E00", "s"),
    "mdct": ("#0072B2", "o"),
    "learned": ("#009E73", "^"),
    "stft": ("#AA4499", "D"),
}
INK, PALE = "#333333", "#8a8a8a"
TITLES = {
    "spurs": "Spurs: tones at multiples of 1/p",
    "phase_variance": "Phase variance: loudness that repeats every p samples",
    "coherence": "Coherence: images at distances of 1/p",
}
ASIDE = 1.06  # how far spun points are drawn from the plain ones, to the right
ARROW = 16  # points
DPI = 120


@dataclass(frozen=True)
class Mark:
    """A point, with its interval; of an upper bound, `bound`, only y counts."""

    group: Group
    variant: str
    x: float
    y: float
    low: float
    high: float
    bound: bool = False

    @property
    def look(self) -> tuple[str, str]:
        return LOOKS.get(self.group.kind, (INK, "P"))


Take = Callable[[Group, str], tuple[float, float, float, bool] | None]  # y, low, high, bound


def marks_of(found: Found, study: Study, take: Take) -> list[Mark]:
    marks = []
    for name, group in study.groups.items():
        x = found.speed.median(name) if found.speed else None
        for variant in VARIANTS:
            taken = take(group, variant)
            if x is not None and taken is not None:
                marks.append(Mark(group, variant, x * (ASIDE if variant == "spun" else 1), *taken))
    return marks


def level_of(statistic: str) -> Take:
    """In dB: the mean and its interval, or the upper bound. What is not above 0 has no place."""

    def take(group: Group, variant: str) -> tuple[float, float, float, bool] | None:
        level: Level | None = group.level(statistic, variant)
        if level is None or level.high <= 0:
            return None
        high = decibels(level.high)
        if not level.found:
            return high, high, high, True
        return decibels(level.mean), decibels(max(level.low, 1e-12)), high, False

    return take


def spread(values: Values | None, scale: float = 1) -> tuple[float, float, float, bool] | None:
    """The mean and the range over seeds."""
    if values is None:
        return None
    low, high = values.ends
    return values.mean * scale, low * scale, high * scale, False


def draw_artefacts(path: Path, found: Found, study: Study) -> bool:
    """Levels in dB against speed-up; whether there was anything to draw."""
    figure = Figure(figsize=(11, 8.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2).flatten()
    drawn = []
    for axes, statistic in zip(panels, STATISTICS, strict=False):
        marks = marks_of(found, study, level_of(statistic))
        drawn.append((axes, marks))
        tops = [mark.high for mark in marks]
        if statistic in HEARD:
            axes.axhline(AUDIBLE, color=PALE, lw=0.8, ls="--", zorder=0)
            tops.append(AUDIBLE)
        if marks:
            axes.set_ylim(min(mark.y for mark in marks) - 5, max(tops) + 3)
        axes.set_title(TITLES[statistic], fontsize=11, color=INK, loc="left")
        axes.set_ylabel("dB relative to the sound")
    key(panels[-1])
    return finish(figure, drawn, path, found)


def draw_quality(path: Path, found: Found, study: Study) -> bool:
    """Fréchet distance, accuracy and validation loss against speed-up; as `draw_artefacts`."""
    panels: dict[str, Take] = {
        "Fréchet distance / floor: lower is better": (
            lambda group, variant: spread(group.distance(variant))
        ),
        "Labels read right, %: higher is better": (
            lambda group, variant: spread(group.values(f"accuracy_{variant}"), 100)
        ),
        "Validation loss: lower is better": (
            lambda group, variant: spread(group.values("loss")) if variant == "plain" else None
        ),
    }
    figure = Figure(figsize=(13, 4.8), dpi=DPI, layout="constrained")
    drawn = []
    for axes, (title, take) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        marks = marks_of(found, study, take)
        drawn.append((axes, marks))
        axes.set_title(title, fontsize=11, color=INK, loc="left")
        if min((m.low for m in marks), default=1) * 4 < max((m.high for m in marks), default=1):
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    note = "; hollow: with cycle spinning; bars: from seed to seed"
    return finish(figure, drawn, path, found, note)


def finish(
    figure: Figure,
    drawn: Sequence[tuple[Any, list[Mark]]],
    path: Path,
    found: Found,
    note: str = "",
) -> bool:
    """Draw the marks, name them and write the picture, unless there is nothing to compare."""
    if not any(mark.group.kind in LOOKS for _, marks in drawn for mark in marks):
        return False
    for axes, marks in drawn:
        draw(axes, marks)
    clips = found.speed.clips if found.speed else ""
    axis = f"speed-up of a network call over raw sound (clips of {clips}){note}"
    figure.supxlabel(axis, fontsize=10, color=INK)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    for axes, marks in drawn:
        name(axes, marks)
    with written_aside(path) as aside:
        figure.savefig(aside)
    return True


def draw(axes: Any, marks: Sequence[Mark]) -> None:
    """Raw sound as a line across, for it is where speed-ups begin; all others as points."""
    for mark in marks:
        colour, marker = mark.look
        if mark.group.kind not in LOOKS:
            axes.axhline(mark.y, color=INK, lw=1.2, ls=(0, (6, 2)), zorder=1)
            continue
        axes.plot([mark.x, mark.x], [mark.low, mark.high], color=colour, lw=1.3, zorder=3)
        fill = colour if mark.variant == "plain" else "white"
        axes.plot(mark.x, mark.y, marker, color=colour, mfc=fill, mew=1.4, ms=7, zorder=4)
        if mark.bound:
            axes.annotate(
                "", (mark.x, mark.y), (0, -ARROW), textcoords="offset points", zorder=3,
                arrowprops={"arrowstyle": "<|-", "color": colour, "lw": 1.3, "shrinkB": 3},
            )  # fmt: skip
    plain = {mark.group.name: mark for mark in marks if mark.variant == "plain"}
    for mark in marks:
        if mark.variant == "spun" and mark.group.name in plain:
            other = plain[mark.group.name]
            axes.plot([other.x, mark.x], [other.y, mark.y], ":", color=mark.look[0], lw=1, zorder=1)
    for kind, (colour, _) in LOOKS.items():
        line = sorted((mark.x, mark.y) for mark in plain.values() if mark.group.kind == kind)
        if line:
            axes.plot(*zip(*line, strict=True), color=colour, lw=1, alpha=0.5, zorder=2)
    axes.set_xscale("log", base=2)
    low, high = (end(m.x for m in marks if m.group.kind in LOOKS) for end in (min, max))
    axes.set_xlim(low / 1.25, high * 1.6)
    axes.xaxis.set_major_locator(FixedLocator([2**k for k in range(12)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def name(axes: Any, marks: Sequence[Mark]) -> None:
    """p beside each plain point, and the front end's name beside the fastest of its kind."""
    points = [mark for mark in marks if mark.group.kind in LOOKS]
    fastest = {mark.group.kind: mark.x for mark in sorted(points, key=lambda mark: mark.x)
               if mark.variant == "plain"}  # fmt: skip
    labels = []
    for mark in points:
        if mark.variant == "plain":
            last = fastest[mark.group.kind] == mark.x
            text = mark.group.name if last else str(mark.group.p)
            labels.append(Label(mark.x, mark.y, text, mark.look[0], last))
    for mark in marks:
        if mark.group.kind not in LOOKS:
            text = f"{mark.group.name}, 1×" + ": no higher" * mark.bound
            labels.append(Label(axes.get_xlim()[1] / 1.6, mark.y, text, INK, True))
    taken = [around(axes, m.x, m.y, m.y) for m in points]
    taken += [around(axes, m.x, m.low, m.high, 1, below=ARROW * m.bound) for m in points]
    place(axes, labels, taken)


def key(axes: Any) -> None:
    """How to read the picture, in the place of a panel."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    look: dict[str, Any] = {"va": "center", "color": INK}
    for y, fill, text in (
        (0.92, "full", "sampled plainly; the number beside it is p"),
        (0.82, "none", "with cycle spinning: as many calls, so the same speed\n"
                       "(drawn a little to the right)"),
    ):  # fmt: skip
        axes.plot(0.04, y, "s", color=INK, fillstyle=fill, ms=7, mew=1.4)
        axes.text(0.1, y, text, **look)
    axes.plot([0.04, 0.04], [0.68, 0.74], color=INK, lw=1.3)
    axes.text(0.1, 0.71, "95% interval; of the mean, where there are several seeds", **look)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.3}
    axes.annotate("", (0.04, 0.57), (0.04, 0.65), arrowprops=arrow)
    axes.text(0.1, 0.61, "not found: no higher than this", **look)
    for y, style, colour, text in (
        (0.51, "--", PALE, f"{AUDIBLE:g} dB, what this page calls audible"),
        (0.41, (0, (6, 2)), INK, "a network on raw sound, without frames, sought at a\n"
                                 "period of 16: what is found where nothing is"),
    ):  # fmt: skip
        axes.plot([0, 0.08], [y, y], color=colour, lw=1.2, ls=style)
        axes.text(0.1, y, text, **look)
    axes.text(0, 0.26, "Right and down is better.", **look, fontweight="bold")
