"""The page on front ends says what planted numbers say, and says otherwise when they do."""

from __future__ import annotations

import csv
import importlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmdiff.audio import sound

FOLDER = Path(__file__).parents[1] / "benchmarks"
WORKS = ("forward", "training step", "sampling step")
HEARD = ("spurs", "phase_variance")

Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def p_of(frontend: str) -> int:
    return 256 if frontend == "stft" else int(frontend.partition(":")[2] or 1)


def planted(
    frontend: str,
    level: float = -30.0,
    spun: float = -50.0,
    distance: float = 2.0,
    seed: int = 0,
    error: float = 0.1,
    dataset: str = "fsdd",
    control: float = 0.0,
    **others: Any,
) -> dict[str, Any]:
    """A row with levels in dB for plain and spun sampling; `error` is relative to a level."""
    p = p_of(frontend)
    row: dict[str, Any] = {
        "dataset": dataset, "frontend": frontend, "minutes": "4", "seed": seed, "samples": 200,
        "factor": p, "period": p if p > 1 else 16, "steps": 100 * p, "loss": 0.2,
        "clips_per_second": 2 * p, "parameters": 5e6, "loss_at_0.5": 0.25,
        "machine": "Abacus", "threads": 1,
    }  # fmt: skip
    for variant, decibels in (("plain", level), ("spun", spun)):
        if p == 1 and variant == "spun":
            continue
        ratio = 10 ** (decibels / 10)
        for name in (*HEARD, "coherence"):
            row |= {
                f"{name}_{variant}": ratio,
                f"{name}_low_{variant}": ratio * (1 - error),
                f"{name}_high_{variant}": ratio * (1 + error),
                f"{name}_control_{variant}": ratio * control,
            }
        row[f"tilt_{variant}"] = distance
        if dataset == "fsdd":
            row |= {f"frechet_{variant}": 1.5 * distance, f"floor_{variant}": 1.5}
            row[f"accuracy_{variant}"] = 0.9
    for t in ("0.25", "0.5"):
        row |= {f"rejection_{t}": 20, f"rejection_control_{t}": 60, f"shift_error_{t}": 1e-2}
    return row | others


def seeds(frontend: str, distances: Sequence[float], **kwargs: Any) -> list[dict[str, Any]]:
    return [
        planted(frontend, seed=seed, distance=distance, **kwargs)
        for seed, distance in enumerate(distances)
    ]


def save(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def save_speed(path: Path, share: float, spread: float = 0.01, length: int = 4096) -> None:
    """Speed-ups of share * p, with quartiles apart by `spread`, relative."""
    names = ["raw", "learned:64", "stft"]
    names += [f"{kind}:{2**k}" for kind in ("patch", "mdct") for k in range(1, 8)]
    rows = []
    for name in names:
        times = share * p_of(name) if name != "raw" else 1.0
        quartiles = [times * (1 - spread), times, times * (1 + spread)]
        rows.append({"name": name, "p": p_of(name), "speedup": dict.fromkeys(WORKS, quartiles)})
    about = {"machine": "Abacus", "threads": 2, "length": length, "rounds": 5, "rows": rows}
    path.write_text(json.dumps(about))


def words(module: Module, folder: Path, part: str) -> list[str]:
    """The verdicts on claims that contain `part`."""
    found = module("report_files").gather(folder)
    return [one.word for one in module("report_claims").verdicts(found) if part in one.claim]


def test_levels_are_averaged_as_power_ratios(module: Module) -> None:
    level = module("report_data").Level
    several = level((1e-3, 3e-3), (5e-4, 2e-3), (2e-3, 4e-3))
    assert several.found
    assert several.brief() == "-27.0"  # of 2e-3; the mean of the decibels would be -27.6
    assert several.text() == "-27.0 (-30.0 to -25.2)"
    assert level((1e-3,), (5e-4,), (2e-3,)).text() == "-30.0"
    assert level((3e-3, -1e-3), (2e-3, -2e-3), (4e-3, 0.0)).text() == "< -25.2"


def test_networks_err_independently_and_differ(module: Module) -> None:
    level = module("report_data").Level
    alike = level((1e-3,) * 4, (-2e-4,) * 4, (2.2e-3,) * 4)
    assert (alike.low, alike.high) == pytest.approx((4e-4, 1.6e-3))  # half as far as of one
    apart = level((4e-4, 4e-5, 4e-5), (3.9e-4, 3.9e-5, 3.9e-5), (4.1e-4, 4.1e-5, 4.1e-5))
    assert (apart.low, apart.high) == (4e-5, 4e-4)


def test_what_is_not_found_is_an_upper_bound(module: Module) -> None:
    level = module("report_data").Level
    assert level((1e-5,), (-1e-5,), (1e-4,)).text() == "< -40.0"
    assert level((-1e-5,), (-1e-4,), (1e-3,)).text() == "< -30.0"
    assert level((-1e-5,), (-1e-4,), (-1e-6,)).text() == "none"


def test_what_the_control_periods_share_is_marked(module: Module) -> None:
    level = module("report_data").Level
    assert level((1e-3,), (5e-4,), (2e-3,), (4.9e-4,)).own
    shared = level((1e-3,), (5e-4,), (2e-3,), (5.1e-4,))
    assert shared.found
    assert not shared.own
    assert shared.text() == "-30.0 †"


def test_rejection_and_shift_errors(module: Module) -> None:
    tables, group = module("report_tables"), module("report_data").Group
    rows = tuple(
        {"factor": "8", "rejection_0.5": decibels, "shift_error_0.5": error}
        for decibels, error in (("20", "1e-2"), ("40", "3e-2"))
    )
    mean = -10 * math.log10((1e-2 + 1e-4) / 2)
    assert tables.rejection(group("patch:8", rows), "rejection_0.5") == f"{mean:.1f} (20.0 to 40.0)"
    assert tables.shift_error(group("patch:8", rows), "shift_error_0.5") == "-17.0 (-20.0 to -15.2)"
    perfect = group("raw", ({"factor": "1", "rejection_0.5": "200"},) * 2)
    assert tables.rejection(perfect, "rejection_0.5") == "> 199"
    mixed = group("raw", tuple({"factor": "1", "rejection_0.5": one} for one in ("10", "200")))
    assert tables.rejection(mixed, "rejection_0.5") == "13.0 (10.0 to > 199)"


@pytest.mark.parametrize(
    ("plain", "ours", "word", "text"),
    [
        ((1e-3, 8e-4, 1.2e-3), (1e-5, 8e-6, 1.2e-5), "confirmed", "20.0"),
        ((1e-3, 8e-4, 1.2e-3), (5e-4, 4e-4, 6e-4), "refuted", "3.0"),
        ((1e-3, 8e-4, 1.2e-3), (9e-5, 7e-5, 1.1e-4), "not resolved", "10.5"),
        ((1e-3, 8e-4, 1.2e-3), (1e-6, -1e-5, 2e-5), "confirmed", "> 16.0"),
        ((1e-3, 8e-4, 1.2e-3), (1e-6, -1e-5, 2e-4), "not resolved", "> 6.0"),
        ((1e-3, 8e-4, 1.2e-3), (-1e-5, -2e-5, -1e-6), "confirmed", "all of it"),
        ((1e-6, -1e-5, 2e-5), (1e-6, -1e-5, 2e-5), "nothing to lower", "neither found"),
        ((1e-6, -1e-5, 2e-5), (1e-3, 8e-4, 1.2e-3), "refuted", "< -16.0"),
        ((-1e-6, -1e-5, -1e-7), (1e-3, 8e-4, 1.2e-3), "refuted", "none of it"),
    ],
)
def test_gain(
    module: Module, plain: tuple[float, ...], ours: tuple[float, ...], word: str, text: str
) -> None:
    level = module("report_data").Level
    first, second = (level(*((one,) for one in values)) for values in (ours, plain))
    gain = module("report_rules").gain(first, second)
    assert (gain.word, gain.text) == (word, text)


def test_quality_is_compared_with_two_seeds_of_each(module: Module) -> None:
    rules, values = module("report_rules"), module("report_data").Values

    def compared(ours: tuple[float, ...], theirs: tuple[float, ...]) -> str:
        pair = (values(each) for each in (ours, theirs))
        word: str = rules.compared(*(rules.Quality(one, 1.1 * one.mean) for one in pair))
        return word

    assert compared((2.1, 2.2), (2.0, 2.1)) == "as good"
    assert compared((1.0, 1.1), (2.0, 2.1)) == "as good"
    assert compared((2.6, 2.9), (2.0, 2.1)) == "worse"
    assert compared((2.0, 3.2), (2.0, 2.1)) == "not resolved"
    assert compared((9.0,), (2.0, 2.1)) == "not resolved"
    assert compared((2.0,), (2.0, 2.1)) == "not resolved"


@pytest.mark.parametrize(
    ("share", "spread", "word"),
    [(0.95, 0.01, "confirmed"), (0.8, 0.01, "refuted"), (0.9, 0.05, "not resolved")],
)
def test_speed_verdicts(
    module: Module, tmp_path: Path, share: float, spread: float, word: str
) -> None:
    save_speed(tmp_path / "frontend_speed.json", 0.95)
    save_speed(tmp_path / "frontend_speed_long.json", share, spread, length=2**20)
    assert words(module, tmp_path, "nearly p times") == ["confirmed", word]
    assert words(module, tmp_path, "Target: a speed-up") == [word, word]


@pytest.mark.parametrize(
    ("level", "error", "control", "word"),
    [
        (-30, 0.1, 0.0, "confirmed"),
        (-45, 0.1, 0.0, "refuted"),
        (-45, 30.0, 0.0, "not resolved"),
        (-30, 0.1, 0.8, "not resolved"),  # found at other periods as much
    ],
)
def test_aliasing_at_every_p(
    module: Module, tmp_path: Path, level: float, error: float, control: float, word: str
) -> None:
    rows = [planted("patch:8"), planted("patch:16", level, error=error, control=control)]
    save(tmp_path / "frontend_quality.csv", rows)
    assert words(module, tmp_path, "aliases audibly") == [word]
    measurable = "not resolved" if error > 1 or control else "confirmed"
    assert words(module, tmp_path, "aliases measurably") == [measurable]


@pytest.mark.parametrize(
    ("large", "word"),
    [([2.5, 2.6], "confirmed"), ([2.15, 2.2], "refuted"), ([2.0, 3.2], "not resolved")],
)
def test_quality_beyond_64(module: Module, tmp_path: Path, large: list[float], word: str) -> None:
    rows = seeds("patch:64", [2.0, 2.1])
    save(tmp_path / "frontend_quality.csv", rows)
    assert words(module, tmp_path, "quality falls") == ["not measured"]
    save(tmp_path / "frontend_quality.csv", rows + seeds("patch:128", large))
    assert words(module, tmp_path, "quality falls") == [word]


@pytest.mark.parametrize(
    ("own", "word"),
    [([1.0, 1.1], "confirmed"), ([3.0, 3.1], "refuted"), ([2.0, 2.2], "not resolved")],
)
def test_best_trade(module: Module, tmp_path: Path, own: list[float], word: str) -> None:
    """Better but slower front ends do not matter."""
    rows = seeds("patch:64", [2.0, 2.1]) + seeds("patch:8", [0.5, 0.6])
    save(tmp_path / "frontend_quality.csv", rows + seeds("learned:64", own))
    save_speed(tmp_path / "frontend_speed.json", 0.5)
    assert words(module, tmp_path, "best trade") == [word]


@pytest.mark.parametrize(
    ("share", "level", "word"),
    [(0.5, -30, "confirmed"), (0.01, -30, "refuted"), (0.5, -60, "not resolved")],
)
def test_stft(module: Module, tmp_path: Path, share: float, level: float, word: str) -> None:
    save(tmp_path / "frontend_quality.csv", [planted("stft", level)])
    save_speed(tmp_path / "frontend_speed.json", share)
    assert words(module, tmp_path, "STFT") == [word]


@pytest.mark.parametrize(
    ("others", "word"), [([2.0, 2.1], "confirmed"), ([3.9, 4.2], "not resolved")]
)
def test_noise_of_the_stft_need_not_repeat(
    module: Module, tmp_path: Path, others: list[float], word: str
) -> None:
    rows = seeds("stft", [4.0, 4.1], level=-60) + seeds("patch:64", [2.0, 2.1])
    save(tmp_path / "frontend_quality.csv", rows + seeds("mdct:64", others))
    save_speed(tmp_path / "frontend_speed.json", 0.5)
    assert words(module, tmp_path, "STFT") == [word]


@pytest.mark.parametrize(
    ("mdct", "spun", "distance", "word"),
    [
        (-45, -32, 2.0, "confirmed"),  # the MDCT alone
        (-32, -45, 2.0, "confirmed"),  # spinning alone
        (-32, -32, 2.0, "refuted"),
        (-45, -45, 3.0, "refuted"),  # lower, but worse
    ],
)
def test_artefact_target(
    module: Module, tmp_path: Path, mdct: float, spun: float, distance: float, word: str
) -> None:
    rows = []
    for p, seed in ((8, 0), (8, 1), (16, 0), (16, 1)):
        patches = planted(f"patch:{p}", -30, spun, seed=seed) | {"frechet_spun": 1.5 * distance}
        rows += [patches, planted(f"mdct:{p}", mdct, mdct, distance, seed=seed)]
    save(tmp_path / "frontend_quality.csv", rows)
    assert words(module, tmp_path, "MDCT or spun") == [word]


def test_where_nothing_is_there_is_nothing_to_lower(module: Module, tmp_path: Path) -> None:
    """Only the p at which patches leave something count."""
    rows = []
    for seed in (0, 1):
        for p, level, error in ((8, -30, 0.1), (16, -60, 5.0)):
            rows += [
                planted(f"patch:{p}", level, -45, error=error, seed=seed),
                planted(f"mdct:{p}", -60, -60, error=5.0, seed=seed),
            ]
    save(tmp_path / "frontend_quality.csv", rows)
    assert words(module, tmp_path, "MDCT or spun") == ["confirmed"]
    study = module("report_files").gather(tmp_path).studies["fsdd"]
    line = module("report_rules").races(study)["MDCT"]
    assert [race.word for race in line] == ["confirmed", "nothing to lower"]
    save(tmp_path / "frontend_quality.csv", [row for row in rows if row["factor"] == 16])
    assert words(module, tmp_path, "MDCT or spun") == ["not resolved"]


def answered(module: Module, folder: Path) -> str:
    text: str = module("report_text").answer(module("report_files").gather(folder))
    return text


def test_answer_follows_the_numbers(module: Module, tmp_path: Path) -> None:
    raw, fine, coarse = (seeds(name, [2.0, 2.1]) for name in ("raw", "mdct:16", "patch:64"))
    save(tmp_path / "frontend_quality.csv", raw + fine + seeds("patch:64", [4.0, 4.2]))
    text = answered(module, tmp_path)
    assert "**Use `mdct:16`**: its samples, 2.05 (2.00 to 2.10) times the floor, are as" in text
    assert "good as the nearest to real ones, those of `raw`" in text
    assert "and training is 16.0 times as fast" in text
    assert "faster" not in text
    assert "what is as fast: `patch:64` trains 4.0 times as fast, 4.10 (4.00 to 4.20) times" in text
    assert "not shown to be worse" not in text
    assert "measurably leaves it in the sound at p = 64; by our rule it is audible there" in text
    assert "it costs no network call; behind `mdct:16` coherence is 20.0 dB lower" in text
    save(tmp_path / "frontend_quality.csv", raw + fine + coarse)
    assert "**Use `patch:64`**" in answered(module, tmp_path)
    best = seeds("mdct:16", [1.0, 1.1])
    save(tmp_path / "frontend_quality.csv", raw + best + coarse)
    text = answered(module, tmp_path)
    assert (
        "**Use `mdct:16`**: its samples, 1.05 (1.00 to 1.10) times the floor, are the near" in text
    )
    assert "none is near" not in text
    worse = seeds("mdct:16", [4.0, 4.2]) + seeds("patch:64", [4.0, 4.2], level=-60)
    save(tmp_path / "frontend_quality.csv", seeds("raw", [2.1, 2.1]) + worse)
    text = answered(module, tmp_path)
    assert "**Use no front end**: its samples" in text
    assert "at p = 64; that it is audible, by our rule, is shown at no p." in text
    assert "none is near to real clips yet" in text
    save(tmp_path / "frontend_quality.csv", raw)
    assert "only `raw` has been measured" in answered(module, tmp_path)
    save(tmp_path / "frontend_quality.csv", [raw[0], planted("mdct:16", distance=9)])
    assert "chance may have decided" in answered(module, tmp_path)


def test_one_network_is_not_held_against_several(module: Module, tmp_path: Path) -> None:
    lone = planted("learned:16", distance=1.0)
    rows = seeds("mdct:16", [2.0, 2.1]) + seeds("patch:64", [4.0, 4.2])
    save(tmp_path / "frontend_quality.csv", [lone, *rows])
    text = answered(module, tmp_path)
    assert "**Use `mdct:16`**" in text
    assert "left out, with one network: `learned:16`." in text


def test_those_as_good_and_as_fast_tie(
    module: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The recipe's own comes first of them."""
    monkeypatch.setattr(module("report_text"), "FRONTEND", "mdct:16")
    rows = seeds("patch:16", [2.0, 2.1]) + seeds("learned:16", [2.05, 2.15])
    save(tmp_path / "frontend_quality.csv", rows)
    text = answered(module, tmp_path)
    assert "**Use `patch:16` or `learned:16`**: their samples, 2.05 (2.00 to 2.10) and 2.10" in text
    assert "are among the nearest to real ones.\n" in text
    save(tmp_path / "frontend_quality.csv", rows + seeds("mdct:16", [2.1, 2.2]))
    text = answered(module, tmp_path)
    assert "**Use `mdct:16`, `patch:16` or `learned:16`**: their samples" in text
    assert "the numbers do not decide; the recipe has `mdct:16`." in text


def test_each_data_set_has_its_say(module: Module, tmp_path: Path) -> None:
    rows = [row for name in ("patch:16", "mdct:16") for row in seeds(name, [2.0, 2.1], level=-60)]
    rows += [{**row, "dataset": "synthetic"} for row in seeds("patch:16", [2.0, 2.1], level=-20)]
    save(tmp_path / "frontend_quality.csv", rows)
    lines = answered(module, tmp_path).splitlines()
    digits, sounds = (line for line in lines if "**The grid**" in line)
    assert "spoken digits" in digits
    assert "is shown at no p" in digits
    assert "synthetic sounds" in sounds
    assert "audible there" in sounds


def test_runs_of_other_minutes_are_not_averaged(module: Module, tmp_path: Path) -> None:
    other = planted("patch:8", distance=9) | {"minutes": "1"}
    save(tmp_path / "frontend_quality.csv", [*seeds("patch:8", [2.0, 3.0]), other])
    study = module("report_files").gather(tmp_path).studies["fsdd"]
    assert study.groups["patch:8"].distance("plain").each == pytest.approx((2.0, 3.0))
    assert study.left_out == 1


def written() -> dict[Path, int]:
    paths = [*(FOLDER / "results").rglob("*"), FOLDER / "frontends.md"]
    return {path: path.stat().st_mtime_ns for path in paths if path.exists()}


def run(module: Module, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Make the page in `folder` of the results in `folder/results`; nothing else is written."""
    before, page = written(), folder / "page.md"
    options = ["--results", str(folder / "results"), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", ["report.py", *options])
    module("report").main()
    assert written() == before
    return page.read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with a little of everything."""
    folder = tmp_path / "results"
    (folder / "frontend_sounds").mkdir(parents=True)
    names = ("raw", "patch:8", "patch:16", "mdct:16", "learned:64", "stft")
    rows = [row for name in names for row in seeds(name, [2.0, 2.1])]
    rows += [planted(name, dataset="synthetic") for name in ("patch:16", "mdct:16")]
    save(folder / "frontend_quality.csv", rows)
    untrained = [
        {name.removesuffix("_plain"): value for name, value in planted(frontend, -20).items()}
        | {"input": source}
        for frontend in ("raw", "patch:16")
        for source in ("white", "speech")
    ]
    save(folder / "frontend_untrained.csv", untrained)
    save_speed(folder / "frontend_speed.json", 0.95)
    save_speed(folder / "frontend_speed_long.json", 0.95, length=2**20)
    wave = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    for name in ("real", "patch16-plain", "patch16-spun"):
        sound.write(folder / "frontend_sounds" / f"fsdd-{name}.wav", wave, 8000)
    return folder


def test_page(module: Module, monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    page = run(module, monkeypatch, results.parent)
    assert "Not yet" not in page
    assert "not yet" not in page
    assert "Abacus, 2 threads" in page
    assert "spoken digits at 8 kHz" in page
    assert "[patch:16, spun](results/frontend_sounds/fsdd-patch16-spun.wav)" in page
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if "| mdct:16 |" in line]
    quality = ["2.05 (2.00 to 2.10)", "90.0 (90.0 to 90.0)", "2.0 (2.0 to 2.1)"]
    assert rows[0][1:8] == ["16", "32", "16.00", "1,600", *quality]
    assert ["mdct:16", "16", *["15.2, 0.95 p"] * 4] in rows
    artefacts = ["-30.0 (-30.0 to -30.0)", "-50.0 (-50.0 to -50.0)"]
    assert ["mdct:16", "16", *artefacts * 3] in rows
    assert "| raw | 1 (sought: 16) | 1 | -20.0 | -20.0 |" in page
    for name in ("speed_aliasing", "speed_quality", "spectrograms"):
        assert f"](results/frontends_{name}.png)" in page
        with Image.open(results / f"frontends_{name}.png") as picture:
            assert picture.width > 1000
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
            assert len(np.unique(pixels, axis=0)) > 100
            assert 0.01 < (pixels.min(1) < 200).mean() < 0.9


def test_points_stand_at_their_numbers(module: Module, results: Path) -> None:
    plots, found = module("report_plots"), module("report_files").gather(results)
    marks = plots.marks_of(found.studies["fsdd"], plots.level_of("spurs"))
    axes: Any = Figure().subplots()
    plots.draw(axes, marks)
    lines = [line for line in axes.lines if line.get_marker() == "s"]
    points = {(line.get_xdata()[0], line.get_ydata()[0]): line.get_mfc() for line in lines}
    expected = {}
    for p in (8, 16):
        expected |= {(2 * p, -30.0): "#D55E00", (2 * p * plots.ASIDE, -50.0): "white"}
    assert sorted(points) == [pytest.approx(place) for place in sorted(expected)]
    assert [points[place] for place in sorted(points)] == [expected[e] for e in sorted(expected)]
    (raw,) = (mark for mark in marks if mark.group.name == "raw")
    assert (raw.x, raw.y) == pytest.approx((2, -30))


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("frontend_speed.json", "frontend_speed.py --length 1048576"),
        ("frontend_speed_long.json", "--length 262144"),
        ("frontend_quality.csv", "benchmarks/frontend_quality.py --data-dir data` measures it"),
        ("frontend_untrained.csv", "benchmarks/frontend_untrained.py --data-dir data` measures it"),
        ("frontend_sounds", "as `frontend_sounds/`"),
    ],
)
def test_missing_files(
    module: Module, monkeypatch: pytest.MonkeyPatch, results: Path, lost: str, named: str
) -> None:
    report = module("report")  # drawing is slow, and another test's business
    for name in ("draw_artefacts", "draw_quality"):
        monkeypatch.setattr(report, name, lambda *_: True)
    monkeypatch.setattr(report, "draw_spectrograms", lambda path, found, name: found.real(name))
    path = results / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert named in run(module, monkeypatch, results.parent)


def test_nothing_measured(module: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = run(module, monkeypatch, tmp_path)
    assert "Nothing has been measured yet" in page
    verdicts = [line for line in page.splitlines() if line.startswith("|") and "**" in line]
    assert len(verdicts) == 8
    assert all("**not measured**" in line for line in verdicts)
    assert not list(tmp_path.rglob("*.png"))


def test_unreadable_files(module: Module, monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    (results / "frontend_untrained.csv").write_text("frontend,factor\nraw,1\n")
    with pytest.raises(SystemExit, match="no column 'input': move it away"):
        run(module, monkeypatch, results.parent)
    (results / "frontend_speed.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"frontend_speed\.json is no file of"):
        run(module, monkeypatch, results.parent)


def test_a_spur_shows_where_its_tick_is(module: Module, tmp_path: Path) -> None:
    n = torch.arange(16000)
    sound.write(tmp_path / "tone.wav", 0.5 * torch.cos(2 * math.pi * 3 / 16 * n)[None], 8000)
    strip = module("report_spectrograms").strip_of(tmp_path / "tone.wav")
    row = int(strip.levels.mean(1).argmax())
    assert row / (len(strip.levels) - 1) * strip.sample_rate / 2 == 3 / 16 * 8000
    assert strip.levels[row].median() == pytest.approx(20 * math.log10(0.25), abs=0.01)


def test_labels_keep_clear_of_points_and_each_other(module: Module) -> None:
    labels = module("report_labels")
    figure = Figure(figsize=(4, 3))
    axes: Any = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    places = [(5, 5), (5.2, 5), (5, 5.3), (9.8, 5)]
    points = [labels.around(axes, x, y, y) for x, y in places]
    labels.place(axes, [labels.Label(x, y, "16", "black") for x, y in places], points)
    canvas.draw()
    boxes = [tuple(text.get_window_extent().extents) for text in axes.texts]
    frame = tuple(axes.get_window_extent().extents)
    for i, box in enumerate(boxes):
        size = labels.covered(box, box)
        assert labels.covered(box, frame) == pytest.approx(size)
        others = [*points, *boxes[:i]]
        assert sum(labels.covered(box, other) for other in others) < 0.1 * size
