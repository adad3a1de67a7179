"""What does a front end do to sound before anything has been learned?

    python benchmarks/frontend_untrained.py --data-dir data    # ten minutes on a CPU core
    python benchmarks/frontend_untrained.py --quick            # does it work? writes nothing

The recipe's network for spoken digits stands behind every front end with weights that are all
random: what the library starts at zero (so that a fresh network returns nothing at all) is drawn as
PyTorch draws any layer. What it makes of white noise and of spoken digits, asked once at t = 0.5,
is held against what it was given:

- spurs, phase variance and coherence at the front end's factor, output minus input
  (`mmdiff.metrics.aliasing`);
- image rejection and shift error of the denoiser on spoken digits (`mmdiff.metrics.equivariance`).

Raw waveforms have no period: at theirs, 16 is sought.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from frontend_quality import RAW_PERIOD, Row, artefacts, keep, rejections
from torch import Tensor, nn

from mmdiff import Diffusion
from mmdiff.audio.datasets import Sounds, open_sounds
from mmdiff.metrics.equivariance import denoiser_artefacts
from mmdiff.metrics.frechet import training_part
from mmdiff.metrics.speech import stack_sounds
from mmdiff.training.audio import PRESET

RESULTS = Path(__file__).parent / "results"
FRONTENDS = (
    "raw",
    *(f"{kind}:{2**k}" for kind in ("patch", "mdct", "learned") for k in range(1, 8)),
    "stft",
)
TIME = 0.5
PROBED = 8  # clips for what is asked of the denoiser


def random_model(data: Sounds, frontend: str, seed: int) -> Diffusion:
    """The recipe's model, with nothing left at zero."""
    model = PRESET.model(data, frontend, seed)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear) and not module.weight.any():
            module.reset_parameters()
    return model.eval()


@torch.no_grad()
def answers(model: Diffusion, x: Tensor, batch: int = 20) -> Tensor:
    """What the network makes of clips [N, C, L]."""
    parts = [model.backbone(part, part.new_full((len(part),), TIME)) for part in x.split(batch)]
    return torch.cat(parts)


def measure(frontend: str, seed: int, data: Sounds, inputs: dict[str, Tensor]) -> list[Row]:
    """One row for each of the inputs."""
    model = random_model(data, frontend, seed)
    backbone: Any = model.backbone
    factor = int(backbone.transform.factor)
    period = factor if factor > 1 else RAW_PERIOD
    clips = training_part(inputs["speech"], PROBED)
    probed = rejections(denoiser_artefacts(model, clips, period, (TIME,), seed=seed))
    row = {"frontend": frontend, "factor": str(factor), "period": str(period), "seed": str(seed)}
    return [
        row | {"input": name} | artefacts(answers(model, x), x, period, seed) | probed
        for name, x in inputs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=200, help="clips of each kind")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--quick", action="store_true", help="tiny settings, nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    if args.quick:
        data = open_sounds("synthetic", "test", sample_rate=8000, seconds=0.1, scale=PRESET.scale)
    else:
        data = open_sounds("fsdd", "test", args.data_dir, scale=PRESET.scale)
    count = 4 if args.quick else args.count
    clips = training_part(stack_sounds(data).x * data.scale, count)
    white = torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    rows: list[Row] = []
    for frontend in ("raw", "patch:16", "mdct:16") if args.quick else FRONTENDS:
        for seed in args.seeds[:1] if args.quick else args.seeds:
            found = measure(frontend, seed, data, {"white": white, "speech": clips})
            rows += found
            for row in found:
                told = ("frontend", "seed", "input", "spurs", "phase_variance", "coherence")
                print("| " + " | ".join(row[name] for name in told) + " |", flush=True)
    if not args.quick:
        keep(args.out / "frontend_untrained.csv", rows)


if __name__ == "__main__":
    main()
