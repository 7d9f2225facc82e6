"""From TOML tables to typed values: no coercion, and every mistake named by its place in the file. See `study.py`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hyena.config import nearest
from hyena.errors import InputError

T = TypeVar("T")


def build(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a TOML table: unknown keys, missing keys and wrong types are InputErrors that name `where`."""
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table: [{where}]")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known_keys(table, [f.name for f in fields], where)
    for f in fields:
        if f.name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {f.name} is missing")
    hints = get_type_hints(kind)
    values = {key: checked(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def checked(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, without coercion (JSON's strict rules: a list may become a tuple, "3" never 3)."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join([where, *(str(part) for part in fault["loc"] if isinstance(part, int))])
        raise InputError(f"{place} = {value!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}") from None


def known_keys(table: dict[str, Any], known: list[str] | tuple[str, ...], where: str) -> None:
    """InputError with the nearest one where a key of `table` is not among the `known`."""
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'; {nearest(key, known)}")
