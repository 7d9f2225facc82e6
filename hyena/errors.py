"""The one error that means "what was asked for is wrong", as opposed to "the program is wrong", and what it quotes."""

from __future__ import annotations

import difflib
import math
import reprlib


class InputError(ValueError):
    """A request that cannot be met as it stands: a key, a value or a file.

    The message is one line that says what, where, and what would be right; the command line prints it as it is and
    ends with code 2. A name in it may hold anything: a line end becomes a blank, and other control characters and bytes
    that are not UTF-8 become escapes, so that it stays one line, and text that can be stored.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


def escaped(text: str) -> str:
    """`text` without line ends (which become blanks), control characters and bytes that are not UTF-8 as escapes."""
    return "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return " " if letter in "\n\r\t\u2028\u2029" else ascii(letter)[1:-1]


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Shortened(reprlib.Repr):
    """`repr` of any value in about a hundred characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlevel = 2

    def repr_bool(self, x: bool, level: int) -> str:
        """As TOML and JSON write it."""
        return str(x).lower()

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out whole numbers of more than 4,300 digits."""
        if x.bit_length() < 256:
            return repr(x)
        digits = math.floor((x.bit_length() - 1) * math.log10(2)) + 1
        return f"<a whole number of {digits + (abs(x) >= 10**digits)} digits>"


#: A value as an error quotes it: on one line, control characters written as escapes, and shortened where it is long.
shown = _Shortened().repr


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The end of an error about an unknown `name`: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
