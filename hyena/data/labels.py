"""From the labels of all splits to classes: missing, fractional and confusable labels are errors. Next: `datasets.py`.

Labels are kept as written, with one exception: if all labels of a data set are numbers, whole numbers written as floats
(`1.0`, as pandas writes integers in a column that had a missing value) become integers. Two labels that look the same
are an error. So is a label that occurs in one split only; the error names the most similar label of the other split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from hyena.data.examples import Examples, in_order, whole_number
from hyena.errors import InputError

#: Texts that pandas reads as a missing value, other spellings of them, and Excel's errors.
MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan"),
        *("null", "-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN", "NAN", "NaT", "Nan", "Null", "na"),
        *("#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"),
    )
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_WHOLE_FLOAT = re.compile(r"([+-]?)0*([0-9]+)\.0*")
#: Numbers as NumPy's `savetxt` writes them.
_SCIENTIFIC = re.compile(r"[+-]?[0-9]\.[0-9]*[eE][+-][0-9]{2}")
_FRACTION = re.compile(r"[+-]?([0-9]*\.0*[1-9]|0*[1-9][0-9]*(\.0*)?[eE]-)")


def settle_labels(splits: Mapping[str, Examples]) -> tuple[str, ...]:
    """The classes of a data set in their order; whole-number floats in `splits` are replaced by integers.

    Classes are sorted as numbers if all of them are integers, and as text otherwise.

    Raises InputError that names the location of a label: with a control character, a number with a fraction, one that
    looks like another label, or one that is missing in train or test.
    """
    labels = {label for examples in splits.values() for label in examples.labels}
    for label in sorted(labels):
        _refuse_unprintable(label, splits)
    for _, examples in in_order(splits):
        _refuse_fractions(examples)
    if all(_NUMBER.fullmatch(label) for label in labels):
        labels = _with_integers(labels, splits)
    _refuse_lookalikes(labels, splits, _seen)
    _refuse_one_sided(labels, splits)
    _refuse_lookalikes(labels, splits, _plain_number)
    if all(_INTEGER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (whole_number(label), label)))
    return tuple(sorted(labels))


def _shown(label: str) -> str:
    """A label for an error message: invisible characters as escapes, and shortened if it is long."""
    text = repr(label) if label.isprintable() and label == _seen(label) else ascii(label)
    return text if len(text) <= 80 else f"{text[:60]}…{text[-1]} ({len(label):,} letters)"


def _place_of(label: str, splits: Mapping[str, Examples]) -> str:
    """The location of the first occurrence of a label."""
    for _, examples in in_order(splits):
        if label in examples.labels:
            return examples.place(examples.labels.index(label))
    raise KeyError(label)


def _refuse_unprintable(label: str, splits: Mapping[str, Examples]) -> None:
    bad = next((letter for letter in label if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")), None)
    if bad is not None:
        what = "bytes that are not UTF-8" if unicodedata.category(bad) == "Cs" else "a control character"
        raise InputError(
            f"{_place_of(label, splits)}: the class name {_shown(label)} contains {what}; rename the class"
        )


def _refuse_fractions(examples: Examples) -> None:
    """Raise InputError if the labels of a split are numbers, and some of them are not whole."""
    labels = set(examples.labels)
    fractions = sorted(label for label in labels if _FRACTION.match(_integer_of(label)))
    if fractions and all(_NUMBER.fullmatch(label) for label in labels):
        place = examples.place(examples.labels.index(fractions[0]))
        raise InputError(
            f"{place}: label {_shown(fractions[0])} is a number with a fraction; "
            "expected names or whole numbers (regression is not supported)"
        )


def _with_integers(labels: set[str], splits: Mapping[str, Examples]) -> set[str]:
    """Labels that are numbers, with those of the form 1.0 replaced by integers, also in `splits`."""
    integer = {label: _integer_of(label) for label in labels}
    if any(label != whole for label, whole in integer.items()):
        for examples in splits.values():
            examples.labels = [integer[label] for label in examples.labels]
    return set(integer.values())


def _integer_of(label: str) -> str:
    """ "1" of "1.0", "-3" of "-3.", "0" of "-0.0", "15" of "1.5e+01"; any other label unchanged."""
    if _SCIENTIFIC.fullmatch(label):
        number = Decimal(label)
        return f"{number + 0:.0f}" if number == number.to_integral_value() else label
    found = _WHOLE_FLOAT.fullmatch(label)
    if found is None:
        return label
    sign, digits = found.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def _seen(label: str) -> str:
    """A label as it appears: letters composed, invisible characters removed, one blank for any white space."""
    text = "".join(letter for letter in unicodedata.normalize("NFC", label) if unicodedata.category(letter) != "Cf")
    return " ".join(text.split())


def _plain_number(label: str) -> str:
    """A number without plus sign and without zeros after the point; any other label unchanged."""
    return _integer_of(label).removeprefix("+") if _NUMBER.fullmatch(label) else label


def _refuse_lookalikes(labels: Iterable[str], splits: Mapping[str, Examples], key: Callable[[str], str]) -> None:
    """Raise InputError for two labels with the same key, which look the same or are the same number."""
    first: dict[str, str] = {}
    for label in sorted(labels):
        other = first.setdefault(key(label), label)
        if other != label:
            raise InputError(
                f"{_place_of(label, splits)}: label {_shown(label)} looks like {_shown(other)} "
                f"({_place_of(other, splits)}); use one spelling"
            )


def _refuse_one_sided(labels: Iterable[str], splits: Mapping[str, Examples]) -> None:
    """Raise InputError for a label that is missing in train or test; it names the most similar label there."""
    for name in ("train", "test"):
        examples = splits[name]
        there = set(examples.labels)
        for label in sorted(set(labels) - there):
            near = _nearest(label, there)
            hint = f", which has {_shown(near[0])} (different in {near[1]})" if near else ""
            raise InputError(
                f"{examples.source}: class {_shown(label)} has no sequences in the {name} split{hint}; "
                f"it occurs at {_place_of(label, splits)}; expected sequences of every class in train and in test"
            )


def _nearest(label: str, others: Iterable[str]) -> tuple[str, str] | None:
    """A label that means the same to a reader, and in what the two differ."""
    for what, key in (
        ("letter case only", lambda text: _seen(text).casefold()),
        ("how the number is written", _number_of),
        ("spaces, punctuation or letter case", _bare),
    ):
        found = sorted(other for other in others if key(label) not in ("", None) and key(other) == key(label))
        if found:
            return found[0], what
    return None


def _number_of(label: str) -> int | None:
    return whole_number(_integer_of(label)) if _INTEGER.fullmatch(_integer_of(label)) else None


def _bare(label: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", label).casefold()))
