"""The benchmark for GPUs: it works without one, and no section of it takes the others down."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mmdiff import DDIM, Diffusion, LinearBeta, Trigonometric
from mmdiff.audio.frontends import parse
from mmdiff.nn import UNet
from mmdiff.sampling import run
from mmdiff.training.audio import FRONTEND, PRESET, levels

FOLDER = Path(__file__).parents[1] / "benchmarks"

Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def written() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (FOLDER / "results").glob("gpu*")}


def test_quick(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = written()
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick"])
    runpy.run_path(str(FOLDER / "gpu.py"), run_name="__main__")
    assert written() == before
    out = capsys.readouterr().out
    assert "failed" not in out
    sections = {part.splitlines()[0]: part for part in out.split("\n## ")[1:]}
    rows = {
        title: [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in part.splitlines()
            if line.startswith("|")
        ][2:]
        for title, part in sections.items()
    }
    first = {title: [row[0] for row in found] for title, found in rows.items()}
    assert first.pop("What a sampler's step costs")[0] == "mmdiff DDIM"
    assert first == {
        "Speed behind front ends": ["raw", "mdct:16"],
        "Sampling": ["digits"] * 2 + ["sound"] * 2,
        "Precision": ["digits"] * 8,
        "Picard iteration": ["digits"],
        "Training": ["fast"] * 3,
        "Eager and captured": ["digits"] * 2 + ["sound"] * 2,
        "Compiled": [],
        "Sound of a few minutes": [],
    }
    # Compared with themselves, and on a CPU, where TF32 is nothing.
    assert rows["Speed behind front ends"][0][5] == "1"
    differences = {row[3]: row[6] for row in rows["Precision"] if row[2] == "forward"}
    assert differences["float32"] == differences["TF32"] == "0"
    assert 1e-4 < float(differences["bfloat16"]) < 0.1
    assert float(rows["Picard iteration"][0][8]) < 1e-4  # as many rounds as calls: exact


def test_without_a_gpu(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match=r"^torch finds no CUDA device here: add --quick[^.]*\.$"):
        load("gpu").main()


@pytest.fixture
def card(load: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """gpu.py on a machine with a card, whose sections find nothing but their time."""
    gpu = load("gpu")
    properties = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90000)

    def found(name: str, args: Namespace, seconds: float) -> dict[str, Any]:
        return {"rows": [{"name": name, "seconds": seconds}], "notes": [f"{name} was here."]}

    monkeypatch.setattr(gpu, "run_apart", found)
    return gpu


def measured(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


def test_the_time_is_shared_out(card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes", "2", "--out", str(tmp_path)])
    card.main()
    found = measured(tmp_path)
    assert found["card"] == "A card"
    assert found["memory_gib"] == 80
    assert list(found["sections"]) == list(card.SECTIONS)
    seconds = [part["rows"][0]["seconds"] for part in found["sections"].values()]
    shares = [section.share for section in card.SECTIONS.values()]
    assert seconds[0] == pytest.approx(120 * shares[0] / sum(shares), abs=1)
    # These take none of their time, so the last one has all of it.
    assert seconds[-1] == pytest.approx(120, abs=10)
    text = (tmp_path / "gpu.md").read_text()
    assert text.count("\n## ") == len(seconds)
    assert "A card, 80 GiB" in text
    assert "- picard was here." in text


def test_nobody_gets_more_than_is_left(load: Load) -> None:
    gpu = load("gpu")
    left, names = 540.0, list(gpu.SECTIONS)
    for place, name in enumerate(names):
        seconds = gpu.allot(name, names[place:], left)
        assert 0 < seconds <= left + 1e-9
        left -= seconds
    assert left == pytest.approx(0, abs=1e-9)


def test_a_section_alone_leaves_the_others(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def main(*sections: str) -> None:
        options = ["--out", str(tmp_path), "--sections", *sections]
        monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
        card.main()

    main("overhead", "picard")
    before = measured(tmp_path)["sections"]
    main("picard", "graphs")
    after = measured(tmp_path)["sections"]
    assert list(after) == ["overhead", "picard", "graphs"]
    assert after["overhead"] == before["overhead"]
    assert after["picard"]["rows"] != before["picard"]["rows"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Another card")
    main("graphs")
    assert list(measured(tmp_path)["sections"]) == ["graphs"]


def test_what_fails_is_a_sentence(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, timing = load("gpu"), load("gpu_timing")

    def broken(setting: object) -> Iterator[Any]:
        yield {"rows": 1}
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much.")

    monkeypatch.setattr(load("gpu_sampling"), "overhead", broken)
    found = gpu.gather(gpu.measure("overhead", timing.Setting("cpu", quick=True)))
    assert found["rows"] == [{"rows": 1}]
    assert found["notes"] == ["It failed here (OutOfMemoryError: CUDA out of memory.)."]
    monkeypatch.setitem(sys.modules, "gpu_sampling", None)  # cannot be imported
    (note,) = gpu.gather(gpu.measure("overhead", timing.Setting("cpu", quick=True)))["notes"]
    assert "ModuleNotFoundError" in note


def test_a_section_of_its_own(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the command of a section does, here in this process."""
    gpu, settings = load("gpu"), []

    def overhead(setting: Any) -> Iterator[Any]:
        settings.append(setting)
        yield {"ms": 1}
        yield "A sentence."

    def apart(command: list[str], path: Path, seconds: float) -> Iterator[Any]:
        assert Path(command[1]) == FOLDER / "gpu.py"
        monkeypatch.setattr(sys, "argv", command[1:])
        gpu.main()
        yield from map(json.loads, path.read_text().splitlines())

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(load("gpu_sampling"), "overhead", overhead)
    monkeypatch.setattr(gpu, "apart", apart)
    now = time.time()
    found = gpu.run_apart("overhead", Namespace(data_dir=tmp_path), 1000.0)
    assert found == {"rows": [{"ms": 1}], "notes": ["A sentence."]}
    (setting,) = settings
    assert (setting.device, setting.quick, setting.data_dir) == ("cuda", False, tmp_path)
    # It aims at being through before it is ended.
    assert 800 < setting.until - now < 900


def test_rows_come_back_from_another_process(load: Load, tmp_path: Path) -> None:
    gpu, items = load("gpu"), [{"ms": 1.5, "note": None}, "A sentence.", {"ms": 2}]
    gpu.into(tmp_path / "whole", iter(items))
    command = ["cp", str(tmp_path / "whole"), str(tmp_path / "copy")]
    assert list(gpu.apart(command, tmp_path / "copy", 60)) == items
    assert list(gpu.apart(["true"], tmp_path / "none", 60)) == []


def test_a_crash_keeps_what_was_measured(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    script = f"""printf '{{"ms": 1}}\\n{{"ms": 2' > {path}; kill -KILL $$"""  # cut in a row
    found = list(load("gpu").apart(["sh", "-c", script], path, 60))
    assert found == [{"ms": 1}, "It ended here with exit code -9."]


def test_a_section_that_hangs_is_ended(load: Load, tmp_path: Path) -> None:
    """It, and what it started: only the latter holds the pipe open."""
    path, pipe = tmp_path / "rows", tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    script = f"""printf '{{"ms": 1}}\\n' > {path}; sleep 300 > {pipe} & sleep 300"""
    found = list(load("gpu").apart(["sh", "-c", script], path, 2))
    assert found == [{"ms": 1}, "It was ended here after 2 s, its share of the time."]
    assert select.select([reader], [], [], 30)[0]  # closed at the other end
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_one_failure_leaves_the_other_works(load: Load) -> None:
    timing, called = load("gpu_timing"), []

    def broken() -> None:
        raise RuntimeError("no such kernel")

    works = {("a", 1): lambda: called.append(1), ("b", 2): broken}
    setting = timing.Setting("cpu")
    times, failed = timing.rounds(works, setting, 0.0)
    assert list(times) == [("a", 1)]
    assert len(times["a", 1]) == timing.ROUNDS[0]  # no time is left, and the least is done
    assert failed == ["b, 2 failed (RuntimeError: no such kernel)."]
    called.clear()
    timing.rounds(works, replace(setting, quick=True), 60.0)
    assert len(called) == 2


def test_shared_noise_drops_out(load: Load) -> None:
    slowed = (1.0, 7.0, 1.5, 40.0, 2.0)
    slow, fast = [6 * s for s in slowed], [2 * s for s in slowed]
    assert load("gpu_timing").times_faster(slow, fast) == 3


def test_precisions(load: Load) -> None:
    timing, backends = load("gpu_timing"), torch.backends

    def flags() -> tuple[bool, bool, bool]:
        matmul, cudnn = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
        return matmul, cudnn, torch.is_autocast_enabled("cpu")

    before = flags()
    seen = {name: timing.within(name, "cpu", flags)() for name in timing.PRECISIONS}
    assert seen == {
        timing.WITHOUT: (False, False, False),
        timing.DEFAULT: (False, True, False),
        timing.EVERYWHERE: (True, True, False),
        timing.BF16: (False, True, True),
    }
    assert seen[timing.DEFAULT] == before
    with pytest.raises(ZeroDivisionError), timing.precision(timing.EVERYWHERE, "cpu"):
        raise ZeroDivisionError
    assert flags() == before


def test_the_sound_is_the_recipes(load: Load) -> None:
    models, timing = load("gpu_models"), load("gpu_timing")
    model = models.sound(timing.Setting("cpu", quick=True))
    transform: Any = parse(FRONTEND)
    name = type(transform).__name__
    assert model.backbone.config["transform"] == {"name": name, "config": transform.config}
    network = model.backbone.config["backbone"]["config"]
    assert network["channels"] == levels(2400, transform.factor, PRESET.width)
    assert network["in_channels"] == transform.channels(2)
    assert all(parameter.any() for parameter in model.parameters())
    assert models.seconds(timing.Setting("cuda")) == 5


@pytest.fixture
def case(load: Load) -> Any:
    """A tiny network that minds x, t and its label."""
    torch.manual_seed(0)
    network = UNet(2, 1, 1, (8,), 1, conditions={"label": 3})
    load("gpu_timing").awake(network)
    model = Diffusion(network, Trigonometric(), "v").eval()
    return load("gpu_graphs").Case("tiny", model, 2, "float32")


@pytest.mark.parametrize(("schedule", "kind"), [(LinearBeta(), "eps"), (Trigonometric(), "v")])
def test_the_sampler_that_is_captured(load: Load, case: Any, schedule: Any, kind: Any) -> None:
    graphs = load("gpu_graphs")
    model = Diffusion(case.model.backbone, schedule, kind)
    plan, x = DDIM(5).plan(schedule), torch.randn(2, 1, 8, 8)
    given: Any = {"label": torch.tensor([0, 2])}
    ours = graphs.follow(plan, model, graphs.asked(plan, x), x, given)
    theirs = run(plan, lambda x_t, at: model.x0(x_t, at, x.dtype, **given), x)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


def compared(
    load: Load, case: Any, monkeypatch: pytest.MonkeyPatch, refills: bool
) -> dict[str, Any]:
    """The rows of the first part by variant; a graph that is replayed calls its work again."""
    graphs, timing = load("gpu_graphs"), load("gpu_timing")

    @torch.no_grad()
    def capture(work: Callable[[], torch.Tensor]) -> Any:
        output = work()
        refill = SimpleNamespace(replay=lambda: output.copy_(work()) if refills else None)
        return graphs.Graph(refill, output, work)

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "shape", lambda model, setting: (1, 8, 8))
    setting = timing.Setting("cpu", quick=True, until=time.time())
    found = list(graphs.compare(case, graphs.GRAPHS, setting, 0.0))
    assert all(isinstance(row, dict) for row in found), found
    return {row["variant"]: row for row in found}


def test_graphs_draw_the_same(load: Load, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = compared(load, case, monkeypatch, refills=True)
    assert list(rows) == [
        "eager",
        "eager, cudnn.benchmark",
        "network as a CUDA graph",
        "sampler as a CUDA graph",
    ]
    assert all(row["difference"] < 1e-6 for row in rows.values())
    assert rows["eager"]["times faster"] == 1


def test_a_broken_graph_is_seen(load: Load, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = compared(load, case, monkeypatch, refills=False)
    assert rows["network as a CUDA graph"]["difference"] > 1e-3  # it says what it said first


def test_a_variant_that_cannot_be_built(
    load: Load, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, timing = load("gpu_graphs"), load("gpu_timing")

    def compile(*args: object, **kwargs: object) -> nn.Module:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(graphs, "shape", lambda model, setting: (1, 8, 8))
    setting = timing.Setting("cpu", quick=True)
    note, eager = graphs.compare(case, graphs.COMPILED[:1], setting, 0.0)
    assert (eager["variant"], eager["difference"]) == ("eager", 0)
    assert note == "tiny, float32, torch.compile failed (RuntimeError: Failed to find C compiler.)."


def test_sound_of_a_few_minutes(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sound, timing = load("gpu_sound"), load("gpu_timing")
    script = tmp_path / "frontend_quality.py"
    script.write_text(
        "import argparse, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "for name in ('dataset', 'device', 'minutes', 'count', 'data-dir', 'runs', 'out'):\n"
        "    parser.add_argument('--' + name, required=True)\n"
        "parser.add_argument('--seeds', nargs='+')\n"
        "parser.add_argument('--frontends', nargs='+')\n"
        "args = parser.parse_args()\n"
        "rows = [f'{args.dataset},{name},0.5,' for name in args.frontends[:2]]\n"
        "text = '\\n'.join(['dataset,frontend,loss,accuracy_plain', *rows])\n"
        "pathlib.Path(args.out, 'frontend_quality.csv').write_text(text)\n"
        "raise SystemExit(3)\n"
    )
    monkeypatch.setattr(sound, "QUALITY", script)
    setting = timing.Setting("cuda", until=time.time() + 60, data_dir=tmp_path)
    missing, first, second, ended = sound.quality(setting)
    assert missing.endswith("synthetic sounds take their place.")
    assert (first["dataset"], first["front end"]) == ("synthetic", "patch:16")
    assert (second["front end"], second["loss"]) == ("mdct:16", 0.5)
    assert second["accuracy_plain"] is None  # nobody judges these
    assert ended == "frontend_quality.py ended with exit code 3."
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    first, _, _ = sound.quality(setting)
    assert first["dataset"] == "fsdd"


def test_cells(load: Load) -> None:
    cell = load("gpu_report").cell
    shown = {None: "", 0.012345: "0.0123", 45.67: "45.7", 12345.6: "12,346", 4096: "4,096"}
    assert [cell(value) for value in (*shown, "raw")] == [*shown.values(), "raw"]
