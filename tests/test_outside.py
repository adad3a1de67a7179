"""A modality, a condition and a codec from outside: no file of the library knows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import mmdiff
from mmdiff import checkpoints
from mmdiff.conditions import Condition
from mmdiff.modality import Data, Modality, Rows
from mmdiff.nn import FrontEnd, UNet

LENGTH = 24


@dataclass(frozen=True)
class Tides(Modality):
    """Heights of the sea, in metres: x is [1, L]; files are lists in JSON."""

    metres: float = 2.0

    title = "tides"
    names = ("waves",)
    suffixes = (".tide",)
    writes = (".tide",)
    options = ()
    batch = 8
    count = None
    frames = 5

    @property
    def data_range(self) -> tuple[float, float]:
        return -self.metres, self.metres

    @classmethod
    def open(cls, dataset: str, split: str, data_dir: Path | None = None, **options: Any) -> Data:
        return Waves(8 if split == "test" else 32)

    @classmethod
    def presets(cls) -> Mapping[str, Any]:
        return {"small": recipe}

    def read(self, path: Path, shape: Sequence[int]) -> Tensor:
        return torch.tensor(json.loads(path.read_text()))

    def write(self, x: Tensor, path: Path, note: Mapping[str, str]) -> None:
        if path.suffix == ".png":
            self.show([("", x)]).save(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(x.clamp(*self.data_range).tolist()))

    def show(self, rows: Rows, captions: Sequence[str] = ()) -> Image.Image:
        """A row of pixels a tide, the darker the deeper: 7 wide for each sample in it."""
        lines = torch.cat([x[:, 0] for _, x in rows]).float()
        grey = ((lines / self.metres).clamp(-1, 1) + 1) * 127.5
        return Image.fromarray(grey.byte().numpy(), "L")

    def describe(self, shape: Sequence[int]) -> dict[str, str]:
        return {"tides": f"{shape[-1]} hours"}


@dataclass(frozen=True)
class Angle(Condition):
    """A direction in radians: float [B], NaN where it is not told."""

    enters = "embedding"

    turns: int = 1

    def nothing(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), torch.nan)

    def check(self, name: str, value: Any, count: int, sides: Any = None) -> Tensor:
        angle = torch.as_tensor(value, dtype=torch.float32).expand(count)
        if (angle.abs() > torch.pi * self.turns).any():
            raise ValueError(f"every {name} must lie in -pi .. pi.")
        return angle

    def embedding(self, features: int) -> nn.Module:
        return Compass(features)


class Compass(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, features)

    def forward(self, angle: Tensor) -> Tensor:
        known = angle.nan_to_num(0.0)
        parts = (known.cos(), known.sin(), angle.isnan().to(known))
        return self.layer(torch.stack(parts, dim=1).to(self.layer.weight))


class Haar(nn.Module):
    """Sums and differences of neighbours, orthonormal."""

    factor = 2

    def __init__(self, gain: float = 0.5**0.5) -> None:
        super().__init__()
        self.config = {"gain": gain}
        self.gain = gain

    def channels(self, channels: int) -> int:
        return 2 * channels

    def encode(self, x: Tensor) -> Tensor:
        even, odd = nn.functional.pad(x, (0, x.shape[2] % 2)).unflatten(2, (-1, 2)).unbind(3)
        return torch.cat((even + odd, even - odd), dim=1) * self.gain

    def decode(self, z: Tensor, spatial: Sequence[int]) -> Tensor:
        total, difference = (z * self.gain).chunk(2, dim=1)
        x = torch.stack((total + difference, total - difference), dim=3).flatten(2)
        return x[..., : spatial[0]]


@dataclass
class Waves:
    """Sines of any phase, which is told."""

    count: int
    name: str = "waves"
    shape: tuple[int, ...] = (1, LENGTH)
    conditions: Mapping[str, Condition] = field(default_factory=lambda: {"phase": Angle()})
    identity: str = "0"
    costly: bool = False
    modality: Modality = field(default_factory=Tides)

    def summary(self) -> str:
        return f"{self.count} waves"

    def visit(self, index: int, count: int) -> dict[str, Any]:
        return self[index]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        phase = torch.tensor((index * 0.618 % 1 * 2 - 1) * torch.pi)
        hours = torch.arange(LENGTH) * 2 * torch.pi / 12
        return {"x": (hours + phase).sin()[None], "phase": phase}


def recipe(data: Data, way: str = "inside", **options: Any) -> mmdiff.Recipe:
    """A model behind the codec, or with the codec around it."""
    network = UNet(1, 2, 2, (8, 8), blocks=1, conditions=data.conditions)
    if way == "inside":
        model = mmdiff.Diffusion(FrontEnd(Haar(), network), mmdiff.Linear(), "flow")
    else:
        model = mmdiff.Diffusion(network, mmdiff.Linear(), "v", codec=Haar())
    sampling = mmdiff.Sampling("ddim", 4, guidance=1.5)
    small: dict[str, Any] = {"steps": 6, "batch": 8, "samples": 5, "lr": 0.01, "sampling": sampling}
    return mmdiff.Recipe(model, **(small | options))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_own", {})
    for kind in (Tides, Angle, Haar):
        assert mmdiff.register(kind) is kind


@pytest.mark.parametrize("way", ["inside", "around"])
def test_is_trained_saved_loaded_sampled_and_looked_at(tmp_path: Path, way: str) -> None:
    train, test = (Tides.open("waves", split) for split in ("train", "test"))
    made = recipe(train, way)
    before = {name: weight.clone() for name, weight in made.model.state_dict().items()}
    path = mmdiff.train(made, train, test, tmp_path / "run", device="cpu")

    model = mmdiff.load(path)
    assert model.info.modality == Tides()
    assert (model.info.shape, model.info.dataset) == ((1, LENGTH), "waves")
    assert model.conditions == {"phase": Angle()}
    after = model.state_dict()
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())
    if way == "around":
        codes = Haar().encode(torch.stack([train[i]["x"] for i in range(len(train))]))
        wanted = codes.std((0, 2), keepdim=True)
        torch.testing.assert_close(model.deviation, wanted, rtol=5e-3, atol=0)

    how = model.info.sampling.arguments(seed=0)
    x = mmdiff.sample(model, (3, *model.info.shape), **how, phase=[0.0, 1.0, 2.0])
    assert x.shape == (3, 1, LENGTH)
    assert (x[0] - mmdiff.sample(model, (1, 1, LENGTH), **how, phase=3.0)).abs().max() > 0
    with pytest.raises(ValueError, match=r"every phase must lie in -pi \.\. pi"):
        mmdiff.sample(model, (3, 1, LENGTH), **how, phase=4.0)

    with Image.open(tmp_path / "run" / "samples.png") as picture:
        assert picture.size == (LENGTH, 5)
    files = sorted((tmp_path / "run" / "samples").glob("?.tide"))
    assert [file.name for file in files] == [f"{i}.tide" for i in range(5)]
    low, high = Tides().data_range
    for file in files:
        one = Tides().read(file, model.info.shape)
        assert one.shape == model.info.shape
        assert low <= one.min() <= one.max() <= high


def test_is_not_known_without_being_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Waves(8)
    model = recipe(data).model
    mmdiff.save(tmp_path / "it", model, mmdiff.Info(data.shape, data.modality))
    monkeypatch.setattr(checkpoints, "_own", {})
    with pytest.raises(mmdiff.UserError, match=r"hand it to mmdiff\.register before loading"):
        mmdiff.load(tmp_path / "it")
    with pytest.raises(ValueError, match=r"cannot save a (Haar|Angle)"):
        mmdiff.save(tmp_path / "again", model, mmdiff.Info(data.shape))
    assert [file.name for file in tmp_path.iterdir()] == ["it"]
