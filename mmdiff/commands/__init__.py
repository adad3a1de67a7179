"""The commands of `mmdiff`, a file each.

torch and all that needs it is imported inside of them, so that `--help` answers at once.
"""
