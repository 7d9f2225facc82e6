"""The examples in docstrings run and give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.support.places import ROOT

#: Only these modules are imported, so that no example costs the start of Ray or of a GPU.
WITH_EXAMPLES = sorted(
    path
    for package in ("hyena", "sweep", "analysis")
    for path in (ROOT / package).rglob("*.py")
    if "\n    >>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_of_a_module_hold(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_there_are_examples_in_each_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in WITH_EXAMPLES} == {"hyena", "sweep", "analysis"}
