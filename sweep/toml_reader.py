"""From a TOML file to typed values: without coercion; every error names the place in the file. Next: `study.py`."""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hyena.errors import InputError, nearest, shown
from hyena.ranges import Range, range_in, require
from hyena.system.paths import resolved
from hyena.system.terminal import printable

T = TypeVar("T")

#: Limits of what is parsed: bytes of a file, digits of a number, and levels of nesting.
MOST_BYTES, MOST_DIGITS, MOST_DEPTH = 10_000_000, 100_000, 8
#: Largest number of bytes of a key, and so of the names of models and data sets, which become parts of paths.
MOST_KEY_BYTES = 100
TOO_DEEP = f"lists or tables are nested more than {MOST_DEPTH} deep"
#: Pydantic's names of types, and those of our messages.
WORDS = {
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "an object": "a table",
}
#: Larger integers are outside every range, so pydantic and JSON need not see all their digits.
BEYOND = 10**40

_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_KEY_PART = re.compile(r"""\s*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s.="'][^.="'\n]*)\s*([.=])""")


def read(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the tables of a TOML file and apply `overrides` (KEY=VALUE).

    Raises InputError with one line that names the place in the file, or the override, that is wrong.
    """
    place = printable(str(path))
    try:
        table = _loads(_text(path, place), place)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place}: not a readable TOML file: {printable(str(error))}") from None
    for override in overrides:
        _override(table, override)
    return table


def _text(path: Path, place: str) -> str:
    """Read a text file, with or without a byte-order mark and with any line ends."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"no study file '{place}'") from None
    except IsADirectoryError:
        raise InputError(f"{place}: is a folder; name the TOML file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{place}: not a readable TOML file: {reason}") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{place}: not a study: it holds more than {MOST_BYTES} bytes")
    if content.startswith(_UTF16_OR_32) or b"\0" in content:
        raise InputError(f"{place}: not UTF-8 text (UTF-16 or binary); save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise InputError(f"{place}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _loads(text: str, place: str) -> dict[str, Any]:
    """Parse TOML text; integers may have more digits than Python converts by default.

    Raises TOMLDecodeError where the text is not TOML, InputError where it is but cannot be read.
    """
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MOST_DIGITS)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        long = re.search(rf"[\d_]{{{MOST_DIGITS},}}", text)
        if long is None:  # such as an impossible date
            raise InputError(f"{place}: not a readable TOML file: {printable(str(error))}") from None
        line = text.count("\n", 0, long.start()) + 1
        raise InputError(f"{place}, line {line}: a number of more than {MOST_DIGITS} digits") from None
    except RecursionError:
        raise InputError(f"{place}: {TOO_DEEP}") from None
    finally:
        sys.set_int_max_str_digits(limit)


def _override(table: dict[str, Any], override: str) -> None:
    """Apply one KEY=VALUE to the tables; the key is dotted, with quoted parts where TOML needs them."""
    place = f"--set {shown(override)[1:-1]}"
    key, text = _key_and_value(override, place)
    for part in key[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"{place}: {shown(part)} is not a table")
    try:
        values = _loads(f"value = {text}", place)
    except tomllib.TOMLDecodeError:
        values = {}
    # Text that is not a TOML value becomes a string, so that a word needs no quotes inside the shell's quotes.
    table[key[-1]] = values["value"] if values.keys() == {"value"} else text.strip()


def _key_and_value(override: str, place: str) -> tuple[list[str], str]:
    """The parts of the dotted key, without quotes, and the text after the equals sign."""
    parts, end = [], 0
    while found := _KEY_PART.match(override, end):
        quoted = found[1][0] in "\"'"
        try:
            parts.append(next(iter(_loads(f"{found[1]} = 0", place))) if quoted else found[1].strip())
        except tomllib.TOMLDecodeError:
            break
        end = found.end()
        if found[2] == "=":
            return parts, override[end:]
    raise InputError(f"{place}: it must be KEY=VALUE, as in --set grid.seeds=[1,2,3]")


def require_plain(value: Any, place: str = "", depth: int = 0) -> None:
    """InputError where a table holds what no key accepts: dates, control characters, empty strings, deep nesting."""
    if depth > MOST_DEPTH:
        raise InputError(f"{place}: {TOO_DEEP}")
    if isinstance(value, dict):
        for key, element in value.items():
            if not key.isprintable() or len(key.encode()) > MOST_KEY_BYTES:
                fault = f"it must be printable, at most {MOST_KEY_BYTES} bytes"
                raise InputError(f"{place or 'the study'}: the key {shown(key)}: {fault}")
            name = key if re.fullmatch(r"[\w-]+", key) else shown(key)
            require_plain(element, f"{place}.{name}" if place else name, depth + 1)
    elif isinstance(value, list):
        for index, element in enumerate(value):
            require_plain(element, f"{place}.{index}", depth + 1)
    elif isinstance(value, date | time):  # datetime is a date
        raise InputError(f"{place} = {value.isoformat()}: no key accepts a date or a time; a string needs quotes")
    elif value == "":
        raise InputError(f"{place} = '': it must not be empty")
    elif isinstance(value, str) and not _is_one_line(value):
        raise InputError(f"{place} = {shown(value)}: it must not hold line ends or other control characters")


def _is_one_line(text: str) -> bool:
    """Whether a string has no line ends or other control characters, and can be encoded as UTF-8."""
    return re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text) is None


def build(kind: type[T], table: Any, where: str) -> T:
    """Build a dataclass from a TOML table. Raises InputError for unknown keys, missing keys and wrong types."""
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table: [{where}]")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known_keys(table, [f.name for f in fields], where)
    for f in fields:
        if f.name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {f.name} is missing")
    hints = get_type_hints(kind, include_extras=True)
    values = {key: checked(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def checked(kind: Any, value: Any, where: str) -> Any:
    """Convert `value` to `kind` by strict JSON rules (a list may become a tuple, but "3" never 3) and check its range.

    Raises InputError that names the element that is wrong.
    """
    bounds = range_in(kind)
    try:
        typed = TypeAdapter(kind).validate_json(json.dumps(_clamped(value)), strict=True)
    except ValidationError as error:
        faults = [(*_element(value, fault["loc"], where), fault["msg"]) for fault in error.errors()]
        place, element, _ = faults[0]
        # Where several types are allowed, pydantic reports one error for each.
        wanted = [_wanted(message, bounds) for there, _, message in faults if there == place]
        raise InputError(f"{place} = {shown(element)}: it must be {' or '.join(wanted)}") from None
    if bounds is not None:
        require(bounds, value, where)
    return typed


def _element(value: Any, location: tuple[int | str, ...], place: str) -> tuple[str, Any]:
    """Name and value of the element at one of pydantic's locations, which may end with the names of types."""
    for part in location:
        if (isinstance(value, list) and isinstance(part, int)) or (isinstance(value, dict) and part in value):
            place, value = f"{place}.{part}", value[part]  # type: ignore[index]
    return place, value


def _wanted(message: str, bounds: Range | None) -> str:
    """Pydantic's message as the end of a sentence that begins with "it must be"."""
    words = message.removeprefix("Input should be ")
    words = WORDS.get(words, words)
    return f"{words} {bounds}" if bounds is not None and words in ("an integer", "a number") else words


def _clamped(value: Any) -> Any:
    """A copy of `value` in which integers outside every range are replaced by shorter ones."""
    if isinstance(value, dict):
        return {key: _clamped(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_clamped(element) for element in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-BEYOND, min(value, BEYOND))
    return value


def known_keys(table: Mapping[str, Any], known: list[str] | tuple[str, ...], where: str) -> None:
    """InputError where a key of `table` is unknown; the message names the nearest known one."""
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {shown(key)}; {nearest(key, known)}")


def require_axis(values: Sequence[Any], name: str) -> None:
    """InputError where an axis has no value, or has one twice."""
    if not values:
        raise InputError(f"{name} is empty: it must hold at least one value")
    twice = next((value for value, times in Counter(values).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{name} holds a value twice: {shown(twice)}")


def resolved_path(path: Path | str, folder: Path, where: str) -> Path:
    """A path relative to the folder of the study file. Raises InputError that names `where` it is written."""
    try:
        return resolved(path, folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
