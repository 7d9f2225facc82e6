"""Output, errors and exit codes of every command: one function that runs them all, and one console.

Output may contain names that a user chose, paths of any bytes, and characters that the terminal's encoding lacks. None
of these is interpreted as markup or ends a command: a character that cannot be encoded is written in its nearest ASCII
form, a byte of a path that is not UTF-8 as an escape. Imports neither torch nor Ray, so that every command can use it.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from hyena.errors import InputError, escaped

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
#: The code that a shell reports for a program ended by SIGPIPE: 128 + SIGPIPE.
OUTPUT_CLOSED = 141

#: Characters of this program's own texts that a terminal without UTF-8 lacks.
ASCII_FORMS = str.maketrans(
    {
        "·": "-", "–": "-", "—": "-", "−": "-", "━": "-", "…": "...", "×": "x", "Δ": "delta ", "±": "+/-", "≤": "<=",
        "≥": ">=", "█": "#", "░": ".", "’": "'", "‘": "'", "“": '"', "”": '"',
    }
)  # fmt: skip


def command(body: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run the body of a command, and return the exit code of the process.

    Args:
        body: parses the arguments, does the work and returns the exit code. It may raise InputError for a wrong
            request; an OSError or UnicodeError that reaches this function counts as one, too.
        interrupted: the message after Ctrl-C.

    Every such error is printed as one line on standard error. If the reader of the output ends early (`… | head`), the
    command ends silently.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before this process began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - as long as the process
        _encode_all(getattr(sys, name))
    try:
        code = body()
        sys.stdout.flush()
    except InputError as error:
        code = _fail(str(error))
    except (OSError, UnicodeError) as error:
        if isinstance(error, BrokenPipeError) and _is_closed(sys.stdout):
            _discard(sys.stdout)  # else the interpreter reports an error when it flushes the buffer
            return OUTPUT_CLOSED
        code = _fail(os_fault(error) if isinstance(error, OSError) else f"text that cannot be decoded: {error}")
    except KeyboardInterrupt:
        say(f"\n{interrupted}" if sys.stderr.isatty() else interrupted)  # the terminal has written ^C on this line
        code = INTERRUPTED
    return code


def console() -> Console:
    """Rich's console on standard output, which does not interpret text as markup."""
    from rich.console import Console  # not at the top, because most commands do not need it

    class Closable(Console):
        def on_broken_pipe(self) -> None:
            """End silently, not by an error, which a calling library would take for its own."""
            _discard(sys.stdout)
            raise SystemExit(OUTPUT_CLOSED)

    return Closable(highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Write a line to standard error; nothing if it is closed."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` on one line, with control characters, which could move a terminal's cursor, as escapes."""
    return escaped(" ".join(text.split()))


def os_fault(error: OSError) -> str:
    """An error of the operating system as "PATH: reason"."""
    reason = error.strerror or str(error) or type(error).__name__
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' and '.join(places)}: {reason[0].lower()}{reason[1:]}" if places else reason


def _fail(text: str) -> int:
    say(f"error: {printable(text)}")
    return WRONG_REQUEST


def _encode_all(stream: TextIO) -> None:
    """Let a stream replace characters that its encoding lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors=_ERRORS)


def _nearest_ascii(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the streams: replaces characters by their ASCII forms."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_ascii_form, letters)), error.end


def _ascii_form(letter: str) -> str:
    if _is_surrogate(letter):  # a byte of a file name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}" if ord(letter) >= 0xDC80 else "?"
    form = letter.translate(ASCII_FORMS)
    return form if form.isascii() else "?"


def _is_surrogate(letter: str) -> bool:
    return "\ud800" <= letter <= "\udfff"


_ERRORS = "hyena.nearest_ascii"
codecs.register_error(_ERRORS, _nearest_ascii)


def _is_closed(stream: TextIO) -> bool:
    """Whether a pipe has no reader any more."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no descriptor, or a system without poll
        return False


def _discard(stream: TextIO) -> None:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(nowhere.fileno(), stream.fileno())
