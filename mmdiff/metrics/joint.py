"""How well a joint model of written and spoken digits fits together, and how good its parts are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mmdiff.audio.datasets import open_sounds
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.image.datasets import open_images
from mmdiff.joint import Joint
from mmdiff.metrics.batches import DIGITS, Batch, class_names, take
from mmdiff.metrics.images import ImageReport, evaluate_images
from mmdiff.metrics.judge import DigitJudge, accuracy, load_judge, run_judge
from mmdiff.metrics.speech import SpeechReport, evaluate_speech
from mmdiff.metrics.speech_judge import SpeechJudge, load_speech_judge
from mmdiff.sampling import Sampling, drawn

PICTURE, SOUND = "picture", "sound"


@dataclass(frozen=True)
class JointReport:
    """What `evaluate_duet` found.

    Attributes:
        count: pairs, and samples in each direction.
        agreement: how often both judges read the same digit in a pair that was drawn together.
        sound_from_picture: how often a sound made for a test picture is heard as its digit.
        picture_from_sound: how often a picture made for a test sound is read as its digit.
        picture, sound: the parts of the pairs, each judged as samples of its own model are.
    """

    count: int
    agreement: float
    sound_from_picture: float
    picture_from_sound: float
    picture: ImageReport
    sound: SpeechReport

    def as_dict(self) -> dict[str, Any]:
        """Everything here, ready for JSON."""
        parts = {PICTURE: self.picture.as_dict(), SOUND: self.sound.as_dict()}
        return asdict(self) | parts

    def as_text(self) -> str:
        """A few lines for people."""
        return "\n".join(
            [
                f"pairs that agree   {self.agreement:.2%}",
                f"picture to sound   {self.sound_from_picture:.2%}",
                f"sound to picture   {self.picture_from_sound:.2%}",
                "",
                self.picture.as_text(),
                "",
                self.sound.as_text(),
            ]
        )


@dataclass(frozen=True)
class Readers:
    """Both judges: which digit they read in the signals of a joint model."""

    written: DigitJudge
    spoken: SpeechJudge
    scale: float  # of the sounds

    def digits(self, name: str, x: Tensor) -> Tensor:
        """Logits [N, 10] of signals in the model's own units."""
        if name == PICTURE:
            return run_judge(self.written, x.clamp(-1, 1))[1]
        return run_judge(self.spoken, (x / self.scale).clamp(-1, 1))[1]


@dataclass(frozen=True)
class Drawing:
    """How what is judged of a joint model is drawn: `count` of all, `batch` at a time."""

    count: int
    sampling: Sampling
    seed: int = 0
    batch: int = 50
    progress: bool = True

    def pairs(self, model: Joint) -> dict[str, Tensor]:
        """All parts by name, in turn if the model has turns, else at once."""
        shape = (self.count, *model.packing.shape)
        found = drawn(model, shape, self.sampling, self.seed, batch=self.batch)
        return model.packing.unpack(self._joined(found))

    def given(self, model: Joint, name: str, **others: Any) -> Tensor:
        """One part, told others, as it is drawn in turn."""
        how = model.sampling_of(name, self.sampling)
        shape, view = (self.count, *model.packing.shapes[name]), model.view(name, tuple(others))
        found = drawn(view, shape, how, self.seed, batch=self.batch, **others)
        return self._joined(found)

    def _joined(self, parts: Iterator[Tensor]) -> Tensor:
        total = -(-self.count // self.batch)
        return torch.cat(list(tqdm(parts, total=total, disable=not self.progress))).float().cpu()


def _is_of_digits(model: Joint) -> bool:
    infos = model.backbone.infos
    return (
        infos.keys() == {PICTURE, SOUND}
        and tuple(infos[PICTURE].shape) == (1, 28, 28)
        and getattr(infos[SOUND].modality, "sample_rate", None) == SpeechJudge.sample_rate
        and class_names(model.conditions.get("label")) in ((), DIGITS)
    )


def evaluate_duet(
    model: Diffusion,
    sampling: Sampling,
    count: int = 1000,
    seed: int = 0,
    data_dir: Path | None = None,
    batch: int = 50,
    progress: bool = True,
) -> JointReport:
    """Draw `count` pairs, and as many of each part from test items of the other; told no label.

    Pairs are drawn as `sampling` says, in turn if the model has turns; and so is one part from the
    other.

    Raises:
        UserError: a model that does not make pictures and sounds of digits; data that are missing.
    """
    if not (isinstance(model, Joint) and _is_of_digits(model)):
        raise UserError(
            "only joint models of written and spoken digits, 28x28 and at "
            f"{SpeechJudge.sample_rate} Hz, can be judged: the bundled judges know nothing else."
        )
    scale = model.backbone.infos[SOUND].modality.data_range[1]
    readers = Readers(load_judge(), load_speech_judge(), scale)
    seconds = model.packing.shapes[SOUND][1] / SpeechJudge.sample_rate
    pictures, sounds = (
        {split: take(data) for split, data in both.items()}
        for both in (
            {split: open_images("mnist", split, data_dir) for split in ("train", "test")},
            {
                split: open_sounds("fsdd", split, data_dir, SpeechJudge.sample_rate, seconds)
                for split in ("train", "test")
            },
        )
    )

    how = Drawing(count, sampling, seed, batch, progress)
    pairs = how.pairs(model)
    read = {name: readers.digits(name, x).argmax(1) for name, x in pairs.items()}

    def from_other(name: str, given: str, test: Batch, unit: float) -> float:
        rows = torch.arange(count) * len(test["x"]) // count
        x = how.given(model, name, **{given: test["x"][rows] * unit})
        return accuracy(readers.digits(name, x), test["label"][rows])

    return JointReport(
        count,
        agreement=(read[PICTURE] == read[SOUND]).double().mean().item(),
        sound_from_picture=from_other(SOUND, PICTURE, pictures["test"], 1.0),
        picture_from_sound=from_other(PICTURE, SOUND, sounds["test"], scale),
        picture=evaluate_images(
            {"x": pairs[PICTURE].clamp(-1, 1)}, pictures["test"], pictures["train"],
            neighbours=False, judge=readers.written,
        ),
        sound=evaluate_speech(
            {"x": pairs[SOUND] / scale}, sounds["test"], sounds["train"],
            neighbours=False, judge=readers.spoken,
        ),
    )  # fmt: skip
