"""A written digit and its spoken name together: a bridge between two models that are trained.

    python recipes/duet.py                   # an hour and a half on one CPU core
    python recipes/duet.py --steps 50        # to see that it runs

The bundled models of digits and of speech stay as they are. Half way through their networks, the
positions of both are tokens of one small transformer, which starts as nothing, and which alone is
trained. It is told no labels: what a pair agrees in, it knows from looking across the bridge, and
learns from what the two models say of pairs when they are told.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

import mmdiff
from mmdiff.audio import Sound
from mmdiff.cli import run
from mmdiff.image import Pictures
from mmdiff.joint import Bundled, Joint, Pairs, Shares
from mmdiff.nn import Bridge


def main(
    out: Path = Path("runs/duet"),
    data_dir: Path | None = None,
    steps: int = 8_000,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Train the bridge, look across it on the way, and draw pairs at the end."""
    data, held_out = (
        Pairs({
            "picture": Pictures.open("mnist", split, data_dir),
            "sound": Sound.open("fsdd", split, data_dir),
        })
        for split in ("train", "test")
    )  # fmt: skip
    torch.manual_seed(seed)
    parts = {"picture": Bundled("digits"), "sound": Bundled("speech")}
    bridge = Bridge({"picture": 128, "sound": 256}, width=128, depth=3)  # from channels to channels
    # Alone, the parts are never changed, so that there is nothing to be learned of it.
    model = Joint(
        parts, bridge, shares=Shares(0.4, 0.5, 0.0, 0.1), taught=True, given_at=0.1,
        # Sounds tell their digits best: pictures that are drawn after them agree most.
        turns=["sound", "picture"],
    )  # fmt: skip
    recipe = mmdiff.Recipe(
        model,
        steps=steps,
        batch=32,
        lr=3e-3,
        optimizer="muon",
        warmup=100,
        ema=0.999,
        save_every=250,
        look_every=1500,
        # What agrees is decided early; later, guidance would only make sounds louder.
        sampling=mmdiff.Sampling("dpmpp2msde", 50, guidance=3.0, interval=(0.5, 1.0)),
        samples=20,
        seed=seed,
        made={"recipe": "duet"},
    )
    checkpoint = mmdiff.train(recipe, data, held_out, out, device=device, resume=resume)
    print(f"wrote {checkpoint}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app, "duet")
