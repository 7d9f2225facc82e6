"""The one error that means "what was asked for is wrong", as opposed to "the program is wrong"."""


class InputError(ValueError):
    """A request that cannot be met as it stands: a key, a value or a file.

    The message is one line that says what, where, and what would be right; the command line prints it as it is and
    ends with code 2.
    """
