"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """
    Something that was asked for cannot be done; the message is one sentence for the user.

    The command line prints it as one line and ends with exit status 2. Every other exception is a fault of the program and
    keeps its traceback.
    """


class Busy(UserError):
    """Another process is at work in a run's folder; later it may be done."""
