"""Ranges: their wording, and that every number of a study has one."""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from hyena.data.datasets import DatasetSource
from hyena.data.synthetic import SyntheticConfig
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.ranges import Range, bounds_of, range_in
from hyena.training.pretraining import PretrainingConfig
from hyena.training.recipe import TrainingConfig
from sweep.study import Analysis, Grid, Pretraining, Resources, Study, Weights, load_study

#: What a study builds, with the values that have no default, and where in its file the values stand.
BUILT: dict[type, tuple[dict[str, Any], str]] = {
    Grid: ({"models": ("m",), "datasets": ("synthetic_tracts",), "seeds": (1,), "epochs": (1,)}, "grid"),
    TrainingConfig: ({"epochs": 1}, "training"),
    HyenaConfig: ({"d_model": 8, "n_layer": 1, "l_max": 2_000}, "models.m"),
    SyntheticConfig: ({}, "synthetic"),
    PretrainingConfig: ({"steps": 1}, "pretraining"),
    Resources: ({}, "resources"),
    Analysis: ({}, "analysis"),
}
#: Numbers that a study file holds elsewhere: epochs are an axis, and must be one of its values in [analysis]; the seeds
#: of pretrainings are a list.
NOT_IN_THEIR_TABLE = {(TrainingConfig, "epochs"), (Analysis, "epochs"), (PretrainingConfig, "seed")}
BOUNDS = [(kind, name, bounds) for kind in BUILT for name, bounds in bounds_of(kind).items()]
STUDY = """
[grid]
models = ["m"]
datasets = ["synthetic_tracts"]
seeds = [1]
epochs = [1]
[models.m]
d_model = 8
n_layer = 1
l_max = 16777216
[pretraining]
corpus = "synthetic"
steps = 1
"""


def holds_a_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(holds_a_number, get_args(annotation)))


def of_type(annotation: Any, value: float) -> Any:
    """`value` as a field of that type holds it: a tuple where it holds several."""
    number = int(value) if int in leaves(annotation) else float(value)
    return (number,) if "tuple" in str(annotation) else number


def leaves(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return {annotation} if not parts else set().union(*map(leaves, parts))


def inside(bounds: Range, whole: bool) -> tuple[float, float]:
    """The smallest and the largest number in a range."""
    step = 1 if whole else 0
    lowest = bounds.ge if bounds.ge is not None else bounds.gt + step if whole else math.nextafter(bounds.gt, math.inf)
    highest = bounds.le if bounds.le is not None else bounds.lt - step if whole else math.nextafter(bounds.lt, 0)
    return lowest, highest


def outside(bounds: Range, whole: bool) -> tuple[float, float]:
    """The numbers next to a range."""
    lowest, highest = inside(bounds, whole)
    if whole:
        return lowest - 1, highest + 1
    return math.nextafter(lowest, -math.inf), math.nextafter(highest, math.inf)


def test_every_number_of_a_study_declares_its_range() -> None:
    for kind in (*BUILT, DatasetSource, Weights, Pretraining, Study):
        hints = get_type_hints(kind, include_extras=True)
        own = [f.name for f in dataclasses.fields(kind) if f.name not in ("vary", "exclude", "training", "group")]
        numbers = {name for name in own if holds_a_number(hints[name])}
        assert numbers == set(bounds_of(kind)), kind


def test_every_range_has_a_default_within_it() -> None:
    for kind, name, bounds in BOUNDS:
        default = {field.name: field.default for field in dataclasses.fields(kind)}[name]
        assert default in (dataclasses.MISSING, None, "auto") or default in bounds, (kind, name)


@pytest.mark.parametrize(("kind", "name", "bounds"), BOUNDS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_bounds_are_accepted_and_values_beyond_are_refused(
    tmp_path: Path, kind: type, name: str, bounds: Range
) -> None:
    hint = get_type_hints(kind, include_extras=True)[name]
    required, table = BUILT[kind]
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    whole = int in leaves(hint)
    for number in inside(bounds, whole):
        value = of_type(hint, number)
        assert getattr(kind(**{**required, name: value}), name) in (value, 4 * required.get("d_model", 0))
    for number in (*outside(bounds, whole), *(() if whole else (math.inf, -math.inf, math.nan))):
        value = of_type(hint, number)
        with pytest.raises(InputError, match=rf"^{name}(\.0)? = .*: it must be {re.escape(str(bounds))}$"):
            kind(**{**required, name: value})
        if (kind, name) not in NOT_IN_THEIR_TABLE:
            text = str(list(value) if isinstance(value, tuple) else value)
            with pytest.raises(InputError) as error:
                load_study(path, (f"{table}.{name}={text}",))
            assert str(error.value).startswith(f"{path}: {table}.{name}")
            assert str(error.value).endswith(f"it must be {bounds}")


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Range(ge=1, le=9), "from 1 to 9"),
        (Range(gt=0, le=1), "more than 0 and at most 1"),
        (Range(ge=0, lt=1), "at least 0 and less than 1"),
        (Range(gt=0, lt=1), "more than 0 and less than 1"),
    ],
)
def test_a_range_is_described_in_words(bounds: Range, words: str) -> None:
    assert str(bounds) == words


def test_a_range_is_found_in_any_annotation() -> None:
    hints = get_type_hints(Grid, include_extras=True)
    assert range_in(hints["seeds"]) == Range(ge=-(2**63), le=2**63 - 1)
    assert range_in(hints["models"]) is None
    assert bounds_of(Resources)["gpus"] == Range(ge=0, le=1)
