"""Draw all tables and plots of the docs from what was measured.

    python benchmarks/report.py                     # half a minute
    python benchmarks/report.py --tables            # seconds

Nothing is measured here. A page in `docs/` has a place for each table, from <!-- table: NAME --> to
<!-- end -->, and what stands there is replaced by the table that `TABLES` makes of a CSV file in
`results/`. The plots are drawn beside the CSV files. What the numbers mean is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import report_frontends as frontends
import report_plots
from report_frontends import Cells, Frame
from report_restoration import restoration
from rows import RESULTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = tuple(
    DOCS / f"{name}.md" for name in ("measured", "frontends", "joint", "sound_from_sound")
)
PLACE = re.compile(r"(<!-- table: ([^>]+) -->\n).*?(<!-- end -->)", re.S)
NUMBER = re.compile(r"[-<> ]*\d")
ABOUT = ["machine", "threads", "versions"]  # the columns that say what it was measured on

WORKS = ("forward", "training_step", "sampling_step")

Make = Callable[[Frame], list[Cells]]


def filled(form: str, row: Mapping[Any, Any]) -> str:
    """The format of a cell with the columns of a row; "" where there is no number."""
    return re.sub(r"^nan.*", "", form.format(**row))


def each(columns: dict[str, str], derive: Callable[[Frame], Frame] = lambda frame: frame) -> Make:
    """Tables of a line for each row: a format by title, of the columns and those of `derive`."""

    def make(frame: Frame) -> list[Cells]:
        rows = derive(frame).to_dict("records")
        return [{title: filled(form, row) for title, form in columns.items()} for row in rows]

    return make


def crossed(heads: list[str], column: str, cell: str) -> Make:
    """Tables of a line for each value of the columns `heads`: formats of other titles and cells."""

    def make(frame: Frame) -> list[Cells]:
        found: dict[Any, Cells] = {}
        for row in frame.to_dict("records"):
            names = {name: str(row[name]) for name in heads}
            line = found.setdefault(tuple(names.values()), names)
            line[column.format(**row)] = filled(cell, row)
        return list(found.values())

    return make


def of_works(form: str) -> dict[str, str]:
    """A format for each work in a row of frontend_speed.csv, whose name takes the place of WORK."""
    return {work.replace("_", " "): form.replace("WORK", work) for work in WORKS}


def speed(frame: Frame) -> list[Cells]:
    """Times as fast as raw sound (UNetV0: as UNetV0:1), and the same over p."""
    forms = of_works("{WORK_times:.3g} ({WORK_low:.3g} to {WORK_high:.3g}), {WORK:.2f} p")
    shares = {work: frame[f"{work}_times"] / frame["p"] for work in WORKS}
    return each({"front end": "{frontend}", "p": "{p}", **forms})(frame.assign(**shares))


def spread(name: str, form: str) -> str:
    """The format of a column with its interval."""
    return f"{{{name}:{form}}} ({{{name}_low:{form}}} to {{{name}_high:{form}}})"


def pairs(heads: list[str], **more: str) -> Make:
    """Figures of pairs after the columns `heads`; `more` are further columns and their formats."""
    figures = {
        title: spread(name, form)
        for name, (title, form) in {
            "si_sdr": ("SI-SDR, dB", ".1f"), "spectral": ("log-spectral distance, dB", ".1f"),
            "high": ("above 4 kHz, dB", ".1f"), "mel": ("log-mel distance, dB", ".2f"),
            "pesq": ("PESQ", ".2f"), "estoi": ("ESTOI", ".3f"), "dnsmos": ("DNSMOS", ".2f"),
        }.items()
    }  # fmt: skip
    columns = {**{head: f"{{{head}}}" for head in heads}, **figures, **more}

    def make(frame: Frame) -> list[Cells]:
        full = frame.dropna(axis=1, how="all")
        known = {n: f for n, f in columns.items() if {*re.findall(r"{(\w+)", f)} <= {*full}}
        return each(known)(full)

    return make


SPEED = {"times real time": "{times_real_time:,.1f}"}

# By name: the file in `results/`, which rows of it (as `DataFrame.query` has it), what makes it.
TABLES: dict[str, tuple[str, str, Make]] = {
    "quality by calls": ("image_quality", "", crossed(
        ["solver"], "{calls} calls", "{frechet:.2f} ({accuracy:.1%})",
    )),
    "quality by training": ("image_training_curve", "", each({
        "recipe": "{model}", "CPU-minutes": "{minutes:.1f}", "accuracy": "{accuracy:.1%}",
        "Fréchet distance": "{frechet:.2f}", "times the floor": "{ratio:.2f}",
    }, lambda frame: frame.assign(ratio=frame["frechet"] / frame["floor"]))),
    "equal minutes": ("digits_per_hour", "", each({
        "network": "{network}", "parameters": "{parameters:,}", "minutes": "{minutes:.1f}",
        "steps": "{steps}", "images/s": "{images_per_second:.0f}", "digits right": "{accuracy:.1%}",
        "Fréchet distance": "{frechet:.2f}", "floor": "{floor:.2f}",
        "s for the samples": "{seconds:.0f}",
    })),
    "sampler overhead": ("sampler_overhead", "", each({
        "sampler": "{sampler}", "microseconds a step": "{median:.1f}", "at best": "{best:.1f}",
        "times mmdiff DDIM": "{ratio:.1f}",
    }, lambda frame: frame.assign(ratio=frame["median"] / frame["median"].iloc[0]))),
    "image training": ("image_training", "", each({
        "instructions": "{isa}", "network": "{network}", "parameters": "{parameters:,}",
        "precision": "{precision}", "images/s": "{images_per_second:.1f}",
        "`fast`'s U-Net is": "{ours_times:.2f} x", "of the matmul rate": "{of_matmul:.0%}",
        "Muon's share of a step": "{muon_share:.0%}", "peak, MiB": "{peak_mib:,}",
        "MFLOP an image": "{training_mflop_per_image:,.0f}",
    })),
    "audio sampling": ("audio_sampling", "", each({
        "instructions": "{isa}", "precision": "{precision}", "guided": "{guided}",
        "seconds of sound a second": "{times_real_time:.1f}",
    })),
    "audio memory": ("audio_memory", "", each({
        "one clip of": "{seconds:g} s", "peak, MiB": "{peak_mib:.0f}",
    })),
    "reliability": ("reliability", "", crossed(["test", "what"], "{signal}", "{good} of {of}")),
    "kills": ("reliability_kills", "", crossed(
        ["kill"], "{signal}: killed in step, went on after", "{in_step}, {went_on_after}",
    )),
    "untrained": ("frontend_untrained", "", frontends.untrained),
    "peer": ("frontend_speed", "forward_of_ours_times > 0", each({
        "network": "{frontend}", "samples": "{length:,}", "p": "{p}", **of_works(
            "{WORK_of_ours_times:.3g} ({WORK_of_ours_low:.3g} to {WORK_of_ours_high:.3g})"
        ),
    })),
    "speed 65536": ("frontend_speed", "length == 65536", speed),
    "speed 262144": ("frontend_speed", "length == 262144", speed),
    **{
        f"{make.__name__} {dataset}": ("frontend_quality", f"dataset == '{dataset}'", make)
        for dataset in ("fsdd", "synthetic")
        for make in (frontends.quality, frontends.artefacts)
    },
    "enhance": ("sound_from_sound", "task == 'enhance' and pesq > 0", pairs(["given", "method"])),
    "enhance more": ("sound_from_sound", "given == '0 to 15 dB' and method != 'input'", each({
        "method": "{method}", "SI-SDR, dB": spread("si_sdr_more", "+.1f"),
        "PESQ": spread("pesq_more", "+.2f"), "ESTOI": spread("estoi_more", "+.3f"),
        "DNSMOS": spread("dnsmos_more", "+.2f"), "times real time": "{times_real_time:,.1f}",
    })),
    **{
        task: ("sound_from_sound", f"task == '{task}' and pesq > 0", pairs(["method"], **SPEED))
        for task in ("upsample", "vocode")
    },
    "words": ("sound_from_sound", "words >= 0", each({
        "task": "{task}", "method": "{method}", "word errors": spread("words", ".1%"),
    })),
    "conversions by calls": (
        "sound_from_sound_calls", "", pairs(["task", "calls"], **SPEED),
    ),
    "sound choices": ("sound_choices", "", each({
        "the recipe": "{change}", "parameters": "{parameters:,}", "calls": "{calls}",
        "SI-SDR, dB": spread("si_sdr_more", "+.1f"), "PESQ": spread("pesq_more", "+.2f"),
        "ESTOI": spread("estoi_more", "+.3f"), "DNSMOS": spread("dnsmos_more", "+.2f"),
    })),
    "sound wide": ("sound_wide", "", each({
        "task": "{task}", "parameters": "{parameters:,}", "s a step": "{step_seconds:.1f}",
        "MiB": "{step_mib:,.0f}", "used": "{used:.1f}",
    })),
    "restoration": ("restoration", "", restoration),
    "backbones": ("backbones", "", each({
        "task": "{task}", "backbone": "{backbone}", "parameters": "{parameters:,}",
        "minutes": "{minutes:.1f}", "steps": "{steps:,}", "epochs": "{epochs:.1f}",
        "read right": "{accuracy:.1%}", "Fréchet distance (floor)": "{frechet:.2f} ({floor:.2f})",
        "samples": "{samples:,}",
    })),
    "backbones cost": ("backbones_cost", "", crossed(
        ["task", "shape"], "{backbone}, ms a sample", "{milliseconds:.1f}",
    )),
    "joint ways": ("joint_ways", "", each({
        "way": "{way}", "trained": "{trained:,}", "minutes": "{minutes:.0f}", "steps": "{steps:,}",
        "pairs agree": "{agree:.1%}", "picture to sound": "{sound_from_picture:.1%}",
        "sound to picture": "{picture_from_sound:.1%}",
        "Fréchet of pictures (floor)": "{picture_frechet:.1f} ({picture_floor:.1f})",
        "of sounds (floor)": "{sound_frechet:.1f} ({sound_floor:.1f})",
    })),
    "gpu": ("gpu", "", each({
        "batch": "{batch}", "network": "{variant}", "precision": "{precision}",
        "images/s": "{images_per_second:.0f}", "times the first": "{times_faster:.2f}",
        "difference": "{difference:.1e}", "peak, MiB": "{peak_mib:.0f}",
    })),
}  # fmt: skip


def markdown(records: list[Cells]) -> str:
    """A table without the columns that are empty; columns of numbers are aligned to the right."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name, "") for record in records] for name in names}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    numbers = (all(map(NUMBER.match, filter(None, cells))) for cells in columns.values())
    marks = ["---:" if right else "---" for right in numbers]
    lines = (columns, marks, *zip(*columns.values(), strict=True))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(name: str) -> str:
    """The table of that name, and below it what it was measured on; "" before that is measured."""
    file, which, make = TABLES[name]
    path = RESULTS / f"{file}.csv"
    if not path.exists():
        return ""
    frame: Any = pd.read_csv(path)
    frame = frame.query(which) if which else frame
    if frame.empty:
        return ""
    machines = frame.reindex(columns=ABOUT).dropna(axis=1, how="all").drop_duplicates()
    if "threads" in machines:
        threads = machines["threads"].map("{:.0f} threads".format)
        machines["threads"] = threads.replace("1 threads", "1 thread")
    where = "; ".join(", ".join(line) for line in machines.to_numpy().tolist())
    source = f"`results/{path.name}`" + f": {where}" * bool(len(machines.columns))
    return f"{markdown(make(frame))}\n\n<sub>{source}</sub>\n"


def fill(page: str) -> str:
    """The text of a page with all its tables as the CSV files have them now."""
    return PLACE.sub(lambda found: found[1] + table(found[2]) + found[3], page)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", action="store_true", help="leave the plots as they are")
    args = parser.parse_args()
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
    if not args.tables:
        report_plots.draw(RESULTS)


if __name__ == "__main__":
    main()
