"""What can go wrong that is not a fault of this package."""


class InputError(ValueError):
    """Something given from outside (a file, a folder, a config field) cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line
    prints it and exits with status 2.
    """


class DivergedError(RuntimeError):
    """Training produced a figure that is not finite. The message names the step and the term."""


class StoppedError(RuntimeError):
    """Training was asked to stop, and did. What was trained is saved; the message says where."""


class MismatchError(Exception):
    """A number is further from the released PyTorch code's than it may be."""
