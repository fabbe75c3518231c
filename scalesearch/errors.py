"""The errors that a user can cause."""


class InputError(ValueError):
    """Bad input: one line that names the rule and the value; the command line exits with code 2."""


class DamagedCheckpointError(ValueError):
    """A training cannot continue from its checkpoint: the file is damaged, or another training's."""


class RunHeldError(RuntimeError):
    """Another process drives this run; the command line exits with code 3."""
