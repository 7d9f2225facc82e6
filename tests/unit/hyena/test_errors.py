"""Values in error messages: on one line, and shortened."""

from typing import Any

import pytest

from hyena.errors import InputError, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b\n", r"'a\x1b\n'"),
        ("\udcff", r"'\udcff'"),
        (True, "true"),
        (2**63, "9223372036854775808"),
        (10**5_000, "<an integer of 5001 digits>"),
        (1 - 10**5_000, "<an integer of 5000 digits>"),
        ([10**5_000 - 1, 1], "[<an integer of 5000 digits>, 1]"),
        ({"a": {"b": {"c": {}}}}, "{'a': {'b': {...}}}"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, ...]"),
    ],
    ids=range(9),  # the values themselves cannot all be written out
)
def test_a_value_is_quoted_on_one_line(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_long_string_is_shortened_in_the_middle() -> None:
    text = shown("a" * 5_000 + "z")
    assert len(text) == 80
    assert text.startswith("'aaa")
    assert text.endswith("az'")


def test_a_message_is_one_line_of_valid_text() -> None:
    message = str(InputError("a\nb\x1b[2J/caf\udce9: \u200b\u00e9 \ud800"))
    assert message == r"a b\x1b[2J/caf\xe9: \u200bé \ud800"
    assert message.encode()
