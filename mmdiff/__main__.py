"""`python -m mmdiff` is `mmdiff`."""

from mmdiff.cli import main

main()
