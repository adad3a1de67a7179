"""The paces of the benchmarks that give each network equal minutes."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


class Clock:
    """Minutes of each name, on a machine that may be slower from one day to the next."""

    def __init__(self, minutes: dict[str, float]) -> None:
        self.minutes, self.slowness, self.turns = minutes, 1.0, Counter[str]()

    def turn(self, name: str, steps: int) -> float:
        self.turns[name] += 1
        late = self.turns[name] % 3  # every third turn is undisturbed
        return self.minutes[name] * self.slowness * (1 + late)


@pytest.fixture
def pacing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("pacing")


@pytest.fixture
def clock(pacing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock({"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.25})
    monkeypatch.setattr(pacing, "_turn", clock.turn)
    return clock


def names(text: str) -> dict[str, Any]:
    return {name: name for name in text}


def test_the_undisturbed_turn_counts(pacing: ModuleType, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "pace.json"
    assert pacing.paces(names("ab"), path) == {"a": 1.0, "b": 2.0}
    assert json.loads(path.read_text()) == {"a": 1.0, "b": 2.0}


def test_what_is_known_is_not_timed_again(pacing: ModuleType, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "pace.json"
    pacing.paces(names("abc"), path)
    before = clock.turns.copy()
    assert pacing.paces(names("b"), path)["b"] == 2.0
    assert clock.turns == before


def test_names_that_come_later_compare_with_the_others(
    pacing: ModuleType, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "pace.json"
    pacing.paces(names("ab"), path)
    clock.slowness = 1.7
    found = pacing.paces(names("bcd"), path)
    assert found == pytest.approx({"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.25})
    assert json.loads(path.read_text()) == found


def test_without_a_name_to_compare_with_all_are_timed(
    pacing: ModuleType, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "pace.json"
    pacing.paces(names("ab"), path)
    clock.slowness = 2.0
    assert pacing.paces(names("cd"), path) == {"c": 10.0, "d": 0.5}
