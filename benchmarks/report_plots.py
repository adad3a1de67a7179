"""The two plots of `report.py`: speed against artefacts, and against quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from report_data import STATISTICS, VARIANTS, Group, Level, Values, decibels
from report_files import Study
from report_labels import Label, around, place
from report_rules import AUDIBLE, HEARD

from mmdiff.files import written_aside

# After Okabe & Ito's colours, told apart by most who are colour-blind; and markers, besides.
LOOKS = {
    "patch": ("#D55E00", "s"),
    "mdct": ("#0072B2", "o"),
    "learned": ("#009E73", "^"),
    "stft": ("#AA4499", "D"),
    "raw": ("#333333", "P"),
}
INK, PALE = "#333333", "#8a8a8a"
TITLES = {
    "spurs": "Spurs: tones at multiples of 1/p",
    "phase_variance": "Phase variance: loudness that repeats every p samples",
    "coherence": "Coherence: images at distances of 1/p",
}
UNITS = {
    "spurs": "dB relative to the sound",
    "phase_variance": "dB, 0 where it varies by all of it",
    "coherence": "dB, over all images",
}
ASIDE = 1.03  # how far spun points are drawn from the plain ones, to the right
ARROW = 16  # points
DPI = 120


@dataclass(frozen=True)
class Mark:
    """A point with its interval; an upper bound, `bound`, is an arrow that hangs from y."""

    group: Group
    variant: str
    x: float
    y: float
    low: float
    high: float
    bound: bool = False

    @property
    def look(self) -> tuple[str, str]:
        return LOOKS[self.group.kind]


Take = Callable[[Group, str], tuple[float, float, float, bool] | None]  # y, low, high, bound


def marks_of(study: Study, take: Take) -> list[Mark]:
    marks = []
    for group in study.groups.values():
        for variant in VARIANTS:
            if taken := take(group, variant):
                x = group.speed * (ASIDE if variant == "spun" else 1)
                marks.append(Mark(group, variant, x, *taken))
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
        return decibels(level.mean), decibels(level.low), high, False

    return take


def spread(values: Values | None, scale: float = 1) -> tuple[float, float, float, bool] | None:
    """The mean and the range over seeds."""
    if values is None:
        return None
    low, high = values.ends
    return values.mean * scale, low * scale, high * scale, False


def draw_artefacts(path: Path, study: Study) -> bool:
    """Levels in dB against speed; False where there is nothing to compare."""
    figure = Figure(figsize=(11, 8.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2).flatten()
    drawn = []
    for axes, statistic in zip(panels, STATISTICS, strict=False):
        marks = marks_of(study, level_of(statistic))
        drawn.append((axes, marks))
        tops = [mark.high for mark in marks]
        if statistic in HEARD:
            axes.axhline(AUDIBLE, color=PALE, lw=0.8, ls="--", zorder=0)
            tops.append(AUDIBLE)
        if marks:
            axes.set_ylim(min(mark.y for mark in marks) - 5, max(tops) + 3)
        nothing = "\n(nothing found: upper bounds)" * all(mark.bound for mark in marks)
        axes.set_title(TITLES[statistic] + nothing, fontsize=11, color=INK, loc="left")
        axes.set_ylabel(UNITS[statistic])
    key(panels[-1])
    return finish(figure, drawn, path)


def draw_quality(path: Path, study: Study) -> bool:
    """Quality and validation loss against speed; as `draw_artefacts`."""
    panels: dict[str, Take] = {
        "Fréchet distance / floor: lower is better": (
            lambda group, variant: spread(group.distance(variant))
        ),
        "Labels read right, %: higher is better": (
            lambda group, variant: spread(group.values(f"accuracy_{variant}"), 100)
        ),
        "Tilt, dB: lower is better": (
            lambda group, variant: spread(group.values(f"tilt_{variant}"))
        ),
        "Validation loss: lower is better": (
            lambda group, variant: spread(group.values("loss")) if variant == "plain" else None
        ),
    }
    found = {title: marks for title, take in panels.items() if (marks := marks_of(study, take))}
    figure = Figure(figsize=(1 + 4 * max(1, len(found)), 4.8), dpi=DPI, layout="constrained")
    axes_of = figure.subplots(1, max(1, len(found)), squeeze=False)[0]
    for axes, (title, marks) in zip(axes_of, found.items(), strict=False):
        axes.set_title(title, fontsize=11, color=INK, loc="left")
        ends = [mark.low for mark in marks] + [mark.high for mark in marks]
        if "%" not in title and 2 * min(ends) < max(ends):
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_locator(LogLocator(2, subs=(1, 1.5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    note = "; hollow: with cycle spinning; bars: from seed to seed"
    return finish(figure, list(zip(axes_of, found.values(), strict=False)), path, note)


def finish(
    figure: Figure, drawn: Sequence[tuple[Any, list[Mark]]], path: Path, note: str = ""
) -> bool:
    """Draw the marks, name them and write the picture, unless there is nothing to compare."""
    if not any(marks for _, marks in drawn):
        return False
    for axes, marks in drawn:
        if marks:
            draw(axes, marks)
        else:
            axes.set_axis_off()
    figure.supxlabel(f"clips a second in training{note}", fontsize=10, color=INK)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    for axes, marks in drawn:
        name(axes, marks)
    with written_aside(path) as aside:
        figure.savefig(aside)
    return True


def draw(axes: Any, marks: Sequence[Mark]) -> None:
    for mark in marks:
        colour, marker = mark.look
        if mark.bound:
            style = "-" if mark.variant == "plain" else (0, (2, 1.5))
            arrow = {"arrowstyle": "<|-", "color": colour, "lw": 1.3, "ls": style, "shrinkB": 0}
            axes.annotate(
                "", (mark.x, mark.y), (0, -ARROW), textcoords="offset points", zorder=3,
                arrowprops=arrow,
            )  # fmt: skip
            continue
        axes.plot([mark.x, mark.x], [mark.low, mark.high], color=colour, lw=1.3, zorder=3)
        fill = colour if mark.variant == "plain" else "white"
        axes.plot(mark.x, mark.y, marker, color=colour, mfc=fill, mew=1.4, ms=7, zorder=4)
    points = [mark for mark in marks if not mark.bound]
    plain = {mark.group.name: mark for mark in points if mark.variant == "plain"}
    for mark in points:
        if mark.variant == "spun" and mark.group.name in plain:
            other = plain[mark.group.name]
            axes.plot([other.x, mark.x], [other.y, mark.y], ":", color=mark.look[0], lw=1, zorder=1)
    for kind, (colour, _) in LOOKS.items():
        line = sorted((m.group.p, m.x, m.y) for m in plain.values() if m.group.kind == kind)
        if line:
            axes.plot(
                [x for _, x, _ in line],
                [y for *_, y in line],
                color=colour,
                lw=1,
                alpha=0.5,
                zorder=2,
            )
    axes.set_xscale("log", base=2)
    low, high = (end(mark.x for mark in marks) for end in (min, max))
    axes.set_xlim(low / 1.2, high * 1.4)
    axes.xaxis.set_major_locator(LogLocator(2, subs=(1, 1.5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def name(axes: Any, marks: Sequence[Mark]) -> None:
    """p beside each plain point, and the front end's name beside the fastest of its kind."""
    plain = sorted((mark for mark in marks if mark.variant == "plain"), key=lambda mark: mark.x)
    fastest = {mark.group.kind: mark for mark in plain}
    labels = []
    for mark in plain:
        last = fastest[mark.group.kind] is mark
        text = mark.group.name if last else str(mark.group.p)
        labels.append(Label(mark.x, mark.y, text, mark.look[0], last))
    taken = [around(axes, m.x, m.y, m.y) for m in marks]
    taken += [around(axes, m.x, m.low, m.high, 1, below=ARROW * m.bound) for m in marks]
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
    axes.text(0.1, 0.71, "95% interval, and the range over seeds", **look)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.3}
    for x, style in ((0.02, "-"), (0.06, (0, (2, 1.5)))):
        axes.annotate("", (x, 0.56), (x, 0.65), arrowprops=arrow | {"ls": style})
    axes.text(0.1, 0.61, "not found: no higher than where the arrow begins\n"
                         "(broken: with cycle spinning)", **look)  # fmt: skip
    axes.plot([0, 0.08], [0.48, 0.48], color=PALE, lw=1.2, ls="--")
    axes.text(0.1, 0.48, f"{AUDIBLE:g} dB, what this page calls audible", **look)
    axes.plot(0.04, 0.37, LOOKS["raw"][1], color=INK, ms=7)
    axes.text(0.1, 0.37, "a network on raw sound, sought at a period of 16:\n"
                         "what the strides of a U-Net leave alone", **look)  # fmt: skip
    axes.text(0, 0.22, "Right and down is better.", **look, fontweight="bold")
