"""What a user is told in one sentence."""


class UserError(Exception):
    """What is wrong, and what cures it; the command line prints it and exits with 1."""


class Interrupted(Exception):
    """Training was asked to stop, and did, where it can go on; the command line exits with 130."""
