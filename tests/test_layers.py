"""Imports flow one way, the core asks for nothing but torch, and only the program knows flags."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmdiff"

# What each part may import of the library: itself, what it names, and what that may import. A part
# is a package or a module at the top of mmdiff; those that no line names belong to the program.
FREE = {"errors", "files", "devices", "precision"}
MAY: dict[str, set[str]] = {
    "schedules": set(),
    "prediction": set(),
    "noise": set(),
    "conditions": set(),
    "told": {"conditions"},
    "objective": {"noise", "conditions"},
    "diffusion": {"schedules", "prediction", "objective", "told"},
    "solvers": {"schedules"},
    "steering": {"diffusion", "solvers"},
    "posterior": {"diffusion"},
    "sampling": {"steering"},
    "picard": {"sampling"},
    "restore": {"sampling", "posterior", "checkpoints"},
    "tensorfile": set(),
    "checkpoints": {"sampling", "tensorfile", "upgrade"},
    "upgrade": set(),
    "nn": {"conditions"},
    "recipe": {"sampling", "objective"},
    "modality": {"recipe"},
    "raster": set(),
    "data": {"noise"},
    "notes": {"sampling", "data"},
    "image": {"modality", "checkpoints", "nn", "raster", "data", "notes"},
    "audio": {"modality", "checkpoints", "nn", "raster", "data", "notes"},
    "films": {"raster", "data"},
    "video": {"image", "films"},  # a frame is a picture
    "joint": {"modality", "checkpoints", "nn", "raster", "data", "notes", "films"},
    "bounce": {"video", "audio", "joint"},
    "training": {"modality", "checkpoints", "nn", "raster", "data", "notes"},
    "metrics": {"image", "audio", "video", "joint", "bounce"},
}
CORE = ["schedules", "prediction", "noise", "conditions", "told", "diffusion", "solvers",
        "steering", "posterior", "sampling", "picard"]  # fmt: skip

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
    return {n for n in names if (PACKAGE / n).is_dir() or (PACKAGE / f"{n}.py").exists()}


def reach(name: str) -> set[str]:
    """All parts that `name` may import."""
    found, new = set(FREE), {name}
    while new:
        found |= new
        new = {other for known in new for other in MAY.get(known, set())} - found
    return found


def test_this_test_sees_the_house() -> None:
    assert {part(path) for path in MODULES} >= {*MAY, "cli"}
    assert own(Path("sampling.py")) >= {"noise", "told", "diffusion", "solvers", "steering"}
    assert "image" not in reach("training") | reach("audio") | reach("data")
    assert reach("nn") == {"nn", "conditions", *FREE}


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) in MAY], ids=str)
def test_imports_flow_one_way(path: Path) -> None:
    assert own(path) <= reach(part(path))


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


def flags(path: Path) -> list[str]:
    """The words in a file's strings that are a program's options."""
    strings = (
        node.value
        for node in ast.walk(ast.parse((PACKAGE / path).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return [flag for text in strings for flag in re.findall(r"--[a-z][\w-]*", text)]


def test_only_the_program_speaks_of_flags() -> None:
    """Who calls the library from Python has arguments."""
    spoken = {str(path): flags(path) for path in MODULES if part(path) in MAY}
    assert not {path: words for path, words in spoken.items() if words}


def test_the_front_page_names_what_exists() -> None:
    import mmdiff

    for name in mmdiff.__all__:
        assert getattr(mmdiff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        _ = mmdiff.smaple  # type: ignore[attr-defined]
