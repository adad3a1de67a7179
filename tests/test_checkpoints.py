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
from mmdiff import (
    Class,
    Cosine,
    Diffusion,
    Info,
    Linear,
    LinearBeta,
    Sampling,
    Signal,
    Tokens,
    Trigonometric,
    Vector,
    checkpoints,
    tensorfile,
)
from mmdiff.audio.modality import Sound
from mmdiff.audio.unet_v0 import UNetV0
from mmdiff.errors import UserError
from mmdiff.image.modality import Pictures
from mmdiff.nn import MDCT, STFT, FrontEnd, LearnedConv, Patch, Raw, UNet

INFO = Info(
    (2, 9),
    modality=Pictures(),
    sampling=Sampling("ddim", 7, guidance=1.5, clip=(-0.5, 0.5), spin=3),
    dataset="tones",
    made={"steps": 3, "note": 'quotes " and ünicode', "parts": {"lr": 0.1, "all": [1, None]}},
)


def tiny() -> Diffusion:
    conditions = {"label": Class(2, ("low", "high"))}
    backbone = UNet(1, 2, 2, (4,), blocks=1, patch=3, conditions=conditions)
    return awake(Diffusion(backbone, LinearBeta(500), "eps", "min_snr"))


def awake(model: Diffusion) -> Diffusion:
    for parameter in model.parameters():
        parameter.detach().normal_(std=0.1)
    return model


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
    assert loaded.conditions == {"label": Class(2, ("low", "high"))}
    assert checkpoints.describe(loaded) == checkpoints.describe(model)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name])
    x, t, label = torch.randn(2, 2, 9), torch.rand(2), torch.tensor([1, -1])
    expected = model.denoise(x, t, label=label).x0
    assert torch.equal(loaded.denoise(x, t, label=label).x0, expected)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


KINDS = {"style": Vector(3), "text": Tokens(5), "noisy": Signal(1), "mel": Signal(2, 12)}
CODECS: dict[str, Any] = {
    "raw": Raw,
    "patch": lambda: Patch(3),
    "mdct": lambda: MDCT(4, "kbd"),
    "stft": lambda: STFT(8, 2),
    "learned": lambda: LearnedConv(8, 4, 4),
}
SCHEDULES = [LinearBeta(9, 1e-3, 0.3), Cosine(50, s=0.01), Trigonometric(), Linear()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("way", ["inside", "around"])
def test_any_composition_comes_back(
    tmp_path: Path, way: str, codec: str, schedule: mmdiff.Schedule
) -> None:
    made = CODECS[codec]()
    width = made.channels(1)
    inner = {name: kind.inside(made) for name, kind in KINDS.items()}
    network = UNet(1, width, width, (4,), blocks=1, conditions=inner)
    how: Any = {"times": "logit_normal", "hide": 0.3}
    if way == "inside":
        model = Diffusion(FrontEnd(made, network, KINDS), schedule, "flow", **how)
    else:
        model = Diffusion(network, schedule, "v", "min_snr", codec=made, conditions=KINDS, **how)
        model.prepare([{"x": 3 + 2 * torch.randn(8, 1, 24)} for _ in range(2)])
    awake(model)
    info = Info((1, 24), Sound(8000, 0.5))
    mmdiff.save(tmp_path / "it", model, info)
    loaded = mmdiff.load(tmp_path / "it")
    assert loaded.info == info
    assert checkpoints.describe(loaded) == checkpoints.describe(model)
    told = {
        "style": torch.randn(2, 3), "text": torch.randn(2, 4, 5),
        "noisy": torch.randn(2, 1, 24), "mel": torch.randn(2, 2, 2),
    }  # fmt: skip
    wanted, found = (
        mmdiff.sample(each, (2, 1, 24), mmdiff.DDIM(2), guidance=2.0, **told)
        for each in (model, loaded)
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    if way == "around":
        assert torch.equal(loaded.mean, model.mean)
        assert loaded.deviation.shape == (1, width, 1)


def test_a_network_of_another_package_comes_back(tmp_path: Path) -> None:
    backbone = UNetV0(channels=(8, 8), factors=(2, 2), items=(1, 1), attentions=None)
    model = Diffusion(FrontEnd(Raw(), backbone), Trigonometric(), "v")
    mmdiff.save(tmp_path / "it", model, Info((1, 8)))
    x, t = torch.randn(2, 1, 8), torch.rand(2)
    assert torch.equal(mmdiff.load(tmp_path / "it").denoise(x, t).x0, model.denoise(x, t).x0)


def test_what_a_codec_was_measured_as_is_float32_again(tmp_path: Path) -> None:
    model = Diffusion(UNet(1, 3, 3, (4,), blocks=1), Linear(), "v", codec=Patch(3))
    model.prepare([{"x": torch.randn(8, 1, 24)}])
    mmdiff.save(tmp_path / "half", model, Info((1, 24)), dtype=torch.float16)
    loaded = mmdiff.load(tmp_path / "half")
    assert loaded.mean.dtype == loaded.deviation.dtype == torch.float32
    torch.testing.assert_close(loaded.mean, model.mean, rtol=1e-3, atol=1e-3)


def test_stored_in_half_the_size(tmp_path: Path, saved: Path) -> None:
    model = checkpoints.load(saved)
    half = tmp_path / "half.safetensors"
    checkpoints.save(half, model, INFO, dtype=torch.float16)
    assert half.stat().st_size < 0.52 * saved.stat().st_size
    state = model.state_dict()
    for name, tensor in checkpoints.load(half).state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].half().float())


def test_equal_models_make_equal_files(saved: Path, tmp_path: Path) -> None:
    for _ in range(5):
        checkpoints.save(tmp_path / "again", checkpoints.load(saved), INFO)
        assert (tmp_path / "again").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("name", ["digits", "speech"])
def test_bundled_models_say_all_that_sampling_needs(name: str) -> None:
    info = mmdiff.load(name).info
    assert isinstance(info.modality, Pictures if name == "digits" else Sound)
    assert (info.sampling.clip is not None) == (name == "digits")
    model = mmdiff.load(name)
    names = {kind: condition.say(0) for kind, condition in model.conditions.items()}
    assert names["label"] in ("0", "zero")
    x = mmdiff.sample(model, (1, *info.shape), mmdiff.DDIM(1), **dict.fromkeys(names, 0))
    assert x.isfinite().all()


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
    assert checkpoints.load("tones").info == INFO
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


@pytest.mark.parametrize("name", ["Mamba", "os.system", "Stage", "__init__"])
def test_only_known_classes_are_built(saved: Path, name: str) -> None:
    _, description = tensorfile.read(saved)
    description["model"]["backbone"]["type"] = name
    sentence = refusal(rewritten(saved, **description))
    assert f"{name} is not known here: hand it to mmdiff.register before loading" in sentence


@pytest.mark.parametrize("key", ["model", "info"])
@pytest.mark.parametrize(
    "value",
    [None, 5, "a word", [], {}, {"type": "UNet"}, {"type": ["UNet"]}, {"type": "Linear", "t": 1}],
    ids=str,
)
def test_a_description_that_makes_no_model(saved: Path, key: str, value: Any) -> None:
    assert "does not describe a model" in refusal(rewritten(saved, **{key: value}))


@pytest.mark.parametrize("value", [None, {}, {"name": "UNet"}, "a word"], ids=str)
def test_an_old_description_that_makes_no_model(saved: Path, value: Any) -> None:
    assert "does not describe a model" in refusal(rewritten(saved, backbone=value))


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
    lacks = (wanted - length) % modulus
    for extra in range(max(0, lacks - 64), lacks + modulus):
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

    with pytest.raises(ValueError, match="cannot save a Mine: hand the class to"):
        checkpoints.save(tmp_path / "mine", Diffusion(Mine(), LinearBeta(), "eps"), INFO)
    assert not list(tmp_path.iterdir())
