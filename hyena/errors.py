"""The one error that means "what was asked for is wrong", as opposed to "the program is wrong"."""

from __future__ import annotations


class InputError(ValueError):
    """A request that cannot be met as it stands: a key, a value or a file.

    The message is one line that says what, where, and what would be right; the command line prints it as it is and
    ends with code 2.
    """


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
