"""What does a front end do to sound before anything has been learned?

    python benchmarks/frontend_untrained.py --data-dir data    # ten minutes on a CPU core

The recipe's network for spoken digits stands behind every front end with weights that are all
random: what the library starts at zero (so that a fresh network returns nothing at all) is drawn as
PyTorch draws any layer. What it makes of white noise and of spoken digits, asked once at t = 0.5,
is held against what it was given, in the measures of `frontend_quality.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from frontend_quality import RAW_PERIOD, artefacts, rejections
from rows import Rows, about, parse, parser
from torch import Tensor, nn

from mmdiff import Diffusion
from mmdiff.audio import presets
from mmdiff.audio.modality import Sound
from mmdiff.metrics.batches import take
from mmdiff.metrics.equivariance import denoiser_artefacts
from mmdiff.metrics.frames import frame_length
from mmdiff.metrics.frechet import training_part

SIZES = [2**k for k in range(1, 8)]
FRONTENDS = ["raw", *(f"{k}:{p}" for k in ("patch", "mdct", "learned") for p in SIZES), "stft"]
TIME = 0.5
PROBED = 8  # clips for what is asked of the denoiser


def random_model(data: Any, frontend: str, seed: int) -> Diffusion:
    """The recipe's model, with nothing left at zero."""
    model: Any = presets.v(data, frontend, seed=seed).model
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear) and not module.weight.any():
            module.reset_parameters()
    return model.eval()


@torch.no_grad()
def answers(model: Diffusion, x: Tensor) -> Tensor:
    """What the network makes of clips [N, C, L]."""
    return torch.cat([model.backbone(part, torch.full((len(part),), TIME)) for part in x.split(20)])


def main() -> None:
    settings = parser(__doc__, seeds=(0, 1, 2), count=200, frontends=FRONTENDS)
    args = parse(settings, seeds=(0,), count=4, frontends=("raw", "mdct:16"))
    data: Any = (
        Sound.open("synthetic", "test", sample_rate=8000, seconds=0.1)
        if args.quick
        else Sound.open("fsdd", "test", args.data_dir)
    )
    clips = training_part(take(data)["x"], args.count) * data.modality.scale
    white = torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    rows = Rows(args.out / "frontend_untrained.csv", ("frontend", "seed", "input"))
    for frontend in args.frontends:
        for seed in args.seeds:
            model = random_model(data, frontend, seed)
            factor = frame_length(model)
            period = factor if factor > 1 else RAW_PERIOD
            probes = training_part(clips, min(PROBED, args.count))
            probed = rejections(denoiser_artefacts(model, probes, period, (TIME,), seed=seed))
            row = {"frontend": frontend, "p": factor, "period": period, "seed": seed}
            for name, x in {"white": white, "speech": clips}.items():
                found = artefacts(answers(model, x), x, period, seed)
                rows.add({**row, "input": name, **found, **probed, **about()})


if __name__ == "__main__":
    main()
