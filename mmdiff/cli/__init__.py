"""The program: `mmdiff sample`, `mmdiff train` and so on, a file each, or one for those alike.

This is the only place that speaks of --flags, and it knows modalities by `mmdiff.modality` alone.
What is slow to import is imported inside of the commands, so that --help answers at once.
"""

from mmdiff.cli.program import main, run

__all__ = ["main", "run"]
