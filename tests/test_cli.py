"""The command line, in process: what it writes, refuses and says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff import cli, options
from mmdiff.nn import UNet

DIGITS = tuple("0123456789")


def _save(path: Path, labels: tuple[str, ...], channels: int = 1) -> Path:
    """A small untrained network whose output is not zero, so that it matters what it is asked."""
    torch.manual_seed(0)
    net = UNet(
        dims=2,
        in_channels=channels,
        out_channels=channels,
        channels=(8, 8),
        blocks=1,
        conditions={"label": len(labels)} if labels else {},
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model = mmdiff.Diffusion(net, mmdiff.LinearBeta(), "v")
    info = mmdiff.Info(
        shape=(channels, 8, 8), labels=labels, dataset="none", made={"command": "a test"}
    )
    mmdiff.save(path, model, info)
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("labelled") / "model.safetensors", DIGITS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("plain") / "plain.safetensors", (), channels=3)


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`run("sample", ...)` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as exit_info:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        code = exit_info.value.code
        if isinstance(code, str):  # as the interpreter does when it ends
            code, err = 1, f"{err}{code}\n"
        return Result(int(code or 0), out, err)

    return call


def _refused(result: Result, *words: str) -> None:
    """One sentence on stderr that says what is wrong and what to do."""
    assert result.code == 1
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("mmdiff: ")
    assert result.err.rstrip().endswith(".")
    for word in words:
        assert word in result.err


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def _folder(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {file.name: _pixels(file) for file in path.iterdir()}


def test_solver_names_are_those_of_the_library() -> None:
    assert [name.value for name in options.SolverName] == list(mmdiff.SOLVERS)


def test_preset_names_are_those_of_the_library() -> None:
    from mmdiff.training.images import PRESETS

    assert [name.value for name in options.PresetName] == list(PRESETS)


def test_folder_has_one_named_file_a_sample(run: Any, labelled: Path, plain: Path) -> None:
    assert run("sample", labelled, "-n", 12, "--steps", 2, "--out", "a/").code == 0
    assert set(_folder(Path("a"))) == {f"{i % 10}_{i}.png" for i in range(12)}
    assert run("sample", labelled, "-n", 3, "--steps", 2, "--label", 7, "--out", "b").code == 0
    assert set(_folder(Path("b"))) == {"7_0.png", "7_1.png", "7_2.png"}
    Path("c.png").mkdir()  # a folder that exists is a folder, whatever its name
    assert run("sample", plain, "-n", 2, "--steps", 2, "--out", "c.png").code == 0
    pictures = _folder(Path("c.png"))
    assert set(pictures) == {"0.png", "1.png"}
    assert pictures["0.png"].shape == (8, 8, 3)


def test_file_names_are_safe(run: Any, tmp_path: Path) -> None:
    path = _save(tmp_path / "m.safetensors", ("../T-shirt/top", "b c"))
    assert run("sample", path, "-n", 2, "--steps", 1, "--out", "x/").code == 0
    assert set(_folder(Path("x"))) == {"..-T-shirt-top_0.png", "b-c_1.png"}


def test_batch_size_changes_nothing(run: Any, labelled: Path) -> None:
    for name, batch in (("a/", 10), ("b/", 3)):
        options = ("-n", 10, "--solver", "dpmpp2msde", "--steps", 4, "--batch", batch)
        assert run("sample", labelled, *options, "--out", name).code == 0
    a, b = _folder(Path("a")), _folder(Path("b"))
    assert a.keys() == b.keys()
    # One grey level: a convolution may sum in another order for another batch.
    assert all(np.abs(a[name] - b[name]).max() <= 1 for name in a)
    assert len({picture.tobytes() for picture in a.values()}) == 10


def test_seed_decides_the_samples(run: Any, labelled: Path) -> None:
    def grid(name: str, *options: object) -> bytes:
        arguments = ("-n", 6, "--steps", 3, *options, "--out", name)
        assert run("sample", labelled, *arguments).code == 0
        return _pixels(Path(name)).tobytes()

    first = grid("a.png", "--seed", 5)
    assert grid("b.png", "--seed", 5) == first
    others = {
        grid("c.png", "--seed", 6),
        grid("d.png", "--seed", 5, "--label", 3),
        grid("e.png", "--seed", 5, "--guidance", 3),
        grid("f.png", "--seed", 5, "--solver", "ddpm"),
        grid("g.png", "--seed", 5, "--steps", 4),
    }
    assert len(others | {first}) == 6


def test_grid_is_what_the_library_samples(run: Any, labelled: Path) -> None:
    assert (
        run("sample", labelled, "-n", 1, "--steps", 5, "--guidance", 2, "--out", "one/").code == 0
    )
    x = mmdiff.sample(
        mmdiff.load(labelled),
        (1, 1, 8, 8),
        mmdiff.DPMpp2MSDE(5),
        seed=0,
        guidance=2.0,
        clip=(-1.0, 1.0),
        label=torch.tensor([0]),
    )
    expected = ((x[0, 0].clamp(-1, 1) + 1) * 127.5).round().int().numpy()
    assert np.abs(_pixels(Path("one/0_0.png")) - expected).max() <= 1


def test_png_says_how_it_was_made(run: Any, labelled: Path) -> None:
    options = ("-n", 2, "--steps", 3, "--seed", 9, "--solver", "ddim", "--guidance", 1.5)
    assert run("sample", labelled, *options, "--out", "x/").code == 0
    assert run("sample", labelled, *options, "--out", "x.png").code == 0
    for path in (Path("x.png"), Path("x/1_1.png")):
        with Image.open(path) as image:
            text = dict(image.info)
        assert text["Software"] == f"mmdiff {mmdiff.__version__}"
        assert "Generated" in text["Description"]
        assert text["Model"] == f"{labelled.parent.name}/model"
        assert (text["Seed"], text["Solver"], text["Steps"]) == ("9", "DDIM", "3")
        assert text["Guidance"] == "1.5"


def test_gif_shows_the_reverse_process(run: Any, labelled: Path) -> None:
    for batch in (4, 3):
        options = ("-n", 4, "--steps", 6, "--batch", batch, "--overwrite")
        assert run("sample", labelled, *options, "--out", "x.gif").code == 0
        with Image.open("x.gif") as image:
            assert image.n_frames == 6
            image.seek(5)
            last = np.asarray(image.convert("L")).astype(int)
    assert run("sample", labelled, "-n", 4, "--steps", 6, "--out", "x.png").code == 0
    assert np.abs(last - _pixels(Path("x.png"))).max() <= 4  # a palette's rounding
    options = ("-n", 1, "--steps", 1000, "--solver", "ddim")
    assert run("sample", labelled, *options, "--out", "long.gif").code == 0
    with Image.open("long.gif") as image:
        assert 1 < image.n_frames <= 50


@pytest.mark.parametrize("out", ["x.png", "x.gif", "x/"])
def test_never_overwrites_unasked(run: Any, labelled: Path, out: str) -> None:
    options = ("sample", labelled, "-n", 2, "--steps", 2, "--out", out)
    assert run(*options).code == 0
    written = [path for path in Path(".").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in written}
    _refused(run(*options, "--seed", 1), str(written[0].suffix), "--overwrite")
    assert {path: path.read_bytes() for path in written} == before
    assert run(*options, "--seed", 1, "--overwrite").code == 0
    assert all(path.read_bytes() != before[path] for path in written)


def test_other_files_of_a_folder_stay(run: Any, labelled: Path) -> None:
    Path("x").mkdir()
    Path("x/mine.txt").write_text("mine")
    assert run("sample", labelled, "-n", 1, "--steps", 1, "--out", "x").code == 0
    assert Path("x/mine.txt").read_text() == "mine"


def test_makes_the_folders_it_needs(run: Any, labelled: Path) -> None:
    assert run("sample", labelled, "-n", 1, "--steps", 1, "--out", "a/b/c.png").code == 0
    assert Path("a/b/c.png").is_file()


@pytest.mark.parametrize("label", ["12", "seven", "-1", ""])
def test_wrong_label(run: Any, labelled: Path, label: str) -> None:
    _refused(run("sample", labelled, "--label", label), repr(label), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9")


def test_labels_and_guidance_need_a_labelled_model(run: Any, plain: Path) -> None:
    _refused(run("sample", plain, "--label", "3"), "--label")
    _refused(run("sample", plain, "--guidance", "2"), "--guidance")


def test_what_cannot_be_done_is_one_sentence(run: Any, labelled: Path) -> None:
    _refused(run("sample", "no-such-model"), "no-such-model")
    Path("broken.safetensors").write_bytes(b"not a checkpoint")
    _refused(run("sample", "broken.safetensors"), "broken.safetensors")
    _refused(run("info", "broken.safetensors"), "broken.safetensors")
    _refused(run("sample", labelled, "--out", "x.jpg"), ".png", ".gif")
    _refused(run("sample", labelled, "--steps", 1001), "1001")
    _refused(run("sample", labelled, "--guidance", "inf"), "guidance")
    Path("file").write_text("")
    _refused(run("sample", labelled, "-n", 1, "--out", "file/x.png"), "file")
    if not torch.cuda.is_available():
        _refused(run("sample", labelled, "--device", "cuda"), "--device cpu")
    assert not list(Path(".").glob("*.png"))


def test_a_full_disk_is_one_sentence(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(Image.Image, "save", full)
    _refused(run("sample", labelled, "-n", 1, "--steps", 1, "--out", "x.png"), "No space left")


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample",),
        ("no-such-command",),
        ("sample", "digits", "-n", "0"),
        ("sample", "digits", "--steps", "0"),
        ("sample", "digits", "--batch", "0"),
        ("sample", "digits", "--guidance", "-1"),
        ("sample", "digits", "--guidance", "nan"),
        ("sample", "digits", "--solver", "magic"),
        ("sample", "digits", "--device", "toaster"),
        ("sample", "digits", "--seed", "x"),
        ("evaluate", "digits", "-n", "60001"),
        ("train", "--epochs", "0"),
        ("train", "--preset", "slow"),
    ],
)
def test_wrong_usage_exits_with_2(run: Any, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert "Usage: mmdiff" in result.err


def test_interrupt_exits_with_130(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mmdiff.Diffusion, "x0", interrupt)
    assert run("sample", labelled, "--out", "x.png").code == 130
    assert not Path("x.png").exists()


def test_a_diverged_model_is_one_sentence(run: Any, tmp_path: Path) -> None:
    net = UNet(dims=2, in_channels=1, out_channels=1, channels=(8,))
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    model = mmdiff.Diffusion(net, mmdiff.LinearBeta(), "eps")
    mmdiff.save(tmp_path / "nan.safetensors", model, mmdiff.Info(shape=(1, 8, 8)))
    for out in ("x.png", "x.gif", "x/"):
        result = run("sample", "nan.safetensors", "-n", 2, "--steps", 2, "--out", out)
        _refused(result, "diverged")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_no_memory_is_one_sentence(
    run: Any, labelled: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhaust(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(mmdiff.Diffusion, "x0", exhaust)
    _refused(run("sample", labelled, "--out", "x.png"), "--batch")


def test_info_tells_what_the_header_holds(run: Any, labelled: Path, plain: Path) -> None:
    out = run("info", labelled).out
    count = sum(p.numel() for p in mmdiff.load(labelled).backbone.parameters())
    for word in ("UNet(", "channels=[8, 8]", f"{count:,}", "LinearBeta(", "timesteps=1000"):
        assert word in out
    for word in ("prediction", "v", "1 x 8 x 8", "-1 to 1", "0, 1, 2, 3", "a test"):
        assert word in out
    assert f"{labelled.stat().st_size:,}" in out
    assert "none" in run("info", plain).out


def test_evaluate_refuses_what_is_no_digit(run: Any, plain: Path) -> None:
    _refused(run("evaluate", plain, "-n", 10, "--steps", 1), "digits")


def test_evaluate_reports(run: Any, data_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = UNet(dims=2, in_channels=1, out_channels=1, channels=(8,), conditions={"label": 10})
    model = mmdiff.Diffusion(net, mmdiff.LinearBeta(), "eps")
    info = mmdiff.Info(shape=(1, 28, 28), labels=DIGITS, dataset="mnist", made={})
    mmdiff.save(tmp_path / "m.safetensors", model, info)
    options = ("-n", 40, "--steps", 2, "--data-dir", data_dir, "--json")
    result = run("evaluate", tmp_path / "m.safetensors", *options)
    assert result.code == 0
    report = json.loads(result.out)
    assert report["count"] == 40
    assert report["frechet"] > 2 * report["floor"]  # noise is no digit


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 8x8 pictures in two classes."""
    for index in range(12):
        folder = tmp_path / "pictures" / ("dark" if index % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 20 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def test_train_makes_a_model_that_sample_takes(run: Any, pictures: Path) -> None:
    options = ("train", "--dataset", f"folder:{pictures}", "--steps", 2, "--device", "cpu")
    result = run(*options)
    assert result.code == 0
    assert result.out == "wrote runs/pictures/model.safetensors\n"
    shown = run("info", "runs/pictures/model.safetensors").out
    assert "1 x 8 x 8" in shown
    assert "dark, light" in shown
    options_of_sample = ("-n", 2, "--steps", 2, "--label", "dark", "--out", "x/")
    assert run("sample", "runs/pictures/model.safetensors", *options_of_sample).code == 0
    assert set(_folder(Path("x"))) == {"dark_0.png", "dark_1.png"}
    _refused(run(*options), "--resume", "--out")
    assert run(*options, "--resume").code == 0


def test_an_interrupted_training_says_how_to_go_on(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmdiff.training import images, trainer

    def interrupt(**_: Any) -> None:
        raise trainer.Interrupted("stopped; go on with --resume.")

    monkeypatch.setattr(images, "train_images", interrupt)
    result = run("train")
    assert (result.code, result.out) == (130, "")
    assert result.err == "mmdiff: stopped; go on with --resume.\n"


def test_train_needs_its_data(run: Any) -> None:
    _refused(run("train", "--dataset", "folder:nowhere"), "nowhere")
    _refused(run("train", "--dataset", "nothing"), "nothing")


def test_help_has_examples_and_loads_no_torch() -> None:
    code = (
        "import sys; from mmdiff.cli import main\n"
        "try: main(['sample', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mmdiff sample digits --label 7" in done.stdout


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmdiff", "sample", "no-such-model"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mmdiff: ")
    assert done.stderr.count("\n") == 1
