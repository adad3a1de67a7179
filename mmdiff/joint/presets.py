"""The recipe for pairs of anything."""

from __future__ import annotations

from typing import Any, cast

import torch

from mmdiff.checkpoints import Info
from mmdiff.diffusion import Diffusion
from mmdiff.errors import UserError
from mmdiff.joint.model import Joint
from mmdiff.joint.pairs import Pairs
from mmdiff.joint.sliced import sliced
from mmdiff.modality import Data, recipe_of
from mmdiff.nn import Bridge
from mmdiff.noise import as_seed
from mmdiff.recipe import Recipe
from mmdiff.sampling import Sampling


def bridged(data: Data, seed: int = 0) -> Recipe:
    """A fresh model of each part, and a bridge between them.

    The models are those of the modalities' usual recipes; of parts that go on together, as a video
    and its sound do, see `sliced`. All of it is trained, half of the time told nothing but what it
    sees across the bridge.

    Raises:
        UserError: data that are no pairs.
    """
    if not isinstance(data, Pairs):
        raise UserError(f"{data.name} is no pair of data sets, which a joint model is of.")
    together = data.seconds and all(part.modality.time for part in data.parts.values())
    model, sampling = (sliced if together else _usual)(data, seed)
    return Recipe(
        model,
        epochs=100,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=500,
        look_every=1600,
        sampling=sampling,
        seed=seed,
        made={"preset": "bridged"},
    )


def _usual(data: Pairs, seed: int) -> tuple[Joint, Sampling]:
    models, infos, widths = {}, {}, {}
    for name, part in data.parts.items():
        usual = recipe_of(type(part.modality), None, part, seed=seed)
        models[name] = cast(Diffusion, usual.model)
        network: Any = models[name].backbone
        infos[name], widths[name] = Info(part.shape, part.modality, usual.sampling), network.width
    torch.manual_seed(as_seed(seed))
    return Joint(models, Bridge(widths), hide=0.5, infos=infos), Sampling("dpmpp2msde", 50)
