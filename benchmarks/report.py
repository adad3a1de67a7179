"""What do a front end's frames cost in sound, and what do they bring in speed? A page of it all.

    python benchmarks/report.py                                   # seconds
    python benchmarks/report.py --results FOLDER --page FILE

Nothing is measured here. The page and its pictures are made of what other benchmarks left in the
folder of results: `frontend_speed*.json`, `frontend_quality.csv`, `frontend_untrained.csv` and
`frontend_sounds/`. What is missing is named with the command that makes it. Every sentence about
what was found is chosen by the numbers, by rules that stand on the page (`report_rules.py`).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from urllib.parse import quote

from frontend_quality import FRONTENDS
from report_claims import missing, named, verdicts
from report_data import VARIANTS
from report_files import COMMANDS, Found, Study, gather
from report_plots import draw_artefacts, draw_quality
from report_rules import RULES, listed, races
from report_spectrograms import draw_spectrograms
from report_tables import (
    artefact_table,
    denoiser_table,
    quality_table,
    race_table,
    speed_table,
    summary_table,
    untrained_table,
    verdict_table,
)
from report_text import answer, measured, plural, rate_text, untrained_text

from mmdiff.errors import UserError
from mmdiff.files import written_aside

FOLDER = Path(__file__).parent

QUESTION = """
A network that makes sound sample by sample has a long way to go. So a *front end* turns every p
samples into one position with more channels, by cutting the sound into patches, by an overlapping
cosine transform (MDCT), by a learned convolution or by a short-time Fourier transform, and back:
the sequence is p times shorter. How much faster does that make the network, and what does it do to
the sound? A network that works on frames of p samples treats the p places in a frame differently,
so that something may repeat every p samples where in real sound nothing does.
""".strip()

READING = """
- **p**: samples for each position that the network sees; of the STFT its hop.
- **Levels**: of the U-Net, which has more where the sequence is longer; its size is much the same.
- **Clips a second in training**, on the machine named above: of all front ends measured in turns,
  so they compare, to about 5%. **Steps**: those that fit into the minutes at this pace. Beside
  other work training took{taken} minutes for them, which changes nothing in the networks.
- **Fréchet / floor**: the distance of samples from test clips, in the features of a judge trained
  on real clips, over that of as many training clips; 1 would be as near as real ones. Ratios of
  different numbers of samples do not compare. **Labels right**: what the judge reads in the
  samples as it was asked for{real}.
- **Tilt**: how far the mean spectra of samples and test clips are apart{floors}.
- **Validation loss**: of v, on held-out clips, the mean over noise levels t and at each.
- **Spurs**: tones at multiples of the sample rate / p, their power over that of the sound; clips
  that are quiet around them count for more (`mmdiff.metrics.periodic`).
  **Phase variance**: a loudness that differs between the places in a frame, as the variance of the
  power over its squared mean. **Coherence**: parts of the spectrum that are images of others, so
  many times the sample rate / p away, however loud; summed over images, so it may exceed 0. Each is
  samples minus held-out clips, in dB (10 log10). "< -48" is an upper bound: the interval holds 0.
  "None": not even the bound is above 0. † marks what the periods p - 1 and p + 1 have as well,
  within 3 dB.
- **Image rejection**: the trained network is given a tone; how far below its answer at that tone
  the answers at the p - 1 images are, in dB, the median over tones. The more the better. "Control"
  is the lower one of the periods p - 1 and p + 1. **Shift error**: how much the answer changes when
  the same sound begins some samples later, in dB relative to the answer. The less the better.
- **Spun**: with cycle spinning. Before each network call the state is shifted by a random number of
  samples below p, and its estimate is shifted back. That adds no call, and at most p - 1 samples to
  what each is given (`spin` of `mmdiff.sample`).
- **Call**, **training step** in the table of speed: how many times as fast as the same network on
  raw sound, and that as a share of p, which is the most that fewer operations bring; what is above
  is the machine's doing, see the limits.

Where there are several seeds a number is their mean (of power ratios: before decibels are taken),
with the smallest and the largest in brackets.
""".strip()

METHOD = """
Speed: one U-Net of fixed widths behind each front end; all take turns in every round, and a
speed-up is a quotient within a round. Sound: the recipe's network for spoken digits, which is
deeper where the sequence is longer, is trained for as many minutes behind each front end, so a
faster one takes more steps; samples are drawn by 25 steps of DDIM, without guidance, from the
averaged weights. Artefacts are what all samples have in common at their own place mod p
(`mmdiff.metrics.periodic`), which real clips, cut anywhere, do not have; intervals are from a
bootstrap over clips (`mmdiff.metrics.aliasing`). Image rejection and shift error ask the denoiser
itself (`mmdiff.metrics.equivariance`). A learned convolution begins as the MDCT of its stride.
""".strip()

LIMITS = """
- Minutes of training, not days: quality is that of equal, short training and tells little of what
  comes of a long one.
- A speed-up is that of a network of constant widths on the named machine. What a call costs
  whatever the length, and the first and last convolution, weigh more the larger p and the shorter
  the clips are.
- On a CPU the network computes without gradients in an order of memory that is about a third
  faster, but only where it has 2,048 to 32,768 positions: on more it would lose digits
  (`mmdiff.nn.unet`). Raw sound of long clips has more and goes without; training steps never have
  it. And what a long sequence computes does not stay in the processor's cache. Shares of more than
  1 p come from these two, not from fewer operations.
- The allocator was told to keep large blocks of memory. As it is by default, raw sound of long
  clips waits for the system most of the time, and is slower still.
- The U-Net behind a longer sequence is deeper: what is said of p is said of the front end and its
  network together, as the recipe joins them. Behind the STFT it has one level.
- A U-Net halves its sequence at each level, so that it may leave periods of 2 p, 4 p and so on,
  raw sound's not excepted; these are not sought. Of raw sound the period of 16 samples is.
- An artefact counts if it has the same sign in most clips: what follows the sound, with another
  phase in each clip, is in coherence alone.
- Two periods p and q can be told apart only in clips of more than about 2 p q samples; in shorter
  ones the control periods of a large p show its own artefacts too.
- An interval of the bootstrap is over samples of one network; from seed to seed networks differ by
  more. Few seeds make ranges narrow by chance.
- Whether anybody hears it was not asked of listeners.
- Noise that does not repeat every p samples is no artefact here; it shows in tilt and distance.
""".strip()


def picture(found: Found, page: Path, name: str, alt: str) -> str:
    return f"![{alt}]({link(found.folder / name, page)})"


def link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path.resolve(), page.resolve().parent)).as_posix())


def title(found: Found, study: Study) -> str:
    return f"{named(study)}{rate_text(found, study)}"


def plots(found: Found, page: Path) -> list[str]:
    """What plots there are, of each data set."""
    blocks = []
    for dataset, study in found.studies.items():
        of, end = f" ({named(study)})", "" if dataset == "fsdd" else f"_{dataset}"
        for name, draw, alt in (
            ("frontends_speed_quality", draw_quality, "Speed against quality and loss"),
            ("frontends_speed_aliasing", draw_artefacts, "Speed against the level of artefacts"),
        ):
            if draw(found.folder / f"{name}{end}.png", study):
                blocks.append(picture(found, page, f"{name}{end}.png", alt + of))
    return blocks or [f"Plots: not yet; {missing('frontend_quality.csv')}."]


def folded(summary: str, *blocks: str) -> str:
    return "\n\n".join([f"<details><summary>{summary}</summary>", *blocks, "</details>"])


def summaries(found: Found) -> list[str]:
    """Of each data set what decides."""
    return [
        block
        for study in found.studies.values()
        for block in (f"Trained on {title(found, study)}:", summary_table(study))
    ]


def reading(found: Found) -> str:
    """What the columns are, and what real clips have in them."""
    groups = [group for study in found.studies.values() for group in study.groups.values()]
    real = next((one for group in groups if (one := group.values("real_accuracy_plain"))), None)
    taken = [
        one for group in groups if (values := group.values("minutes_taken")) for one in values.each
    ]
    floors = [
        f"{floor.mean:.1f} dB for training clips of {named(study)}"
        for study in found.studies.values()
        if (floor := next(iter(study.groups.values())).values("tilt_floor_plain"))
    ]
    return READING.format(
        real=f"; of the test clips it reads {real.mean:.0%}" if real else "",
        taken=f" {min(taken):.1f} to {max(taken):.1f}" if taken else " other",
        floors=f"; {listed(floors)}" if floors else "",
    )


def tables(found: Found, page: Path) -> list[str]:
    """All that was measured of trained networks, and of speed."""
    blocks = []
    if found.speeds:
        more = ", ".join(
            f"[{speed.clips}]({link(found.folder / speed.file, page).replace('.json', '.md')})"
            for speed in found.speeds
        )
        blocks.append(folded("Speed of one network behind each front end", speed_table(found)))
        blocks.append(
            "Steps of sampling, peaks of memory, where the time of a call goes, and "
            f"audio-diffusion-pytorch's network against ours: clips of {more}."
        )
    if not found.studies:
        return [*blocks, f"Trained networks: not yet: {missing('frontend_quality.csv')}."]
    for study in found.studies.values():
        blocks.append(f"### Trained on {title(found, study)}")
        if study.left_out:
            blocks.append(
                f"Trained for {study.minutes} minutes and judged by {study.samples} samples; "
                f"{plural(study.left_out, 'row')} of other numbers left out."
            )
        if len(study.machines) > 1:
            blocks.append(
                "Not all were trained on one machine, and minutes are not the same on each."
            )
        groups = list(study.groups.values())
        blocks += ["What repeats every p samples, dB:", artefact_table(groups)]
        if races(study):
            blocks += ["How far below plain patching, at the same p:", race_table(study)]
        blocks.append(folded("Loss by noise level, and more of the samples", quality_table(study)))
        blocks.append(folded("What the denoiser itself does, dB", denoiser_table(groups)))
    return blocks


def untrained(found: Found) -> list[str]:
    if not found.untrained:
        return [f"Not yet: {missing('frontend_untrained.csv')}."]
    return [
        "What repeats every p samples in the output of fresh networks and not in their input, dB. "
        + untrained_text(found),
        folded("All of them", untrained_table(found)),
    ]


def spectrograms(found: Found, page: Path) -> list[str]:
    blocks = []
    for dataset, study in found.studies.items():
        name = f"frontends_spectrograms{'' if dataset == 'fsdd' else '_' + dataset}.png"
        if draw_spectrograms(found.folder / name, found, dataset):
            alt = f"Spectrograms of {named(study)} through each front end"
            blocks += [picture(found, page, name, alt), listening(found, page, study)]
    return blocks or [f"Not yet: {missing('frontend_quality.csv')}, as `frontend_sounds/`."]


def listening(found: Found, page: Path, study: Study) -> str:
    """Links to the sounds."""
    real = found.real(study.dataset)
    items = [f"[real]({link(real, page)})"] if real else []
    for name in study.groups:
        for variant in VARIANTS:
            path = found.sound(study.dataset, name, variant)
            if path.exists():
                items.append(f"[{name}{', spun' * (variant == 'spun')}]({link(path, page)})")
    return f"To hear them: {' · '.join(items)}."


def commands(found: Found) -> str:
    """What makes each file; a file of speeds says itself how it was made."""
    known = dict(COMMANDS)
    for speed in found.speeds:
        device = " --device cuda" * ("cuda" in speed.file)
        known[speed.file] = (
            f"python benchmarks/frontend_speed.py --length {speed.about['length']} "
            f"--rounds {speed.about['rounds']}{device}"
        )
    if found.studies:
        known["frontend_quality.csv"] = "`, `".join(
            f"python benchmarks/frontend_quality.py --data-dir data --dataset {name} "
            f"--minutes {study.minutes} --count {study.samples}"
            + f" --frontends {' '.join(study.groups)}"
            * (set(study.groups) != set(FRONTENDS))
            for name, study in found.studies.items()
        )
    also = {"frontend_quality.csv": "; also `frontend_sounds/`"}
    lines = [
        f"- `{file}`: `{command}`{also.get(file, '')}"
        + ("" if (found.folder / file).exists() else " (not made yet)")
        for file, command in known.items()
    ]
    return "\n".join([*lines, "- this page and its pictures: `python benchmarks/report.py`"])


def write(found: Found, page: Path) -> str:
    """Draw all pictures; the text of the page."""
    blocks = [
        "# Patch size against speed and aliasing",
        f"{QUESTION} {measured(found)}",
        answer(found),
        *summaries(found),
        *plots(found, page),
        "## To see and to hear",
        *spectrograms(found, page),
        "## What was claimed",
        "Of the master's thesis *Diffusion models in multimedia content generation* (Kyiv, 2025), "
        "and the targets of this benchmark:",
        verdict_table(verdicts(found)),
        folded("The rules", RULES),
        "## All numbers",
        reading(found),
        *tables(found, page),
        "### Before training",
        *untrained(found),
        "## How it was measured",
        METHOD,
        f"Limits:\n\n{LIMITS}",
        f"Files in `{link(found.folder, page)}`, and what makes them:\n\n{commands(found)}",
    ]
    return "\n\n".join(blocks) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=FOLDER / "results", metavar="FOLDER")
    parser.add_argument("--page", type=Path, default=FOLDER / "frontends.md", metavar="FILE")
    args = parser.parse_args()
    try:
        text = write(gather(args.results), args.page)
    except UserError as error:
        raise SystemExit(str(error)) from None
    with written_aside(args.page) as aside:
        aside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
