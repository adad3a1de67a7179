"""The docs say what was measured, and tables and plots what the numbers say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("report")


def test_pages_have_the_tables_of_what_was_measured(report: ModuleType) -> None:
    """python benchmarks/report.py --tables brings them up to date."""
    places = []
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert report.fill(text) == text
        places += [name for _, name, _ in report.PLACE.findall(text)]
    assert sorted(places) == sorted(report.TABLES)


def test_pictures_and_pages_that_are_linked_exist(report: ModuleType) -> None:
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        links = [part.split(")")[0] for part in text.split("](")[1:]]
        assert [
            link for link in links if not (page.parent / link).exists() and "://" not in link
        ] == []


def level(report: ModuleType, *columns: tuple[float, ...]) -> object:
    return report.frontends.Level(*map(pd.Series, columns))


def test_levels_are_averaged_as_power_ratios(report: ModuleType) -> None:
    several = level(report, (1e-3, 3e-3), (5e-4, 2e-3), (2e-3, 4e-3), (0.0, 0.0))
    # Of 2e-3; the mean of the decibels would be -27.6.
    assert several.text() == "-27.0 (-30.0 to -25.2)"
    # The bootstrap's interval, or the range over seeds where that is wider.
    assert several.low == pytest.approx(min(2e-3 - np.hypot(5e-4, 1e-3) / 2, 1e-3))
    assert several.high == pytest.approx(3e-3)


def test_what_is_not_found_has_an_upper_bound(report: ModuleType) -> None:
    unsure = level(report, (1e-3,), (-1e-4,), (2e-3,), (0.0,))
    assert unsure.text() == "< -27.0"
    assert level(report, (-1e-3,), (-2e-3,), (-1e-4,), (0.0,)).text() == "none"


def test_what_other_periods_have_as_well_is_marked(report: ModuleType) -> None:
    assert level(report, (1e-3,), (9e-4,), (2e-3,), (6e-4,)).text() == "-30.0 †"


def test_markdown(report: ModuleType) -> None:
    records = [{"a": "x", "b": "< -1", "c": ""}, {"a": "2", "b": "3 (1 to 4)", "d": "5"}]
    assert report.markdown(records).splitlines() == [
        "| a | b | d |",
        "| --- | ---: | ---: |",
        "| x | < -1 |  |",
        "| 2 | 3 (1 to 4) | 5 |",
    ]


def test_plots(report: ModuleType, tmp_path: Path) -> None:
    """All that are in the docs, drawn of a few of the rows."""
    results = tmp_path / "results"
    results.mkdir()
    for name in ("image_quality", "image_training_curve", "frontend_quality"):
        frame = pd.read_csv(report.RESULTS / f"{name}.csv")
        if name == "frontend_quality":
            frame = frame[frame["frontend"].isin(["raw", "patch:64"])]
        frame.to_csv(results / f"{name}.csv", index=False)
    (results / "frontend_sounds").symlink_to(report.RESULTS / "frontend_sounds")
    report.report_plots.draw(results)
    drawn = {path.name for path in results.glob("*.png")}
    assert drawn == {path.name for path in report.RESULTS.glob("*.png")}
    for name in drawn:
        with Image.open(results / name) as picture:
            pixels = np.asarray(picture.convert("L"))
            assert picture.width > 500
            assert 0.001 < (pixels < 200).mean() < 0.9
