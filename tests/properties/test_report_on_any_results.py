"""Whatever is missing, failed or broken, the report is a page or one clear line: never a traceback, never a NaN."""

import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.findings import gather
from analysis.page.build import build
from analysis.results import ResultsError, load
from tests.support.synthetic_results import Truth, write_results

SHARES = st.sampled_from([0, 0.2, 0.6, 0.95])
TRUTHS = st.builds(
    Truth,
    models=st.sampled_from([{"m": 1_000}, {"m": 1_000, "n": 1_000}, {"m": 1_000, "n": 9_000, "o": 80_000}]),
    datasets=st.sampled_from([{"a": 0.7}, {"a": 0.7, "b": 0.6}]),
    inits=st.sampled_from([("pretrained", "scratch"), ("scratch",), ("pretrained", "scratch", "shuffled")]),
    seeds=st.sampled_from([(1,), (1, 2), (1, 2, 3)]),
    epochs=st.sampled_from([(1,), (1, 3)]),
    learning_rates=st.sampled_from([(1e-3,), (1e-3, 1e-4)]),
    noise_sd=st.sampled_from([0, 0.5]),
    shared_sd=st.sampled_from([0, 0.3]),
    test_examples=st.sampled_from([1, 20]),
)


@pytest.fixture(autouse=True, scope="module")
def quick_pages():
    """Without the drawing library, and without the collections of garbage of `multipletests`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.page.document.bundle", lambda: "")
        patch.setattr("gc.collect", lambda *_: 0)
        yield


@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(max_examples=12, deadline=None)
@given(TRUTHS, SHARES, SHARES, st.sampled_from([0, 0.1]), st.integers(0, 2**32))
def test_any_pattern_of_missing_failed_and_broken_files_gives_a_page(truth, missing, failed, broken, seed):
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = write_results(
            Path(name), truth, missing=lambda row: draw.random() < missing, fails=lambda row: draw.random() < failed
        )
        for file in sorted(folder.glob("**/*.parquet")):
            if draw.random() < broken:
                file.write_bytes(file.read_bytes()[: draw.randint(0, 200)])
        try:
            made, refusal = build(gather(load(folder))), ""
        except ResultsError as error:
            made, refusal = None, str(error)
    if made is None:
        assert len(refusal.splitlines()) == 1
        return
    visible = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style|pre)\b.*?</\1>", " ", made.html(), flags=re.S))
    assert not re.search(r"(?<![\w.])(nan|inf|None|null)(?![\w])", visible)
    assert made.headline.endswith(".")
