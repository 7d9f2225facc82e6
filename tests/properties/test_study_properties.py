"""Any study file and any override give a study, or an InputError of one line that begins with the file or `--set`."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyena.data.datasets import DatasetSource
from hyena.data.synthetic import SyntheticConfig
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.training.pretraining import PretrainingConfig
from hyena.training.recipe import TrainingConfig
from sweep.study import TOP_LEVEL, Analysis, Grid, Pretraining, Resources, Study, Weights, load_study

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BASE: dict[str, Any] = {
    "grid": {"models": ["m"], "datasets": ["synthetic_tracts"], "seeds": [1, 2], "epochs": [1]},
    "models": {"m": {"d_model": 8, "n_layer": 1, "l_max": 2_000}},
    "datasets": {"own": {"format": "csv"}},
    "pretraining": {"corpus": "synthetic", "steps": 1},
}
SECTIONS = {
    ("grid",): (Grid, TrainingConfig),
    ("training",): (TrainingConfig,),
    ("models", "m"): (HyenaConfig,),
    ("datasets", "own"): (DatasetSource,),
    ("synthetic",): (SyntheticConfig,),
    ("pretraining",): (Pretraining, PretrainingConfig),
    ("weights",): (Weights,),
    ("resources",): (Resources,),
    ("analysis",): (Analysis,),
}
KEYS = [(key,) for key in (*TOP_LEVEL, "unknown")] + [
    (*section, name)
    for section, kinds in SECTIONS.items()
    for name in [*(field.name for kind in kinds for field in dataclasses.fields(kind)), "unknown", "corpus"]
]

words = st.sampled_from(
    ["m", "auto", "scratch", "[/x]", "[bold]", "~nobody_at_all/x", "a\nb", "\x1b[1m", "a" * 3_000, ""]
)
numbers = st.one_of(
    st.integers(-3, 70),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31, 2**63, 10_000_000_000]),
    st.floats(),
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 1e400, 5e-324, 0.5]),
)
written = st.sampled_from(["9" * 5_000, "-" + "9" * 5_000, "0x" + "f" * 5_000, "[" * 2_000 + "]" * 2_000, "12:00:00"])
plain = st.one_of(numbers, words, st.text(max_size=8), st.booleans(), written.map(lambda text: Written(text)))
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=2)
)


@dataclasses.dataclass(frozen=True)
class Written:
    """A value written to the file literally, where Python's own formatting would not produce it."""

    text: str

    def __repr__(self) -> str:
        return f"Written({self.text[:20]}…)"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Written):
        return value.text
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(key)} = {toml(element)}' for key, element in value.items())}}}"
    letters = (c if c.isalnum() or c in " _.-[]/~" else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(letters)}"'


def put(table: dict[str, Any], key: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The table with `value` at a dotted key."""
    head, *rest = key
    inner = table.get(head) if isinstance(table.get(head), dict) else {}
    return {**table, head: put(inner, tuple(rest), value) if rest else value}


def read_or_refused(path: Path, *overrides: str) -> Study | str:
    """The study, or the message of the InputError, which is one line without control characters."""
    try:
        study = load_study(path, overrides)
    except InputError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
        assert all(letter.isprintable() for letter in message)
        assert len(message) < len(str(path)) + 600
        return message
    json.dumps(study.resolved(), allow_nan=False)
    return study


@BOUNDED
@given(st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=3))
@example({("grid", "seeds"): [2**63]})
@example({("training", "learning_rate"): math.nan})
def test_a_study_file_is_read_or_refused_in_one_line(tmp_path: Path, changes: dict[tuple[str, ...], Any]) -> None:
    table = BASE
    for key, value in changes.items():
        table = put(table, key, value)
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items()), "utf-8")
    outcome = read_or_refused(path)
    assert isinstance(outcome, Study) or outcome.startswith(f"{path}: ")


@BOUNDED
@given(st.binary(max_size=60), st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"[grid]\nseeds = [1]\n"]))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(start + content)
    outcome = read_or_refused(path)
    assert isinstance(outcome, str)
    assert outcome.startswith(str(path))


@BOUNDED
@given(
    st.one_of(
        st.text(max_size=30),
        st.builds(lambda key, value: f"{'.'.join(key)}={value}", st.sampled_from(KEYS), st.text(max_size=12)),
        st.builds(lambda key, value: f"{'.'.join(key)}={toml(value)}", st.sampled_from(KEYS), values),
    )
)
@example('models."[/x]".d_model=8')
@example("=")
@example("grid.seeds=\udcff")
def test_an_override_is_taken_or_refused_in_one_line(tmp_path: Path, override: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{toml(key)} = {toml(value)}" for key, value in BASE.items()))
    outcome = read_or_refused(path, override)
    assert isinstance(outcome, Study) or outcome.startswith((f"{path}: ", "--set "))


def test_the_base_study_of_the_properties_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{toml(key)} = {toml(value)}" for key, value in BASE.items()))
    assert load_study(path).grid.seeds == (1, 2)
    with pytest.raises(InputError):
        load_study(path, ("unknown=1",))
