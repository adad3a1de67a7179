"""A digit that bounces in a box, and the sound of it: a video and its sound made as one.

    python recipes/bounce.py                   # on two CPU cores
    python recipes/bounce.py --steps 50        # to see that it runs

Two small U-Nets, of three dimensions and of one, and between them the bridge by which each sees
what the other has: when it touches a wall, and which digit it is. Cubes of two pixels and frames
are a position each, and blocks of 128 samples; all that is within 0.4 s is one token of the bridge,
which finds no touch in single positions. Alone, each is trained most where it is decided how its
digit or tone looks; given the other, where it is decided what it is. Clips are drawn in turn: the
video, told its digit, and then its sound, told nothing but the video.
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

FINE, VIDEO, SOUND, BLOCK = 32, 56, 48, 128
SLICES = {"video": (1, 8, 8), "sound": (25,)}  # of bottlenecks: 0.4 s


def main(
    out: Path = Path("runs/bounce"),
    data_dir: Path | None = None,
    steps: int = 12_000,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train, watch and hear it on the way, and draw clips at the end."""
    data, held_out = (Bounce(split, data_dir) for split in ("train", "test"))
    torch.manual_seed(seed)
    networks = {
        "video": UNet(3, 1, 1, (FINE, VIDEO), 1, (False, True), 2, data.conditions),
        "sound": FrontEnd(MDCT(BLOCK), UNet(1, BLOCK, BLOCK, (SOUND,), 1, (True,))),
    }
    parts = {
        name: mmdiff.Diffusion(network, mmdiff.Trigonometric(), "x0", "v", times=(0.8, 0.7))
        for name, network in networks.items()
    }
    kinds = data.modality.parts
    how = {
        "video": mmdiff.Sampling("dpmpp2msde", 25, guidance=3.0, clip=(-1.0, 1.0)),
        "sound": mmdiff.Sampling("dpmpp2msde", 25),
    }
    infos = {name: mmdiff.Info(data.packing.shapes[name], kinds[name], how[name]) for name in parts}
    model = Joint(
        parts, Bridge({"video": VIDEO, "sound": SOUND}, width=64, depth=2, slices=SLICES),
        shares=Shares(0.1, 0.5, 0.4, 0.0), hide=0.5, infos=infos, given_at=0.1,
        times="logit_normal", given_times=(2.0, 1.2), turns=["video", "sound"],
    )  # fmt: skip
    recipe = mmdiff.Recipe(
        model,
        steps=steps,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=200,
        ema=0.999,
        save_every=250,
        look_every=2500,
        sampling=mmdiff.Sampling("dpmpp2msde", 25, guidance=2.0),
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
