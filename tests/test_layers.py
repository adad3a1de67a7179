"""Imports flow one way, and the core asks for nothing but torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmdiff"

# A module may import its own layer and those before it. The base is everybody's.
BASE = {"errors", "files", "folders"}
LAYERS = (
    {"schedules", "prediction", "noise"},
    {"diffusion", "solvers"},
    {"guidance", "sampling"},
    {"nn"},
    {"notes", "tensorfile"},
    {"image", "audio"},
    {"training", "metrics"},
)
LAST = len(LAYERS)  # the command line and what else nobody imports but it
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CORE = [name for rank in range(3) for name in sorted(LAYERS[rank])]

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path != Path("__init__.py")]


def part(path: Path) -> str:
    """The package or module at the top of mmdiff that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Everything that a file imports, wherever in it, by full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path: Path) -> set[str]:
    """The parts of mmdiff that a file imports."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("mmdiff.")}
    return {name for name in names if name in RANK or (PACKAGE / f"{name}.py").exists()}


def test_this_test_sees_the_house() -> None:
    assert {part(path) for path in MODULES} >= {*CORE, "nn", "image", "training", "metrics", "cli"}
    assert own(Path("sampling.py")) >= {"noise", "diffusion", "guidance", "solvers"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_flow_one_way(path: Path) -> None:
    rank = RANK.get(part(path), LAST)
    for name in own(path) - {part(path)} - ({"errors"} if part(path) in BASE else BASE):
        assert RANK.get(name, LAST) <= rank, f"{path} imports mmdiff.{name}"
        # Side by side: these never know each other.
        assert {name, part(path)} != {"image", "audio"}, f"{path} imports mmdiff.{name}"
        assert part(path) not in {"nn", *BASE}, f"{path} imports mmdiff.{name}"


@pytest.mark.parametrize("name", CORE)
def test_the_core_needs_torch_alone(name: str) -> None:
    allowed = {"torch", "mmdiff", *sys.stdlib_module_names}
    assert {found.split(".")[0] for found in imports(Path(f"{name}.py"))} <= allowed


def test_sampling_loads_no_modality() -> None:
    """Beyond what torch itself loads."""
    code = (
        "import sys, torch; before = set(sys.modules); import mmdiff;"
        "mmdiff.sample, mmdiff.picard, mmdiff.Guidance, mmdiff.Diffusion, mmdiff.SOLVERS;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "mmdiff" in loaded
    assert set(loaded) <= {"mmdiff", "torch", *sys.stdlib_module_names}


def test_the_front_page_names_what_exists() -> None:
    import mmdiff

    for name in ("Diffusion", "Guidance", "sample", "picard", "LinearBeta", "DPMpp2M", "SOLVERS"):
        assert name in mmdiff.__all__
        assert getattr(mmdiff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        _ = mmdiff.smaple  # type: ignore[attr-defined]
