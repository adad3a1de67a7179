"""Checkpoints: what goes in comes out, and nothing else is ever let in."""

from __future__ import annotations

import errno
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmdiff
from mmdiff import Diffusion, Info, LinearBeta, tensorfile
from mmdiff.errors import UserError
from mmdiff.nn import UNet
from mmdiff.schedules import Cosine
from mmdiff.training import checkpoints

INFO = Info(
    (2, 9),
    data_range=(-0.5, 0.5),
    labels=("low", "high"),
    sample_rate=8000,
    dataset="tones",
    made={"steps": 3, "note": 'quotes " and ünicode'},
)


def tiny() -> Diffusion:
    backbone = UNet(1, 2, 2, (4,), blocks=1, patch=3, conditions={"label": 2})
    for parameter in backbone.parameters():
        parameter.detach().normal_(std=0.1)
    return Diffusion(backbone, LinearBeta(500), "eps", "min_snr")


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    checkpoints.save(path, tiny(), INFO)
    return path


def refusal(path: Path) -> str:
    """The one sentence that `load` refuses a file with."""
    with pytest.raises(UserError) as refused:
        checkpoints.load(path)
    sentence = str(refused.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_comes_out_as_it_went_in(tmp_path: Path) -> None:
    model = tiny()
    path = tmp_path / "new" / "folder" / "model.safetensors"
    mmdiff.save(path, model, INFO)
    loaded = mmdiff.load(path)
    assert loaded.info == INFO
    assert loaded.name == "model"
    assert loaded.schedule == model.schedule
    assert (loaded.prediction, loaded.weighting) == ("eps", "min_snr")
    assert loaded.backbone.config == model.backbone.config
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    state = model.backbone.state_dict()
    assert loaded.backbone.state_dict().keys() == state.keys()
    for name, tensor in loaded.backbone.state_dict().items():
        assert torch.equal(tensor, state[name])
    x, t, label = torch.randn(2, 2, 9), torch.rand(2), torch.tensor([1, -1])
    expected = model.denoise(x, t, label=label).x0
    assert torch.equal(loaded.denoise(x, t, label=label).x0, expected)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_stored_in_half_the_size(tmp_path: Path, saved: Path) -> None:
    model = checkpoints.load(saved)
    half = tmp_path / "half.safetensors"
    checkpoints.save(half, model, INFO, dtype=torch.float16)
    assert half.stat().st_size < 0.52 * saved.stat().st_size
    state = model.backbone.state_dict()
    for name, tensor in checkpoints.load(half).backbone.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].half().float())


def test_equal_models_make_equal_files(saved: Path, tmp_path: Path) -> None:
    for _ in range(5):
        checkpoints.save(tmp_path / "again", checkpoints.load(saved), INFO)
        assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_a_continuous_schedule_with_v(tmp_path: Path) -> None:
    model = Diffusion(tiny().backbone, Cosine(), "v")
    checkpoints.save(tmp_path / "v", model, INFO)
    loaded = checkpoints.load(tmp_path / "v")
    assert (loaded.schedule, loaded.prediction, loaded.weighting) == (Cosine(), "v", "uniform")


def test_bundled_models_are_found_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path
) -> None:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    monkeypatch.setattr(checkpoints, "ZOO", zoo)
    missing = tmp_path / "none.safetensors"
    assert "none here" in refusal(missing)
    for name in ("digits", "digit_judge", "tones"):
        (zoo / f"{name}.safetensors").write_bytes(saved.read_bytes())
    assert checkpoints.bundled() == ["digits", "tones"]
    assert checkpoints.find("digits") == zoo / "digits.safetensors"
    assert checkpoints.find(str(saved)) == saved
    assert checkpoints.load("tones").name == "tones"
    assert "(digits, tones)" in refusal(missing)
    assert "there is no checkpoint" in refusal(zoo)


def test_a_cut_file_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    draw = random.Random(1)
    lengths = [0, 1, 7, 8, 9, end - 1, end, end + 1, len(data) - 1]
    lengths += [draw.randrange(len(data)) for _ in range(50)]
    for length in lengths:
        saved.write_bytes(data[:length])
        refusal(saved)
    saved.write_bytes(data + b"\0")
    refusal(saved)
    saved.write_bytes(data)
    assert checkpoints.load(saved).info == INFO


def test_a_flipped_bit_is_found_wherever_it_is(saved: Path) -> None:
    data = saved.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    draw = random.Random(2)
    places = [*range(8), *(draw.randrange(8, end) for _ in range(300))]
    places += [draw.randrange(end, len(data)) for _ in range(100)]
    digest = data.index(rb"\"sha256\": \"") + len(rb"\"sha256\": \"")
    places += [*range(digest, digest + 64, 7), end - 1, end, len(data) - 1]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(changed)
        refusal(saved)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_recognised_and_left_alone(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.safetensors"
    state = tiny().state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert "is a pickle, which mmdiff never opens" in refusal(path)


def _foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def _foreign_with_metadata(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt", "sha256": "0" * 64})


def _forged(path: Path) -> None:
    """Another's file with our key in it, and no checksum."""
    save_file({"weight": torch.zeros(3)}, path, {"mmdiff": "{}"})


def _text(path: Path) -> None:
    path.write_text("These are not the weights that you are looking for.\n" * 9)


def _json(path: Path) -> None:
    path.write_bytes((2).to_bytes(8, "little") + b"[]")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_foreign, "not one that mmdiff wrote"),
        (_foreign_with_metadata, "not one that mmdiff wrote"),
        (_forged, "damaged"),
        (_text, "no safetensors file"),
        (_json, "no safetensors file"),
        (Path.touch, "no safetensors file"),
        (Path.mkdir, "no checkpoint"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    assert message in refusal(path)


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with a sound checksum over another description."""
    tensors, description = tensorfile.read(path)
    tensorfile.write(path, tensors, {**description, **changes})
    return path


def test_a_newer_format_is_named(saved: Path) -> None:
    sentence = refusal(rewritten(saved, format=tensorfile.FORMAT + 1))
    assert f"has format {tensorfile.FORMAT + 1}, this mmdiff reads {tensorfile.FORMAT}" in sentence


@pytest.mark.parametrize("name", ["Transformer", "os.system", "Stage"])
def test_only_known_backbones_are_built(saved: Path, name: str) -> None:
    sentence = refusal(rewritten(saved, backbone={"name": name, "config": {}}))
    assert f"unknown backbone {name!r}" in sentence


@pytest.mark.parametrize("key", ["backbone", "schedule", "prediction", "weighting", "info"])
@pytest.mark.parametrize("value", [None, 5, "a word", [], {}, {"name": "UNet", "config": 1}])
def test_a_description_that_makes_no_model(saved: Path, key: str, value: Any) -> None:
    assert "does not describe a model" in refusal(rewritten(saved, **{key: value}))


def test_tensors_of_another_network(saved: Path) -> None:
    _, description = tensorfile.read(saved)
    tensorfile.write(saved, {"weight": torch.zeros(3)}, description)
    assert "does not describe a model" in refusal(saved)


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_length_may_begin_like_a_pickle(saved: Path, start: bytes) -> None:
    """The header's length comes first, and may have any bytes."""
    model = checkpoints.load(saved)
    wanted = int.from_bytes(start, "little")
    modulus = 256 ** len(start)
    length = int.from_bytes(saved.read_bytes()[:8], "little")
    for extra in range((wanted - length) % modulus - 8, modulus + 64):
        checkpoints.save(saved, model, Info((2, 9), made={"note": "x" * extra}))
        if saved.read_bytes().startswith(start):
            break
    assert saved.read_bytes().startswith(start)
    assert checkpoints.load(saved).info.made == {"note": "x" * extra}


def test_a_full_disk_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    before = saved.read_bytes()
    write = Path.write_bytes

    def fail(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(saved, tiny(), INFO)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_a_file_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    """Until the new file is complete and on the disk, the old one is there."""
    before = saved.read_bytes()
    moves: list[Path] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        assert self.parent == target.parent
        assert saved.read_bytes() == before
        assert checkpoints.load(self).info == Info((2, 9))
        moves.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    checkpoints.save(saved, tiny(), Info((2, 9)))
    assert len(moves) == 1
    assert checkpoints.load(saved).info == Info((2, 9))


def test_only_what_can_be_rebuilt_is_saved(tmp_path: Path) -> None:
    class Mine(nn.Module):
        config: dict[str, Any] = {}  # noqa: RUF012

    with pytest.raises(ValueError, match="cannot save a Mine: checkpoints hold UNet, DiffUNet"):
        checkpoints.save(tmp_path / "mine", Diffusion(Mine(), LinearBeta(), "eps"), INFO)
    assert not list(tmp_path.iterdir())
