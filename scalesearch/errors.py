"""The one error that a user's input can cause."""


class InputError(ValueError):
    """Bad input: one line that names the rule and the value; the command line exits with code 2."""
