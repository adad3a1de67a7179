"""The program in process, and small models for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import mmdiff
from mmdiff import cli
from mmdiff.audio import Sound
from mmdiff.conditions import Class
from mmdiff.image.modality import Pictures
from mmdiff.modality import Modality
from mmdiff.nn import UNet

DIGITS = tuple("0123456789")
Save = Callable[..., Path]


@dataclass(frozen=True)
class Result:
    """What a run of the program gave: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """One sentence on stderr that says what is wrong and what to do."""
        assert self.code == 1
        assert "wrote" not in self.out
        assert self.err.count("\n") == 1
        assert self.err.startswith("mmdiff: ")
        assert self.err.rstrip().endswith(".")
        for word in words:
            assert word in self.err


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
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


def _save(
    path: Path,
    shape: tuple[int, ...] = (1, 8, 8),
    labels: tuple[str, ...] = (),
    speakers: tuple[str, ...] = (),
    std: float = 0.2,
    scale: float = 4.0,
    **info: Any,
) -> Path:
    """A small untrained network whose output is not zero, so that it matters what it is asked."""
    torch.manual_seed(0)
    told = {"label": labels, "speaker": speakers}
    net = UNet(
        dims=len(shape) - 1,
        in_channels=shape[0],
        out_channels=shape[0],
        channels=(8, 8),
        blocks=1,
        conditions={name: Class(len(names), names) for name, names in told.items() if names},
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    modality: Modality = Sound(8000, scale) if len(shape) == 2 else Pictures()
    clip = None if len(shape) == 2 else (-1.0, 1.0)
    about = mmdiff.Info(
        shape,
        **{
            "modality": modality,
            "sampling": mmdiff.Sampling(clip=clip),
            "dataset": "none",
            "made": {"command": "a test"},
            **info,
        },
    )
    mmdiff.save(path, mmdiff.Diffusion(net, mmdiff.LinearBeta(), "v"), about)
    return path


@pytest.fixture(scope="session")
def save() -> Save:
    """`save(path, shape, labels, speakers, ...)`: a checkpoint of a small untrained network."""
    return _save


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("labelled") / "model.safetensors", labels=DIGITS)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("plain") / "plain.safetensors", (3, 8, 8))


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of a second of one of three words by one of two speakers."""
    return _save(
        tmp_path_factory.mktemp("speech") / "speech.safetensors",
        (1, 800),
        ("yes", "no", "or/else"),
        ("george", "theo"),
    )
