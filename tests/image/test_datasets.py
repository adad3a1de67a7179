"""Data sets by name, from small files made here and from the real MNIST where it is."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torchvision import datasets as tv
from torchvision.datasets import mnist as tv_mnist

from mmdiff.conditions import Class
from mmdiff.data.folders import GENERATED
from mmdiff.errors import UserError
from mmdiff.image import folders
from mmdiff.image.datasets import Images, open_images
from mmdiff.raster import save_gif, save_png

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
LABELS = np.arange(20, dtype=np.uint8) % 10


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


def write_mnist(root: Path, folder: str = "MNIST") -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for prefix, part in (("train", slice(0, 15)), ("t10k", slice(15, 20))):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", PIXELS[part])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", LABELS[part])
    return raw


def names_of(images: Images) -> tuple[str, ...]:
    """The names of the classes, () if there are none."""
    label = images.conditions.get("label")
    return label.names if label else ()


def greys(images: Images) -> list[int]:
    """The level of each item's mean, from 0 to 255, sorted."""
    return sorted(round((float(item["x"].mean()) + 1) * 127.5) for item in images)


def write_png(path: Path, colour: object = 128, mode: str = "L", size: tuple[int, int] = (40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads fail as they do without a network; the URLs that were tried."""
    tried = []

    def fail(url: str, *_: object, **__: object) -> None:
        tried.append(url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(tv_mnist, "download_and_extract_archive", fail)
    monkeypatch.setattr(tv.cifar, "download_and_extract_archive", fail)
    monkeypatch.setattr(tv.celeba, "download_file_from_google_drive", fail)
    return tried


# --- idx sets


@pytest.mark.parametrize(
    ("name", "folder", "first"),
    [
        ("mnist", "MNIST", "0"),
        ("fashion-mnist", "FashionMNIST", "T-shirt/top"),
        ("kmnist", "KMNIST", "o"),
    ],
)
def test_idx_sets(tmp_path: Path, name: str, folder: str, first: str) -> None:
    write_mnist(tmp_path, folder)
    train, test = (open_images(name, split, tmp_path) for split in ("train", "test"))
    assert (train.name, train.shape) == (name, (1, 28, 28))
    assert (len(train), len(test)) == (15, 5)
    assert train.conditions == {"label": Class(10, names_of(train))}
    assert names_of(train)[0] == first
    assert [item["label"] for item in test] == [5, 6, 7, 8, 9]
    assert not train.costly
    assert train[3]["x"].dtype == torch.float32
    restored = (train[3]["x"].double() + 1) * 127.5
    np.testing.assert_allclose(restored[0].numpy(), PIXELS[3], atol=1e-4)
    assert open_images(name, "train", str(tmp_path), size=32)[0]["x"].shape == (1, 32, 32)
    assert train.summary().startswith(f"{name}: 15 grey images of 28 x 28 pixels; 10 classes: ")


def test_black_and_white_are_exactly_minus_one_and_one(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    write_idx(raw / "t10k-images-idx3-ubyte", np.full((5, 28, 28), [0] * 14 + [255] * 14, np.uint8))
    x = open_images("mnist", "test", tmp_path)[0]["x"]
    assert x.unique().tolist() == [-1, 1]


def test_a_loader_batches_items_with_what_is_known_of_them(tmp_path: Path) -> None:
    for index in range(11):
        write_png(tmp_path / f"{index}.png", index)
    images = open_images(f"folder:{tmp_path}")
    assert images.conditions == {}
    batch = next(iter(DataLoader(images, batch_size=10)))
    assert batch.keys() == {"x"}
    assert batch["x"].shape == (10, 1, 40, 40)
    write_mnist(tmp_path)
    batch = next(iter(DataLoader(open_images("mnist", "train", tmp_path), batch_size=10)))
    assert batch["label"].tolist() == list(range(10))


def test_data_dir_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "elsewhere")
    monkeypatch.setenv("MMDIFF_DATA", str(tmp_path / "elsewhere"))
    assert len(open_images("mnist")) == 15
    write_mnist(tmp_path / "data")
    monkeypatch.setenv("MMDIFF_DATA", "")
    monkeypatch.chdir(tmp_path)
    assert len(open_images("mnist", "test")) == 5


@pytest.mark.parametrize("length", [0, 3, 15, 16, 17, 500, 15 * 784 + 15])
def test_a_cut_idx_file_is_named(tmp_path: Path, length: int) -> None:
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="MNIST/raw/train-images-idx3-ubyte is cut"):
        open_images("mnist", "train", tmp_path)
    assert len(open_images("mnist", "test", tmp_path)) == 5


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    write_idx(raw / "train-labels-idx1-ubyte", LABELS[:14])
    with pytest.raises(UserError, match="15 images but 14 labels"):
        open_images("mnist", "train", tmp_path)
    write_idx(raw / "train-labels-idx1-ubyte", LABELS[:15] + 1)
    with pytest.raises(UserError, match="beyond 0 to 9"):
        open_images("mnist", "train", tmp_path)
    write_idx(raw / "train-images-idx3-ubyte", PIXELS[:0])
    with pytest.raises(UserError, match="is cut or is not"):
        open_images("mnist", "train", tmp_path)


# --- downloads


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw", "train-labels-idx1-ubyte"),
        ("kmnist", "KMNIST/raw", "train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py", "data_batch_1"),
        ("celeba", "celeba", "list_eval_partition.txt"),
    ],
)
def test_without_network_one_sentence_says_where_the_files_go(
    tmp_path: Path, offline: list[str], name: str, folder: str, file: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_images(name, "train", tmp_path / "new" / "data")
    message = str(caught.value)
    assert offline
    for part in (f"{tmp_path}/new/data/{folder}", file, "Name or service not known", "data_dir"):
        assert part in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_does_not_count_as_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision unpacks under the final name: a half-written file must not stay there."""

    def stop(url: str, download_root: str, **_: object) -> None:
        write_idx(Path(download_root, "train-images-idx3-ubyte"), PIXELS[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(tv_mnist, "download_and_extract_archive", stop)
    with pytest.raises(KeyboardInterrupt):
        open_images("mnist", "train", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_completes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_mnist(tmp_path / "source")

    def copy(url: str, download_root: str, **_: object) -> None:
        name = url.rsplit("/", 1)[1].removesuffix(".gz")
        Path(download_root, name).write_bytes((whole / name).read_bytes())

    monkeypatch.setattr(tv_mnist, "download_and_extract_archive", copy)
    raw = write_mnist(tmp_path / "data")
    (raw / "train-images-idx3-ubyte").unlink()
    (raw / "notes.txt").write_text("mine")
    assert len(open_images("mnist", "train", tmp_path / "data")) == 15
    assert (raw / "notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["MNIST"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_data_dir_is_read(tmp_path: Path, offline: list[str]) -> None:
    write_mnist(tmp_path)
    tmp_path.chmod(0o500)
    assert len(open_images("mnist", "train", tmp_path)) == 15
    with pytest.raises(UserError, match="Permission denied"):
        open_images("kmnist", "train", tmp_path)


def test_a_data_dir_that_cannot_be_made_is_reported(tmp_path: Path, offline: list[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="could not be downloaded"):
        open_images("mnist", "train", tmp_path / "file" / "data")
    assert not offline


# --- CIFAR-10 and CelebA


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six batches of two images whose red plane is the batch's number."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, value: object) -> str:
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    sums = []
    for number in range(6):
        data = np.zeros((2, 3, 1024), dtype=np.uint8)
        data[:, 0] = number
        name = "test_batch" if number == 0 else f"data_batch_{number}"
        sums.append([name, write(name, {"data": data.reshape(2, -1), "labels": [number, 9]})])
    names = [f"class {number}" for number in range(10)]
    meta = {**tv.CIFAR10.meta, "md5": write("batches.meta", {"label_names": names})}
    monkeypatch.setattr(tv.CIFAR10, "test_list", sums[:1])
    monkeypatch.setattr(tv.CIFAR10, "train_list", sums[1:])
    monkeypatch.setattr(tv.CIFAR10, "meta", meta)
    return folder


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path, monkeypatch)
    train = open_images("cifar10", "train", tmp_path)
    assert (len(train), train.shape, names_of(train)[3]) == (10, (3, 32, 32), "class 3")
    assert [item["label"] for item in train] == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    red, green, blue = train[4]["x"]
    torch.testing.assert_close(red, torch.full((32, 32), 3 / 127.5 - 1))
    assert (green == -1).all()
    assert (blue == -1).all()
    assert len(open_images("cifar10", "test", tmp_path)) == 2

    (folder / "data_batch_2").write_bytes(b"cut")
    with pytest.raises(UserError, match="cifar-10-batches-py holds a cut or altered file"):
        open_images("cifar10", "train", tmp_path)


def test_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "celeba"
    names = [f"{number:06}.jpg" for number in range(1, 6)]
    for name in names:
        # The central 178x178 of a face is blue, what lies above and below is red.
        image = Image.new("RGB", (178, 218), "red")
        ImageDraw.Draw(image).rectangle((0, 20, 177, 197), "blue")
        (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
        image.save(folder / "img_align_celeba" / name, quality=95)
    lists = {
        "list_eval_partition.txt": [f"{name} {2 * (name > names[2])}" for name in names],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": ["5", "x", *(f"{name} 1" for name in names)],
        "list_landmarks_align_celeba.txt": ["5", "x", *(f"{name} 1" for name in names)],
        "list_attr_celeba.txt": ["5", "x", *(f"{name} 1" for name in names)],
    }
    sums = {}
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(
        tv.CelebA, "file_list", [(code, sums.get(n), n) for code, _, n in tv.CelebA.file_list]
    )
    train = open_images("celeba", "train", tmp_path)
    assert (len(train), train.shape, train.conditions) == (3, (3, 64, 64), {})
    assert train.costly
    assert train[0]["x"][0, 2:-2].max() < -0.8  # no red but at the seams
    assert train[0]["x"][2, 2:-2].min() > 0.8
    assert len(open_images("celeba", "test", tmp_path, size=32)) == 2

    (folder / "img_align_celeba" / names[1]).unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 3 images .* 000002.jpg"):
        open_images("celeba", "train", tmp_path)


# --- folders


def test_sub_folders_are_the_classes(tmp_path: Path) -> None:
    for index in range(12):
        write_png(tmp_path / "dog" / "more" / f"{index}.png", 10)
        write_png(tmp_path / "cat" / f"{index}.png", 200)
    write_png(tmp_path / ".thumbnails" / "0.png")
    images = open_images(f"folder:{tmp_path}")
    assert names_of(images) == ("cat", "dog")
    for item in images:
        assert type(item["label"]) is int
        assert item["label"] == (item["x"].mean() < 0)
    assert "2 classes: cat 11, dog 11\nleft out: 1 hidden (.thumbnails/)" in images.summary()
    write_png(tmp_path / "loose.png")
    with pytest.warns(UserWarning, match=r"1 outside of the folders of the classes \(loose\.png"):
        assert names_of(open_images(f"folder:{tmp_path}")) == ("cat", "dog")


def test_one_sub_folder_is_no_class(tmp_path: Path) -> None:
    for index in range(3):
        write_png(tmp_path / "images" / f"{index}.png")
    assert open_images(f"folder:{tmp_path}").conditions == {}


@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_train_and_test_folders_are_the_splits(tmp_path: Path, classes: tuple[str, ...]) -> None:
    for inner in classes or (".",):
        write_png(tmp_path / "Training" / inner / "0.png", 10)
        write_png(tmp_path / "Training" / inner / "1.png", 10)
        write_png(tmp_path / "val" / inner / "0.png", 200)
    train, test = (open_images(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert names_of(train) == names_of(test) == classes
    assert len(train) == 2 * len(test)
    assert all(item["x"].max() < 0 for item in train)
    assert all(item["x"].min() > 0 for item in test)


def test_a_single_image_serves_both_splits(tmp_path: Path) -> None:
    write_png(tmp_path / "only.png")
    assert len(open_images(f"folder:{tmp_path}")) == 1
    assert len(open_images(f"folder:{tmp_path}", "test")) == 1


@pytest.mark.parametrize(
    ("first", "size"), [((30, 47), 28), ((300, 200), 64), ((3, 9), 4), ((64, 64), 64)]
)
def test_the_size_follows_the_first_image(
    tmp_path: Path, first: tuple[int, int], size: int
) -> None:
    write_png(tmp_path / "a.png", size=first)
    write_png(tmp_path / "b.png", size=(101, 55))
    assert open_images(f"folder:{tmp_path}").shape == (1, size, size)
    assert open_images(f"folder:{tmp_path}", size=12)[0]["x"].shape == (1, 12, 12)
    assert open_images(f"folder:{tmp_path}", size=(8, 12))[0]["x"].shape == (1, 8, 12)


def test_the_middle_is_cropped(tmp_path: Path) -> None:
    image = Image.new("L", (60, 20), 0)
    image.paste(255, (20, 0, 40, 20))
    image.save(tmp_path / "wide.png")
    assert (open_images(f"folder:{tmp_path}", size=20)[0]["x"] == 1).all()
    left, middle, right = open_images(f"folder:{tmp_path}", size=(10, 30))[0]["x"].chunk(3, dim=2)
    assert (left[:, :, :-3] < -0.95).all()
    assert (right[:, :, 3:] < -0.95).all()
    assert (middle[:, :, 3:-3] > 0.95).all()


def test_sets_of_one_size_are_cropped_like_files(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    wide = np.zeros((5, 28, 28), np.uint8)
    wide[:, 7:21] = 255  # the middle half
    write_idx(raw / "t10k-images-idx3-ubyte", wide)
    images = open_images("mnist", "test", tmp_path, size=(14, 28))
    assert images.shape == (1, 14, 28)
    assert (images[0]["x"] == 1).all()
    narrow = open_images("mnist", "test", tmp_path, size=(56, 28))
    assert narrow[0]["x"].shape == (1, 56, 28)


def test_one_colour_file_makes_the_folder_colour(tmp_path: Path) -> None:
    for index in range(20):
        write_png(tmp_path / f"{index:02}.png")
    assert open_images(f"folder:{tmp_path}").shape[0] == 1
    write_png(tmp_path / "99.png", "red", "RGB")
    for split in ("train", "test"):
        assert open_images(f"folder:{tmp_path}", split).shape[0] == 3


def spoil(folder: Path) -> list[str]:
    """A cut PNG, a cut JPEG, a foreign file and an empty one; their names."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    for name in ("cut.png", "cut.jpg"):
        noise.save(folder / name)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "foreign.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    (folder / "empty.webp").touch()
    return ["cut.png", "cut.jpg", "foreign.png", "empty.webp"]


def test_broken_files_are_left_out_with_one_warning(tmp_path: Path) -> None:
    for inner in ("train", "test"):
        for index in range(10):
            write_png(tmp_path / inner / f"{index}.png", index)
    spoil(tmp_path / "train")
    said = r"4 unreadable \(train/cut\.jpg: .*truncated.*, train/empty\.webp: no picture"
    with pytest.warns(UserWarning, match=said) as caught:
        images = open_images(f"folder:{tmp_path}")
    assert len(caught) == 1
    assert "4 unreadable (train/cut.jpg: " in images.summary()
    assert greys(images) == list(range(10))


def test_a_run_inside_the_folder_is_no_data(tmp_path: Path) -> None:
    for index in range(20):
        write_png(tmp_path / f"{index}.png", index)
    before = open_images(f"folder:{tmp_path}")
    for name in ("samples.png", "progress/epoch_001.png"):
        write_png(tmp_path / "runs" / "mine" / name, 200)
    for name in ("model.safetensors", "losses.csv"):
        (tmp_path / "runs" / "mine" / name).touch()
    note = {"Model": "digits", "Description": GENERATED}
    save_png(Image.new("L", (40, 40), 200), tmp_path / "more.png", note)
    save_gif([Image.new("L", (40, 40), 200)] * 2, tmp_path / "more.gif", note=note)
    with pytest.warns(UserWarning, match=r"2 generated by a model \(more\.gif, more\.png\)"):
        after = open_images(f"folder:{tmp_path}")
    assert (after.identity, greys(after)) == (before.identity, greys(before))
    assert "1 written by a training run (runs/mine/)" in after.summary()


def test_a_pipe_named_like_a_picture_is_not_waited_for(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    images = open_images(f"folder:{tmp_path}")
    assert images.summary().endswith("left out: 1 not a file (pipe.png)")


def test_identity_is_the_content_and_not_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        for place in ("here", "there"):
            write_png(tmp_path / place / f"{index}.png", index)
    monkeypatch.chdir(tmp_path)
    spelt = ("here", "./here/", f"{tmp_path}/here", "there", "there/../here")
    assert len({open_images(f"folder:{path}").identity for path in spelt}) == 1
    others = [
        open_images("folder:here", "test"),
        open_images("folder:here", size=8),
        open_images("folder:here", flip=True),
    ]
    write_png(tmp_path / "there" / "added.png")
    others.append(open_images("folder:there"))
    identities = {images.identity for images in (open_images("folder:here"), *others)}
    assert len(identities) == 5


# --- flips and crops


def test_visits_are_functions_of_seed_index_and_count(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    plain, flipped, other = (
        open_images("mnist", "train", tmp_path, flip=flip, seed=seed)
        for flip, seed in ((False, 0), (True, 0), (True, 1))
    )
    mirrored = {}
    for images in (flipped, other):
        for key in [(index, count) for index in range(15) for count in range(60)]:
            x, before = images.visit(*key)["x"], plain[key[0]]["x"]
            mirrored[images, key] = torch.equal(x, before.flip(-1))
            assert mirrored[images, key] or torch.equal(x, before)
            assert torch.equal(x, images.visit(*key)["x"])
    for images in (flipped, other):
        share = sum(value for (which, _), value in mirrored.items() if which is images) / 900
        assert 0.4 < share < 0.6
    assert any(mirrored[flipped, key] != value for (which, key), value in mirrored.items())
    assert torch.equal(flipped[3]["x"], flipped.visit(3, 0)["x"])


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("cache", [1 << 30, 0])
def test_crops_go_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upright: bool, cache: int
) -> None:
    monkeypatch.setattr(folders, "CACHE_BYTES", cache)
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (10, 1))  # 10 x 50
    Image.fromarray(ramp.T if upright else ramp).save(tmp_path / "a.png")
    images = open_images(f"folder:{tmp_path}", size=10, crop=True)
    assert images.costly == (cache == 0)
    assert images.shape == (1, 10, 10)
    starts = set()
    for count in range(400):
        x = images.visit(0, count)["x"]
        assert x.shape == (1, 10, 10)
        starts.add(round((float(x[0, 0, 0]) + 1) * 127.5 / 5))
    assert starts == set(range(41))


def test_large_folders_are_decoded_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for inner in ("train", "test"):
        for index in range(5):
            write_png(tmp_path / inner / "ab"[index % 2] / f"{index}.png", 40 * index)
    spoil(tmp_path / "train" / "a")
    with pytest.warns(UserWarning, match="4 unreadable"):
        cached = open_images(f"folder:{tmp_path}")
    monkeypatch.setattr(folders, "CACHE_BYTES", 1000)
    with pytest.warns(UserWarning, match="4 unreadable"):
        lazy = open_images(f"folder:{tmp_path}")
    assert (cached.costly, lazy.costly) == (False, True)
    assert lazy.identity == cached.identity
    assert (lazy.shape, lazy.conditions, len(lazy)) == (cached.shape, cached.conditions, 5)
    for index in range(5):
        assert torch.equal(lazy[index]["x"], cached[index]["x"])
        assert lazy[index]["label"] == cached[index]["label"]
    (tmp_path / "train" / "a" / "0.png").unlink()
    assert len(list(cached)) == 5
    with pytest.raises(UserError, match=r"0\.png can no longer be read"):
        lazy[0]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(
        UserError, match=r"no pictures \(.* 1 of another kind \(notes\.txt\)\): put"
    ):
        open_images(f"folder:{tmp_path}")
    spoil(tmp_path)
    with pytest.raises(UserError, match=r"no picture for the train split, .*3 unreadable \(cut\."):
        open_images(f"folder:{tmp_path}")
    for name in ("cut.png", "cut.jpg"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"no usable picture, left out: 2 unreadable \(empty\.webp"):
        open_images(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="does not exist"):
        open_images(f"folder:{tmp_path}/nowhere")
    with pytest.raises(UserError, match="is not a folder"):
        open_images(f"folder:{tmp_path}/notes.txt")


def test_wrong_arguments() -> None:
    with pytest.raises(
        UserError, match=r"unknown data set 'mnits'; known are mnist, .*folder:PATH"
    ):
        open_images("mnits")
    with pytest.raises(UserError, match="unknown data set 'folder:'"):
        open_images("folder:")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        open_images("mnist", "valid")
    with pytest.raises(ValueError, match="at least 4 pixels, not 0 x 0"):
        open_images("mnist", size=0)
    with pytest.raises(ValueError, match="at least 4 pixels, not 16 x 3"):
        open_images("mnist", size=(16, 3))
    with pytest.raises(
        ValueError, match="4,097 x 4,097 pixels fit into no memory: choose a smaller"
    ):
        open_images("mnist", size=4097)


# --- the real thing


def test_the_real_mnist(data_dir: Path) -> None:
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    for split, expected in counts.items():
        images = open_images("mnist", split, data_dir)
        assert len(images) == sum(expected)
        assert torch.tensor(images._targets).bincount().tolist() == expected
    first = images[0]  # the first test digit is a seven
    assert first["label"] == 7
    assert (first["x"].min(), first["x"].max()) == (-1, 1)


def test_a_relative_folder_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its pictures are decoded when they are asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "CACHE_BYTES", 0)
    for index in range(3):
        Path("mine").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 80 * index).save(f"mine/{index}.png")
    data = open_images("folder:mine")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert data.costly
    assert data[0]["x"].shape == (1, 8, 8)
