"""What a run leaves to look at and to listen to, and where it may begin."""

from __future__ import annotations

import io
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from train_tiny import LABEL, Waves, recipe, unet

from mmdiff import (
    Class,
    Diffusion,
    LinearBeta,
    Recipe,
    Sampling,
    Trigonometric,
    load,
    sample,
    train,
)
from mmdiff.audio.modality import Sound
from mmdiff.errors import Interrupted, UserError
from mmdiff.image.modality import Pictures
from mmdiff.modality import Modality
from mmdiff.nn import MDCT, FrontEnd, Patch
from mmdiff.training.looks import SHOWN, TIMES
from mmdiff.training.train import initialise
from mmdiff.training.trainer import Trainer

RATE = 8000
KINDS: dict[str, tuple[tuple[int, ...], Modality]] = {
    "pictures": ((3, 8, 8), Pictures()),
    "sounds": ((2, 400), Sound(RATE, 4.0)),
}


def waves(kind: str, count: int = 16) -> Waves:
    return Waves(count, *KINDS[kind])


def small(kind: str, **settings: Any) -> Recipe:
    """A recipe that draws six samples, more than at a time, with guidance."""
    torch.manual_seed(0)
    told = {"label": LABEL}
    if kind == "pictures":
        model = Diffusion(unet(told, dims=2, signal=3), LinearBeta(), "eps")
    else:
        model = Diffusion(FrontEnd(MDCT(16), unet(told, signal=32)), Trigonometric(), "v")
    given = {
        "steps": 12,
        "batch": 4,
        "look_every": 8,
        "samples": 6,
        "sampling": Sampling("ddim", 3, guidance=1.5, clip=KINDS[kind][1].data_range),
        "preview": Sampling("ddim", 2),
        "seed": 3,
        "made": {"preset": "small"},
    }
    return recipe(model, **{**given, **settings})


def run(kind: str, out: Path, resume: bool = False, **settings: Any) -> Path:
    return train(small(kind, **settings), waves(kind), waves(kind, 6), str(out), resume=resume)


@pytest.fixture(scope="module", params=list(KINDS))
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kind of a run, its folder and its model."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    assert run(request.param, out) == out / "model.safetensors"
    return request.param, out, load(out / "model.safetensors")


def samples(model: Diffusion, count: int = 6, preview: bool = False) -> Tensor:
    """What a user would draw of a model by the settings that it recommends."""
    how = (Sampling("ddim", 2) if preview else model.info.sampling).arguments(seed=3)
    label = torch.arange(count) % 3
    return sample(model, (count, *model.info.shape), **how, label=label)


def test_the_model_says_what_it_is(left: Any) -> None:
    kind, _, model = left
    info = model.info
    assert (info.shape, info.modality) == KINDS[kind]
    assert info.sampling == small(kind).sampling
    assert info.dataset == "waves"
    assert {"preset": "small", "seed": 3, "steps": 12, "epochs": 3.0}.items() <= info.made.items()


def test_samples_are_those_of_the_saved_model(left: Any) -> None:
    """A file each, named after the classes, which take turns; each says how it was made."""
    _kind, out, model = left
    suffix = model.info.modality.writes[0]
    names = [f"{LABEL.names[index % 3]}_{index}" for index in range(6)]
    files = [out / "samples" / f"{name}{suffix}" for name in names]
    others = {path for path in (out / "samples").iterdir() if path.stem not in names}
    assert {path.stem for path in others} == {"epoch_002", "epoch_003"}
    low, high = model.info.modality.data_range
    expected = samples(model).clamp(low, high)
    assert expected.std() > 0.05 * high
    for file, one in zip(files, expected, strict=True):
        read = model.info.modality.read(file, model.info.shape)
        torch.testing.assert_close(read, one, rtol=0, atol=(high - low) / 255)
    said = notes(files[0])
    for line in ("Model: out/model", "Seed: 3", "Steps: 3", "Guidance: 1.5", "Sample: low_0"):
        assert line in said


def notes(file: Path) -> list[str]:
    if file.suffix == ".wav":
        with soundfile.SoundFile(file) as sound:
            return sound.comment.splitlines()
    with Image.open(file) as picture:
        return [f"{key}: {value}" for key, value in picture.text.items()]  # type: ignore[attr-defined]


def test_pictures_show_the_whole_way(left: Any) -> None:
    kind, out, model = left
    show = model.info.modality.show
    x = model.info.modality.data_range[1] * torch.zeros(8, *model.info.shape)
    few = x[:6] if kind == "pictures" else x[:3]  # of sounds one of each class
    assert Image.open(out / "samples.png").size == show([("", few)]).size
    # The start, and of the three steps those that the marks are at; of the first part of samples.
    reverse = show([("", x[:4])] * 4, ["start", "1", "2", "3"]).size
    assert Image.open(out / "reverse.png").size == reverse
    with Image.open(out / "reverse.gif") as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        assert animation.info["comment"].startswith(b"Software: mmdiff")
    table = [(name, x[: 1 + len(TIMES)]) for name in ["noised", "denoised"] * SHOWN]
    size = show(table, ["x0", *(f"t = {t:g}" for t in TIMES)]).size
    for epoch in ("epoch_002", "epoch_003"):
        picture = Image.open(out / "progress" / f"{epoch}.png")
        assert picture.size == size
        assert picture.text["Software"].startswith("mmdiff")  # type: ignore[attr-defined]
        assert (out / "samples" / f"{epoch}.png").is_file()


def test_what_is_on_the_way_is_on_the_board(left: Any) -> None:
    kind, out, model = left
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    for name in ("progress", "samples"):
        assert [event.step for event in board.Images(name)] == [8, 12]
    files = sorted((out / "samples").glob("epoch_*.wav"))
    if kind == "pictures":
        assert not files
        return
    assert [event.step for event in board.Audio("samples")] == [8, 12]
    assert len(files) == 2
    joined, rate = soundfile.read(files[-1], dtype="float32")
    # Three classes, one after the other.
    torch.testing.assert_close(
        model.info.modality.heard(samples(model, 3, preview=True))[0].T,
        torch.from_numpy(joined), rtol=0, atol=2**-14,
    )  # fmt: skip
    wave, heard_rate = soundfile.read(
        io.BytesIO(board.Audio("samples")[-1].encoded_audio_string), dtype="float32"
    )
    assert rate == heard_rate == RATE
    assert abs(wave - joined.mean(1)).max() < 2**-13


def test_a_finished_run_leaves_the_same_again(left: Any) -> None:
    kind, out, _model = left
    before = {path: path.read_bytes() for path in files(out)}
    for path in before:
        if "epoch_002" not in path.stem and path.suffix in (".png", ".gif", ".wav"):
            path.unlink()
    run(kind, out, resume=True)
    assert {path: path.read_bytes() for path in files(out)} == before


def files(out: Path) -> list[Path]:
    return [path for path in out.rglob("*.*") if "tensorboard" not in path.parts]


def test_a_code_is_shown_as_the_signal_that_it_is_of(tmp_path: Path) -> None:
    """Noise, states and samples of a model with a codec around it."""
    model = Diffusion(unet(dims=2, signal=12), LinearBeta(), "eps", codec=Patch(2))
    small_run = small("pictures", steps=2, sampling=Sampling("ddim", 3), preview=None)
    out = tmp_path / "out"
    train(replace(small_run, model=model), waves("pictures"), waves("pictures", 6), out)
    for name in ("reverse.png", "samples/0.png", "progress/epoch_001.png"):
        assert (out / name).is_file()


def test_fewer_samples_than_classes_and_none_at_all(tmp_path: Path) -> None:
    for count in (1, 0):
        out = tmp_path / str(count)
        run("pictures", out, steps=1, samples=count)
        assert (out / "progress" / "epoch_001.png").is_file()
        assert len(list(out.glob("samples/*_0.png"))) == count
        assert (out / "samples.png").exists() == (count > 0)


def test_signals_without_a_modality_are_trained_and_not_shown(tmp_path: Path) -> None:
    train(recipe(), Waves(), Waves(6), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "losses.csv", "validation.csv", "model.safetensors", "resume", "tensorboard",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "at", "calls"),
    [(signal.SIGINT, 1, 1), (signal.SIGTERM, 4, 5), (signal.SIGINT, 7, 8)],
)
def test_a_signal_while_samples_are_drawn_stops_after_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, at: int, calls: int
) -> None:
    """Two parts of one step each in a look, then two of three steps; `at` one of these calls."""
    asked: list[int] = []

    def counted(self: Diffusion, *rest: Any) -> Tensor:
        asked.append(len(rest[0]))
        if len(asked) == at:
            signal.raise_signal(number)
        return estimate(self, *rest)

    estimate = Diffusion.x0
    monkeypatch.setattr(Diffusion, "x0", counted)
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"after step 1 of 1; .* resume the run"):
        run("pictures", tmp_path, steps=1, preview=Sampling("ddim", 1))
    assert len(asked) == calls
    assert signal.getsignal(number) is handler
    assert not (tmp_path / "samples.png").exists()


def test_digits_are_trained_on(tmp_path: Path) -> None:
    """A loaded model is frozen and in eval mode until it is trained."""
    model = load("digits")
    assert not model.training
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    data = Waves(8, (1, 28, 28), Pictures())
    run = Trainer(recipe(model, steps=1, batch=4, ema=None, warmup=0), data, data, tmp_path)
    run.fit()
    assert run.model.training
    changed = sum(not torch.equal(before[name], p) for name, p in run.model.named_parameters())
    assert changed > 0.9 * len(before)
    assert load(tmp_path / "model.safetensors").conditions["label"].count == 10


def network(classes: int) -> Diffusion:
    return Diffusion(unet({"label": Class(classes)}), LinearBeta(), "eps")


def test_weights_are_begun_with_where_they_fit(tmp_path: Path) -> None:
    train(recipe(), Waves(), Waves(6), tmp_path)
    path = tmp_path / "model.safetensors"
    given = load(path).state_dict()
    for classes in (3, 5):
        model = network(classes)
        fresh = {name: weight.clone() for name, weight in model.state_dict().items()}
        said = initialise(model, str(path))
        table = next(name for name in fresh if name.endswith("table.weight"))
        for name, weight in model.state_dict().items():
            fits = classes == 3 or name != table
            assert torch.equal(weight, given[name] if fits else fresh[name])
        if classes == 3:
            assert said == f"begins with all {len(given)} weights of {path}"
        else:
            assert said.startswith(
                f"begins with {len(given) - 1} of {len(given)} weights of {path}"
            )
            assert said.endswith(f"fresh, for nothing there fits, are {table}")


def test_nothing_that_fits_is_refused(tmp_path: Path) -> None:
    train(recipe(), Waves(), Waves(6), tmp_path)
    model = Diffusion(FrontEnd(MDCT(16), unet(signal=32)), Trigonometric(), "v")
    with pytest.raises(UserError, match=r"nothing of .* fits this model, .* or begin without it"):
        initialise(model, tmp_path / "model.safetensors")


def test_samples_are_told_nothing_where_training_hides_all(tmp_path: Path) -> None:
    made = small("pictures", samples=2, sampling=Sampling("ddim", 3))
    made.model.hide = 1.0  # type: ignore[attr-defined]
    model = load(train(made, waves("pictures"), waves("pictures", 6), str(tmp_path / "out")))
    expected = sample(model, (2, 3, 8, 8), **model.info.sampling.arguments(seed=3)).clamp(-1, 1)
    for index, one in enumerate(expected):
        found = Pictures().read(tmp_path / "out" / "samples" / f"{index}.png", (3, 8, 8))
        torch.testing.assert_close(found, one, atol=2 / 255, rtol=0)
