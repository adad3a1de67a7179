"""The one kind of error that is the user's to cure."""


class UserError(Exception):
    """One sentence that says what is wrong and what cures it; the command line prints it and exits 1."""
