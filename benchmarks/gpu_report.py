"""The results of gpu.py as a table in Markdown, and as the JSON file that it is made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from frontend_report import markdown

from mmdiff.files import written_aside

STEM = "gpu"


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def section(found: dict[str, Any]) -> str:
    """A heading, the table of all rows under all names that any of them has, and the sentences."""
    names = list(dict.fromkeys(name for row in found["rows"] for name in row))
    rows = [[cell(row.get(name)) for name in names] for row in found["rows"]]
    blocks = [f"## {found['title']}", found["what"]]
    if rows:
        blocks.append(markdown(names, rows))
    if found["notes"]:
        blocks.append("\n".join(f"- {note}" for note in found["notes"]))
    return "\n\n".join(blocks)


def table(found: dict[str, Any]) -> str:
    on = f"{found['card']}, {found['memory_gib']} GiB" if found["memory_gib"] else found["card"]
    about = (
        f"Measured on: {on}; {found['machine']}; Python {found['python']}, torch {found['torch']}, "
        f"CUDA {found['cuda']}, cuDNN {found['cudnn']}. Medians over rounds in which all variants "
        "take turns. float32 is as torch has it by itself: TF32 in convolutions, not in matrix "
        "products. Peak is what is allocated beyond weights and optimiser state."
    )
    sections = map(section, found["sections"].values())
    return "\n\n".join(["# On a GPU", about, *sections]) + "\n"


def merged(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`found`, and the sections that only the folder's results have, if they are of this card.

    And of this version of torch.
    """
    path = folder / f"{STEM}.json"
    if not path.exists():
        return found
    kept = json.loads(path.read_text(encoding="utf-8"))
    if any(kept[key] != found[key] for key in ("card", "torch")):
        return found
    return {**found, "sections": {**kept["sections"], **found["sections"]}}


def write(found: dict[str, Any], folder: Path) -> None:
    """gpu.json and gpu.md."""
    for suffix, text in (("json", json.dumps(found, indent=2) + "\n"), ("md", table(found))):
        with written_aside(folder / f"{STEM}.{suffix}") as aside:
            aside.write_text(text, encoding="utf-8")
