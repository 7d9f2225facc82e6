"""InputError, the one error that means "the request is wrong" rather than "the program is wrong", and its wording."""

from __future__ import annotations

import difflib
import math
import reprlib


class InputError(ValueError):
    """A wrong request: a key, a value or a file that cannot be used as it is.

    The message is one line that says what is wrong, where, and what would be right; commands print it unchanged and
    exit with code 2. Names in it may hold any characters: line ends become spaces, other control characters and bytes
    that are not UTF-8 become escapes, so that the message stays one line of valid text.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


def escaped(text: str) -> str:
    r"""`text` with line ends replaced by spaces, and control characters and bytes that are not UTF-8 by escapes.

    >>> escaped("two\nlines\x00")
    'two lines\\x00'
    """
    return "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return " " if letter in "\n\r\t\u2028\u2029" else ascii(letter)[1:-1]


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def whole_message(error: BaseException | None) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())


class _Shortened(reprlib.Repr):
    """`repr` of any value, shortened to about a hundred characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlevel = 2

    def repr_bool(self, x: bool, level: int) -> str:
        """As in TOML and JSON."""
        return str(x).lower()

    def repr_int(self, x: int, level: int) -> str:
        """Long integers by their number of digits; Python refuses to convert more than 4,300 of them."""
        if x.bit_length() < 256:
            return repr(x)
        digits = math.floor((x.bit_length() - 1) * math.log10(2)) + 1
        return f"<an integer of {digits + (abs(x) >= 10**digits)} digits>"


#: Formats a value for an error message: on one line, with control characters as escapes, shortened where it is long.
shown = _Shortened().repr


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The end of a message about an unknown `name`: the nearest known name, or all of them.

    >>> nearest("seed", ["seeds", "epochs"]), nearest("x", ["seeds", "epochs"])
    ("did you mean 'seeds'?", 'known: seeds, epochs')
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
