"""The one kind of error that is the user's to cure."""


class UserError(Exception):
    """One sentence: what is wrong and what cures it. The command line prints it and exits 1."""
