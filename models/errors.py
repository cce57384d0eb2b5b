"""The base of every error that a user may meet. `pipeline.core.errors` holds the rest of the family."""


class VdvError(Exception):
    """Something the user can act on: the message says what is wrong, where, and what to do."""

    code = "error"


class OptionError(VdvError):
    """An option of the command line with a value that it does not take."""

    code = "option"


class ProfileError(VdvError):
    """A profile file that does not say what it must, or asks for something that does not exist."""

    code = "profile"


class WeightsError(VdvError):
    """Weights that cannot be had, do not verify, or do not fit the network they are meant for."""

    code = "weights"
