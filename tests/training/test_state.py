"""Which runs are gone on with: what must be the same, and how a difference is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import trainer

from mmdiff import Diffusion, Info, Trigonometric
from mmdiff.audio.frontends import FrontEnd, parse
from mmdiff.errors import UserError
from mmdiff.nn import UNet
from mmdiff.tensorfile import read, write
from mmdiff.training.config import TrainingConfig
from mmdiff.training.state import Progress, load_state, save_state, settings_of

Sound = tuple[Diffusion, torch.optim.Optimizer, dict[str, Any]]


def sound(
    frontend: str = "mdct:16",
    width: int = 8,
    labels: tuple[str, ...] = ("high", "low"),
    speakers: tuple[str, ...] = ("ann", "bea"),
    made: dict[str, Any] | None = None,
    **config: Any,
) -> Sound:
    """A small model of sound, its optimiser, and the settings of its run."""
    transform: Any = parse(frontend)
    channels = transform.channels(1)
    classes = {"label": len(labels), "speaker": len(speakers)}
    network = UNet(1, channels, channels, (width,), blocks=1, conditions=classes)
    model = Diffusion(FrontEnd(transform, network), Trigonometric(), "v")
    info = Info((1, 64), (-4.0, 4.0), labels, speakers, 8000, "fsdd", made=made or {})
    settings = settings_of(TrainingConfig(**{"steps": 9, **config}), model, info, 100)
    return model, torch.optim.AdamW(model.parameters()), settings


def begin(out: Path, run: Sound) -> None:
    model, optimizer, settings = run
    save_state(out / "resume" / "state", model, optimizer, None, Progress(3, 0.5), settings)


def resume(out: Path, run: Sound) -> Progress:
    model, optimizer, settings = run
    return load_state(out / "resume" / "state", model, optimizer, None, settings)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        # The network and the width follow from what the user chose, and are not told too.
        ({"frontend": "patch:16", "made": {"frontend": "patch:16"}, "width": 16},
         "frontend mdct:16, not patch:16"),
        ({"frontend": "patch:16", "made": {"frontend": "mdct:16"}},
         "backbone transform MDCT, not Patch"),
        ({"frontend": "mdct:32"}, "backbone transform bands 16, not 32; backbone in_channels 16, "
         "not 32; backbone out_channels 16, not 32"),
        ({"width": 16}, "backbone channels [8], not [16]"),
        ({"labels": ("low", "high")}, "labels[0] high, not low"),
        ({"speakers": ("ann", "cy")}, "speakers[1] bea, not cy"),
        ({"lr": 1.0, "batch": 2, "seed": 1, "ema": None}, "batch 128, not 2; lr 0.001, not 1.0; "
         "ema 0.9995, not None; and 1 more"),
    ],
)  # fmt: skip
def test_a_difference_is_said_briefly(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    begin(tmp_path, sound(made={"frontend": "mdct:16"}))
    with pytest.raises(UserError) as caught:
        resume(tmp_path, sound(**{"made": {"frontend": "mdct:16"}, **changed}))
    assert str(caught.value) == (
        f"the run in {tmp_path} was begun with {said}: resume it with its own settings, or begin "
        "another with --out."
    )


def test_names_of_many_classes_stay_brief(tmp_path: Path) -> None:
    names = [f"{'long ' * 40}{index}" for index in range(50)]
    begin(tmp_path, sound(labels=tuple(names)))
    for changed in ([*names[:7], "other", *names[8:]], names[:49]):
        with pytest.raises(UserError, match=r"labels\[\d+\] long long .* \.\.\., not ") as caught:
            resume(tmp_path, sound(labels=tuple(changed)))
        assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_the_same_settings_are_resumed(tmp_path: Path) -> None:
    begin(tmp_path, sound())
    assert resume(tmp_path, sound(steps=50, save_every=7)) == Progress(3, 0.5)


def test_what_an_older_version_did_not_save_is_unknown(tmp_path: Path) -> None:
    model, optimizer, settings = sound()
    for key in settings:
        older = {name: value for name, value in settings.items() if name != key}
        begin(tmp_path, (model, optimizer, older))
        assert resume(tmp_path, (model, optimizer, settings)).step == 3
    del settings["backbone"]["config"]["transform"]["config"]["bands"]
    begin(tmp_path, (model, optimizer, settings))
    assert resume(tmp_path, sound()).step == 3
    with pytest.raises(UserError, match=r"backbone channels \[8\], not \[16\]: resume"):
        resume(tmp_path, sound(width=16))


def test_an_older_run_goes_on_and_one_on_other_classes_does_not(tmp_path: Path) -> None:
    """Through the trainer: with nothing of names in the state, and with names in another order."""
    trainer(tmp_path, steps=1).fit()
    path = tmp_path / "resume" / "state.safetensors"
    tensors, description = read(path)
    settings = description["settings"]
    settings["labels"] = ["low", "high", "middle"]
    write(path, tensors, description)
    with pytest.raises(UserError, match=r"labels\[1\] high, not middle: resume"):
        trainer(tmp_path, resume=True)
    for key in ("preset", "frontend", "labels", "speakers"):
        del settings[key]
    write(path, tensors, description)
    assert trainer(tmp_path, resume=True).progress.step == 1
