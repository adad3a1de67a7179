"""A digit that bounces in a box, and the sound of it: a video and its sound made as one.

    python recipes/bounce.py                   # on two CPU cores
    python recipes/bounce.py --steps 50        # to see that it runs

Two networks, of three dimensions and of one, and between them the bridge by which each sees what
the other has: when it touches a wall, which digit it is. All of it is trained, told nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

import mmdiff
from mmdiff.bounce import Bounce
from mmdiff.cli import run
from mmdiff.joint import Joint, Shares
from mmdiff.nn import MDCT, Bridge, FrontEnd, UNet

VIDEO, SOUND, BLOCK = (64, 128), (96, 128, 160), 32


def main(
    out: Path = Path("runs/bounce"),
    data_dir: Path | None = None,
    steps: int = 9_000,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train, watch and hear it on the way, and draw clips at the end."""
    data, held_out = (Bounce(split, data_dir) for split in ("train", "test"))
    torch.manual_seed(seed)
    schedule = mmdiff.Trigonometric()
    networks = {
        # Cubes of four pixels and frames, and blocks of 32 samples, are a position each.
        "video": UNet(3, 1, 1, VIDEO, patch=4),
        "sound": FrontEnd(MDCT(BLOCK), UNet(1, BLOCK, BLOCK, SOUND)),
    }
    parts = {
        name: mmdiff.Diffusion(network, schedule, "v", times="logit_normal")
        for name, network in networks.items()
    }
    kinds = data.modality.parts
    how = {
        "video": mmdiff.Sampling("dpmpp2msde", 25, clip=(-1.0, 1.0)),
        "sound": mmdiff.Sampling("dpmpp2msde", 25),
    }
    infos = {name: mmdiff.Info(data.packing.shapes[name], kinds[name], how[name]) for name in parts}
    bridge = Bridge({"video": VIDEO[-1], "sound": SOUND[-1]}, width=128, depth=3)
    model = Joint(parts, bridge, shares=Shares(0.5, 0.5, 0.0, 0.0), infos=infos)
    recipe = mmdiff.Recipe(
        model,
        steps=steps,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=200,
        ema=0.999,
        save_every=250,
        look_every=1500,
        sampling=mmdiff.Sampling("dpmpp2msde", 25),
        samples=10,
        seed=seed,
        made={"recipe": "bounce"},
    )
    checkpoint = mmdiff.train(recipe, data, held_out, out, device=device, resume=resume)
    print(f"wrote {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "bounce")
