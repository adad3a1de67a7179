"""Training in processes of its own: killed at any moment, and several together."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from train_tiny import LABEL, assert_same_run, figures, state, train_pictures, trainer

from mmdiff import load
from mmdiff.training.trainer import ASK_EVERY

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).parent / "train_tiny.py"
# Named after GPUs, this is how accelerate starts several processes on one machine of any kind.
LAUNCH = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"),
    *("--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0"),
)


@pytest.fixture
def environment() -> dict[str, str]:
    """One thread a process, and this checkout whether it is installed or not."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def vector(tensors: dict[str, torch.Tensor], prefix: str = "") -> torch.Tensor:
    """All tensors whose names begin with `prefix`, in the order of their names."""
    names = sorted(name for name in tensors if name.startswith(prefix))
    return torch.cat([tensors[name].detach().flatten() for name in names])


def launch(environment: dict[str, str], *arguments: str) -> None:
    """Run to the end in two processes; what they said is part of a failure."""
    done = subprocess.run(
        [*LAUNCH, *arguments], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


def wait_for_save(process: subprocess.Popen[bytes], file: Path, before: float) -> None:
    while process.poll() is None and not (file.exists() and file.stat().st_mtime > before):
        time.sleep(0.01)


@pytest.mark.parametrize("costly", [False, True])
def test_killed_runs_go_on_exactly(
    tmp_path: Path, environment: dict[str, str], costly: bool
) -> None:
    """Whether their data are decoded ahead in threads or not."""
    out, reference = tmp_path / "killed", tmp_path / "reference"
    file = out / "resume" / "state.safetensors"
    draw = random.Random(4)
    command = [sys.executable, str(DRIVER), str(out), "--steps", "60"] + ["--costly"] * costly
    for again in ([], ["--resume"]):
        before = file.stat().st_mtime if again else 0.0
        with subprocess.Popen(
            [*command, *again, "--delay", "0.01"], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            wait_for_save(process, file, before)
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = trainer(out, resume=True, steps=60)
        assert 0 < run.progress.step < 60
        run.fit()
        trainer(reference, steps=60).fit()
    finally:
        torch.set_num_threads(threads)
    assert_same_run(out, reference)
    assert figures(out, "losses.csv") == figures(reference, "losses.csv")


def test_two_processes_train_as_one(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "two"
    launch(environment, str(DRIVER), str(out), "--steps", "4", "--accumulate", "2")
    trainer(tmp_path / "one", steps=4, accumulate=2).fit()
    tensors, description = state(out)
    expected, expected_description = state(tmp_path / "one")
    assert description == expected_description
    assert load(out / "model.safetensors").info.made["processes"] == 2
    fresh = vector(dict(trainer(tmp_path / "fresh").model.named_parameters()))
    # As a whole: where a gradient is 0 but for rounding, Adam's step is not.
    for part, start in (("model/", fresh), ("ema/", fresh), ("optimizer/exp_avg/", 0 * fresh)):
        way, there = (vector(of, part) - start for of in (expected, tensors))
        assert way.norm() > 0
        assert (there - way).norm() < 1e-3 * way.norm()
    rows, expected_rows = (figures(path, "losses.csv") for path in (out, tmp_path / "one"))
    assert [row[:-1] for row in rows] == [row[:-1] for row in expected_rows]
    for row, expected_row in zip(rows[1:], expected_rows[1:], strict=True):
        assert float(row[-1]) == pytest.approx(float(expected_row[-1]), rel=1e-3)
    # Two go on with it, and one with what two began.
    launch(environment, str(DRIVER), str(out), "--steps", "5", "--accumulate", "2", "--resume")
    assert state(out)[1]["step"] == 5
    trainer(out, resume=True, steps=6, accumulate=2).fit()
    assert state(out)[1]["step"] == 6


def test_two_processes_stop_together(tmp_path: Path, environment: dict[str, str]) -> None:
    """One of them is asked to; both end at the same step, and all of it is saved."""
    out = tmp_path / "two"
    command = [*LAUNCH, str(DRIVER), str(out), "--steps", "100000", "--delay", "0.002"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        wait_for_save(process, out / "resume" / "state.safetensors", 0.0)
        children = psutil.Process(process.pid).children(recursive=True)
        next(one for one in children if one.environ().get("RANK") == "1").terminate()
        _, errors = process.communicate(timeout=280)
    assert process.returncode != 0
    stopped = state(out)[1]["step"]
    assert f"stopped after step {stopped} of 100000" in errors.decode()
    assert stopped > 0
    assert stopped % ASK_EVERY == 0 or stopped % 3 == 0  # or where the run is looked at
    assert trainer(out, resume=True, steps=100_000).progress.step == stopped


def test_all_of_a_run_in_two_processes(tmp_path: Path, environment: dict[str, str]) -> None:
    """Samples and pictures too, and the gradient of the first step is that of one process."""
    two = tmp_path / "two"
    launch(environment, str(DRIVER), str(two), "--whole", "--steps", "1")
    train_pictures(tmp_path / "one", steps=1)
    tensors, expected = state(two)[0], state(tmp_path / "one")[0]
    assert tensors.keys() == expected.keys()
    gradient, whole = (vector(of, "optimizer/exp_avg/") for of in (tensors, expected))
    assert whole.norm() > 0
    assert (gradient - whole).norm() < 1e-3 * whole.norm()
    names = {path.relative_to(two) for path in two.rglob("*.*") if "tensorboard" not in path.parts}
    assert {Path("samples/low_0.png"), Path("reverse.gif"), Path("losses.csv")} <= names
    assert names == {
        path.relative_to(tmp_path / "one")
        for path in (tmp_path / "one").rglob("*.*")
        if "tensorboard" not in path.parts
    }
    model = load(two / "model.safetensors")
    assert model.conditions == {"label": LABEL}
    assert model.info.made["processes"] == 2
