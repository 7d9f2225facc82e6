"""Simulated studies with a known truth: intervals cover at their nominal rate, verdicts err at most at theirs."""

import numpy as np
import polars as pl
import pytest

from analysis.statistics.estimates import estimate
from analysis.statistics.pairs import Comparison
from analysis.statistics.verdicts import Verdict

REPETITIONS = 2_000
#: Three standard errors of a simulated 95 % rate.
SLACK = 3 * (0.95 * 0.05 / REPETITIONS) ** 0.5
SIZES = (("s", 1_000), ("m", 30_000), ("l", 1_000_000))
DATASETS = 6


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """`multipletests` collects garbage at every call, three quarters of the time here."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def study(rng, *, seeds, benefit, growth, between=0.0, noise=0.5, paired=True):
    """A comparison whose true mean benefit and growth (smallest to largest size) are known; spreads in points."""
    keys, rows, runs = [], [], []
    tilt = rng.normal(0, between, DATASETS)
    for index in range(DATASETS):
        for place, (size, parameters) in enumerate(SIZES):
            setting = f"d{index}{size}"
            true = benefit + (growth + tilt[index]) * (np.log10(parameters) - 4.492374) / 3
            control = rng.normal(70, noise, seeds)
            treated = rng.normal(70 + true, noise, seeds)
            keys.append((setting, f"d{index}", size, size, parameters, float(np.mean(treated - control)), place))
            rows += [(setting, seed, treated[seed], control[seed]) for seed in range(seeds)]
            runs += [
                (setting, init, value)
                for init, values in (("pretrained", treated), ("scratch", control))
                for value in values
            ]
    cells = pl.DataFrame(
        keys, schema=["setting_id", "dataset", "model", "size", "parameters", "effect", "place"], orient="row"
    )
    cells = cells.with_columns(n_treated=seeds, n_control=seeds)
    pairs = pl.DataFrame(rows, schema=["setting_id", "seed", "treated", "control"], orient="row")
    pairs = pairs.with_columns((pl.col("treated") - pl.col("control")).alias("difference"))
    frame = pl.DataFrame(runs, schema=["setting_id", "init", "value"], orient="row")
    return Comparison(
        "test_accuracy", "points", ("pretrained", "scratch"), 1, "", ("",), cells, frame, pairs, paired, "", None
    )


def covers(one, truth):
    return one.low <= truth <= one.high


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, pytest.param(5, marks=pytest.mark.soak)])
def test_fixed_intervals_cover_at_their_nominal_rate(seeds, paired):
    rng = np.random.default_rng(2_026)
    hits = np.zeros(3)
    for _ in range(REPETITIONS):
        found = estimate(study(rng, seeds=seeds, benefit=0.7, growth=0.4, paired=paired))
        mean_of_means = 0.7 + 0.4 * np.mean([np.log10(p) - 4.492374 for _, p in SIZES]) / 3
        small = 0.7 + 0.4 * (3 - 4.492374) / 3
        hits += [covers(found.overall, mean_of_means), covers(found.growth, 0.4), covers(found.sizes[0], small)]
    assert np.abs(hits / REPETITIONS - 0.95).max() < SLACK, hits / REPETITIONS


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_random_intervals_cover_the_growth_over_all_data_sets():
    rng = np.random.default_rng(11)
    hits = sum(
        covers(estimate(study(rng, seeds=3, benefit=0.7, growth=0.4, between=0.8)).growth_random, 0.4)
        for _ in range(REPETITIONS)
    )
    assert abs(hits / REPETITIONS - 0.95) < SLACK


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("growth", "wrong", "at_most"),
    [(0.0, (Verdict.POSITIVE, Verdict.NEGATIVE), 0.05), (0.5, (Verdict.EQUIVALENT,), 0.05)],
)
def test_verdicts_err_at_most_at_their_rate(growth, wrong, at_most):
    rng = np.random.default_rng(5)
    verdicts = [
        estimate(study(rng, seeds=3, benefit=0.7, growth=growth), margin=0.5).growth.verdict for _ in range(REPETITIONS)
    ]
    rate = sum(verdict in wrong for verdict in verdicts) / REPETITIONS
    assert rate < at_most + SLACK
