"""mmdiff sample with models of pictures: what it writes, refuses and says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mmdiff
from mmdiff import noise
from mmdiff.image import pictures

DIGITS = tuple("0123456789")


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def _folder(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {file.name: _pixels(file) for file in path.iterdir()}


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


def test_file_names_are_safe(run: Any, save: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", labels=("../T-shirt/top", "b c"))
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
        assert (text["Seed"], text["Solver"], text["Steps"]) == ("9", "ddim", "3")
        assert text["Guidance"] == "1.5"
        assert text["Label"] == ("0, 1" if path.name == "x.png" else "1")


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
    options = ("-n", 1, "--steps", 120, "--solver", "ddim")
    assert run("sample", labelled, *options, "--out", "long.gif").code == 0
    with Image.open("long.gif") as image:
        assert 1 < image.n_frames <= 50


@pytest.mark.parametrize("out", ["x.png", "x.gif", "x/"])
def test_never_overwrites_unasked(run: Any, labelled: Path, out: str) -> None:
    options = ("sample", labelled, "-n", 2, "--steps", 2, "--out", out)
    assert run(*options).code == 0
    written = [path for path in Path(".").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in written}
    run(*options, "--seed", 1).refused(str(written[0].suffix), "--overwrite")
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
    run("sample", labelled, "--label", label).refused(
        "--label", repr(label), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )


def test_labels_and_guidance_need_a_labelled_model(run: Any, plain: Path) -> None:
    run("sample", plain, "--label", "3").refused("--label")
    run("sample", plain, "--guidance", "2").refused("--guidance")
    assert run("sample", plain, "--guidance", 1, "-n", 1, "--steps", 1).code == 0


def test_pictures_of_another_size(run: Any, labelled: Path) -> None:
    how = ("sample", labelled, "-n", 2, "--steps", 2, "--size")
    assert run(*how, "12x16", "--out", "few/").code == 0
    assert [Image.open(path).size for path in Path("few").glob("*.png")] == [(16, 12)] * 2
    run(*how, "2").refused("at least 4 pixels")


def test_what_cannot_be_done_is_one_sentence(run: Any, labelled: Path) -> None:
    run("sample", "no-such-model").refused("no-such-model")
    Path("broken.safetensors").write_bytes(b"not a checkpoint")
    run("sample", "broken.safetensors").refused("broken.safetensors")
    run("info", "broken.safetensors").refused("broken.safetensors")
    run("sample", labelled, "--out", "x.jpg").refused("x.jpg", "pictures", ".png", ".gif")
    run("sample", labelled, "--steps", 1001).refused("1001")
    run("sample", labelled, "--guidance", "inf").refused("guidance")
    run("sample", labelled, "--seconds", 2).refused("pictures have no length", "seconds")
    run("sample", labelled, "--device", "toaster").refused("toaster", "cpu")
    run("sample", labelled, "--vary", "gone.png").refused("gone.png")
    Path("file").write_text("")
    run("sample", labelled, "-n", 1, "--out", "file/x.png").refused("file")
    if not torch.cuda.is_available():
        run("sample", labelled, "--device", "cuda").refused("cuda", "cpu")
    assert not list(Path(".").glob("*.png"))


@pytest.mark.parametrize("strength", [0.02, 0.5])
def test_variations_begin_with_the_file(run: Any, labelled: Path, strength: float) -> None:
    x0 = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    Image.fromarray(((x0[0, 0] + 1) * 127.5).round().byte().numpy()).save("given.png")
    options = ("--vary", "given.png", "--strength", strength, "-n", 5, "--steps", 3)
    assert run("sample", labelled, *options, "--batch", 2, "--out", "x/").code == 0
    model = mmdiff.load(labelled)
    z = noise.normal(0, torch.arange(5), -1, (1, 8, 8))
    begun = model.add_noise(pictures.to_uint8(x0) / 127.5 - 1, torch.tensor([strength]), z)
    solver, told = mmdiff.DPMpp2MSDE(3), torch.arange(5)
    x = mmdiff.sample(
        model, begun.shape, solver, noise=begun, start=strength, clip=(-1, 1), label=told
    )
    for name, pixels in _folder(Path("x")).items():
        expected = pictures.to_uint8(x[int(name[0]), 0]).numpy()
        assert np.abs(pixels - expected.astype(int)).max() <= 1
    assert run("sample", labelled, *options, "--out", "x.gif").code == 0
    with Image.open("x.gif") as image:
        assert image.n_frames == len(solver.plan(model.schedule, strength))
    with Image.open("x/0_0.png") as image:
        assert image.info["Variation of"] == "given.png"
        assert image.info["Strength"] == f"{strength:g}"


def test_a_diverged_model_is_one_sentence(run: Any, save: Any) -> None:
    path = save(Path("nan.safetensors"), std=float("inf"))
    for out in ("x.png", "x.gif", "x/"):
        run("sample", path, "-n", 2, "--steps", 2, "--out", out).refused("diverged")
