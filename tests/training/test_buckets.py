"""Batches of one size from data of several."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import mmdiff
from mmdiff.audio import Sound, sound
from mmdiff.image import Pictures
from mmdiff.image.folders import native_sides
from mmdiff.nn import Transformer
from mmdiff.training.buckets import Buckets, in_buckets

SHAPES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=40)


@given(SHAPES, st.integers(1, 8), st.integers(0, 30))
def test_batches_have_one_shape_and_go_on_from_any_step(
    shapes: list[str], batch: int, start: int
) -> None:
    order = Buckets(shapes, batch, seed=3)
    whole = list(islice(order.lists(0), 40))
    assert list(islice(order.lists(start), 10)) == whole[start : start + 10]
    for one in whole:
        assert len(one) == batch
        assert len({shapes[entry % len(shapes)] for entry in one}) == 1
    halves = [Buckets(shapes, 2 * batch, 3, rank=rank, world=2).lists(0) for rank in range(2)]
    for one in islice(Buckets(shapes, 2 * batch, 3).lists(0), 5):
        assert one == next(halves[0]) + next(halves[1])


def test_all_are_visited_alike_and_none_again_before_the_others_of_its_shape() -> None:
    shapes = ["wide"] * 30 + ["high"] * 10
    entries = [entry for one in islice(Buckets(shapes, 4, 0).lists(0), 1000) for entry in one]
    visits = torch.tensor(entries) % 40
    seen = torch.bincount(visits, minlength=40)
    assert seen[:30].max() - seen[:30].min() <= 1
    assert seen[30:].max() - seen[30:].min() <= 1
    assert seen[30:].double().mean() == pytest.approx(100, abs=15)
    assert len(set(entries)) == len(entries)  # each visit is another one


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 8))
def test_parts_are_of_one_shape(shapes: list[int], batch: int) -> None:
    class Data:
        pass

    data: Any = Data()
    places = torch.arange(0, len(shapes), 2)
    for part, other in zip(in_buckets(data, places, batch), places.split(batch), strict=True):
        assert torch.equal(part, other)
    data.shapes = shapes
    parts = in_buckets(data, places, batch)
    assert sorted(torch.cat(parts).tolist()) == places.tolist()
    assert all(len({shapes[k] for k in part.tolist()}) == 1 <= len(part) <= batch for part in parts)


@given(st.integers(1, 500), st.integers(1, 500))
def test_native_sides_cover_and_keep_proportions(height: int, width: int) -> None:
    """To a step of 4 in 32, and at most twice as long."""
    high, wide = native_sides((height, width), (32, 32))
    assert min(high, wide) == 32
    assert high % 4 == wide % 4 == 0
    assert max(high, wide) <= min(64, 32 * max(height, width) / min(height, width))
    assert max(high, wide) > min(60, 32 * max(height, width) / min(height, width) - 4)


def pictures(folder: Path, *sides: tuple[int, int]) -> None:
    """Each is black above and white below, or black at the left."""
    folder.mkdir(parents=True)
    for k, (height, width) in enumerate(sides):
        picture = Image.new("L", (width, height))
        picture.paste(255, (0, height // 2, width, height))
        picture.save(folder / f"{k:02}.png")


SIDES = [(16, 24)] * 8 + [(24, 16)] * 6 + [(16, 16)] * 4


def open_both(folder: Path) -> list[Any]:
    return [
        Pictures.open(f"folder:{folder}", split, size=8, native=True) for split in ("train", "test")
    ]


def test_pictures_keep_their_proportions(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pictures(tmp_path / split, *SIDES)
    data, held_out = open_both(tmp_path)
    assert data.shape == held_out.shape == (1, 8, 12)
    assert data.shapes == [(1, h // 2, w // 2) for h, w in SIDES]
    for index, shape in enumerate(data.shapes):
        item = data[index]
        assert item["x"].shape == shape
        assert (item["x"][0, 0] < -0.9).all()
        assert (item["x"][0, -1] > 0.9).all()
    assert "8 x 8 to 12 x 8 pixels" in data.summary()
    with pytest.raises(ValueError, match="mnist are all of one size: leave native out"):
        Pictures.open("mnist", "train", native=True)
    with pytest.raises(ValueError, match="leave crop or native out"):
        Pictures.open(f"folder:{tmp_path}", "train", native=True, crop=True)


def test_turned_photographs_keep_their_proportions(tmp_path: Path) -> None:
    """A camera held upright writes a wide picture, and that it is to be turned."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for turned in (False, True):
            exif = Image.Exif()
            exif[0x0112] = 6 if turned else 1
            for suffix in ("jpg", "png", "tiff"):
                path = tmp_path / split / f"{turned}.{suffix}"
                Image.new("RGB", (24, 16)).save(path, exif=exif)
    data, _ = open_both(tmp_path)
    assert data.shapes == [(3, 8, 12)] * 3 + [(3, 12, 8)] * 3
    assert [tuple(data[index]["x"].shape) for index in range(len(data))] == data.shapes
    squarer: Any = Pictures.open(f"folder:{tmp_path}", "train", size=(8, 12), native=True)
    assert squarer.identity != data.identity


def test_one_model_is_trained_on_all_sizes_and_draws_them(tmp_path: Path) -> None:
    """Of pictures that are black or white throughout, so that it is seen at once."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for k, (height, width) in enumerate(SIDES):
            path = tmp_path / split / f"{k:02}.png"
            Image.new("L", (width, height), 255 * (k % 2)).save(path)
    data, held_out = open_both(tmp_path)
    torch.manual_seed(0)
    network = Transformer(2, 1, 1, 64, 2, patch=4)
    model = mmdiff.Diffusion(network, mmdiff.Trigonometric(), "x0", "v")
    how: dict[str, Any] = {"precision": "no", "sampling": mmdiff.Sampling("ddim", 8)}
    recipe = mmdiff.Recipe(model, steps=200, batch=4, lr=2e-3, samples=4, ema=None, **how)
    trained = mmdiff.load(mmdiff.train(recipe, data, held_out, tmp_path / "run", device="cpu"))
    assert trained.info.shape == data.shape
    assert (tmp_path / "run" / "samples.png").is_file()
    for height, width in ((8, 12), (12, 8), (8, 8)):
        x = mmdiff.sample(trained, (32, 1, height, width), mmdiff.DDIM(8)).flatten(1)
        plain = (x.mean(1).abs() > 0.9) & (x.std(1) < 0.2)
        assert plain.double().mean() > 0.75


def lengths(data: Any) -> list[int]:
    return [data[index]["x"].shape[1] for index in range(len(data))]


def test_short_sounds_stay_short(tmp_path: Path) -> None:
    """To an eighth of the longest; what is longer is cut into clips as ever."""
    for k, long in enumerate((100, 100, 390, 395, 800, 2000)):
        wave: Tensor = 0.5 * torch.ones(1, long)
        sound.write(tmp_path / "train" / f"{k}.wav", wave, 8000)
        sound.write(tmp_path / "test" / f"{k}.wav", wave, 8000)
    data: Any = Sound.open(f"folder:{tmp_path}", "train", seconds=0.1, native=True)
    assert lengths(data) == [100, 100, 400, 400, 800, 800, 800]
    assert [shape[1] for shape in data.shapes] == lengths(data)
    assert data.shape == (1, 800)
    assert (data[0]["x"] == 2).all()
    assert "clips of 0.0125 to 0.1 s" in data.summary()
    network: Any = Sound.presets()["v"](data).model.backbone.backbone
    whole: Any = Sound.open(f"folder:{tmp_path}", "train", seconds=0.1)
    longest: Any = Sound.presets()["v"](whole).model.backbone.backbone
    assert network.config == longest.config  # as deep as the longest clips want it
    with pytest.raises(ValueError, match="leave native out"):
        Sound.open(f"folder:{tmp_path}", "train", native=True, task="vocode")
