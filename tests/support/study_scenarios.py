"""The truths that intervals and verdicts are tried on, as data. Next: `benchmarks/statistics_coverage.py`."""

from __future__ import annotations

import numpy as np
from scipy import stats

from tests.support.scenario import SIZES, Scenario, TestSets

#: Arms and their shares in the benefit.
FOUR_ARMS = (("pretrained", 1.0), ("scratch", 0.0), ("shuffled", 0.3), ("frozen", -2.0))
TWO_SIZES = (436_000, 6_600_000)
#: Official test splits of the nine Genomic Benchmarks data sets, smallest first, and errors as published models have.
TEST_SIZES = (242, 1_730, 6_948, 9_034, 25_000, 25_000, 30_970, 34_952, 57_713)
ERRORS = (0.30, 0.36, 0.28, 0.06, 0.09, 0.035, 0.12, 0.20, 0.07)


def unavoidable_spread() -> tuple[tuple[float, ...], ...]:
    """Run-to-run SD (points) that errors and test sizes imply, sqrt(error / (2 · size)): a row a data set."""
    spread = 100 * np.sqrt(np.array(ERRORS) / (2 * np.array(TEST_SIZES)))
    return tuple((float(one),) for one in spread)


def lognormal_spread(log_sd: float, datasets: int = 9, models: int = len(SIZES)) -> tuple[tuple[float, ...], ...]:
    """Spreads of cells at the quantiles of a log-normal distribution, in a fixed random order."""
    count = datasets * models
    quantiles = stats.norm.ppf((np.arange(count) + 0.5) / count)
    spread = 0.45 * np.exp(log_sd * np.random.default_rng(1).permutation(quantiles))
    return tuple(tuple(float(one) for one in row) for row in spread.reshape(datasets, models))


def _rising(low: float, high: float, sizes: tuple[int, ...] = SIZES) -> tuple[float, ...]:
    """Benefits on a line over log10(parameters)."""
    position = np.log10(sizes)
    return tuple(float(one) for one in np.interp(position, [position.min(), position.max()], [low, high]))


#: Spread of six times as much in the largest of seven sizes.
_LARGEST_WIDE = (0.45,) * 6 + (2.7,)
#: One of eight cells has ten times the spread.
_ONE_WIDE = ((0.45, 0.45), (0.45, 4.5), (0.45, 0.45), (0.45, 0.45))
#: Data sets 1 to 4 of six, three sizes: two cells missing, and one with a single pair; data set 4 has one size only.
_INCOMPLETE = ((5, 5, 5), (5, 5, 0), (5, 1, 5), (5, 0, 0), (5, 5, 5), (4, 5, 3))
#: Models of which two have one size.
_TIED = (436_000, 436_000, 3_300_000, 6_600_000)
_LUCK = "the pretrainings of a size differ"

_ALL = (
    Scenario("equal-4x2x3", "equal spread, 4 data sets × 2 sizes × 3 seeds", 4, TWO_SIZES, 3),
    Scenario("equal-4x3x5", "equal spread, 4 × 3 × 5", 4, SIZES[::3], 5),
    Scenario("equal-9x7x3", "equal spread, 9 × 7 × 3", seeds=3),
    Scenario("equal-9x7x5", "equal spread, 9 × 7 × 5"),
    Scenario("growing", "equal spread, benefit from 0 to 2 over the sizes", benefit=_rising(0, 2)),
    Scenario("largest-size-wide", "spread 6 × as large in the largest size", spread=_LARGEST_WIDE),
    Scenario("one-cell-wide", "one cell of 8 with 10 × the spread, 3 seeds", 4, TWO_SIZES, 3, spread=_ONE_WIDE),
    Scenario("one-cell-wide-5", "one cell of 8 with 10 × the spread, 5 seeds", 4, TWO_SIZES, 5, spread=_ONE_WIDE),
    Scenario("collapses", "3 % of the large scratch runs collapse; truth without them", collapse=0.03),
    Scenario("collapses-counted", "the same; truth with them", collapse=0.03, collapses_count=True),
    Scenario("lognormal", "spreads of cells differ (log-SD .8)", spread=lognormal_spread(0.8)),
    Scenario("nine-real", "nine data sets with the spread that error and test size imply", spread=unavoidable_spread()),
    Scenario("seeds-10", "seed effect shared by all data sets, 10 % of the variance", seed_share=0.1),
    Scenario("seeds-50", "seed effect shared by all data sets, 50 % of the variance", seed_share=0.5),
    Scenario("luck-.2-one", f"{_LUCK} by SD .2; one a size", luck=0.2),
    Scenario("luck-.2-three", f"{_LUCK} by SD .2; three, nested", luck=0.2, pretrainings=3),
    Scenario("luck-.2-five", f"{_LUCK} by SD .2; five, nested", luck=0.2, pretrainings=5),
    Scenario("luck-.5-one", f"{_LUCK} by SD .5; one a size", luck=0.5),
    Scenario("luck-.5-three", f"{_LUCK} by SD .5; three, nested", luck=0.5, pretrainings=3),
    Scenario("luck-.5-five", f"{_LUCK} by SD .5; five, nested", luck=0.5, pretrainings=5),
    Scenario("luck-.5-crossed", f"{_LUCK} by SD .5; three, crossed", luck=0.5, pretrainings=3, design="crossed"),
    Scenario(
        "quickstart", "2 × 2 × 3, pretrainings with SD .5; three, nested", 2, TWO_SIZES, 3, luck=0.5, pretrainings=3
    ),
    Scenario("test-examples", "test examples as a sample (242 to 57,713)", test_sets=TestSets(TEST_SIZES, ERRORS)),
    *(
        Scenario(f"random-{k}", f"benefits differ between {k} data sets by SD 1", k, TWO_SIZES, benefit=1.0, tau=1.0)
        for k in (2, 3, 4, 9)
    ),
    Scenario(
        "incomplete",
        "missing cells, and a cell with one pair",
        6,
        SIZES[::3],
        benefit=_rising(0, 1, SIZES[::3]),
        pairs=_INCOMPLETE,
    ),
    Scenario("ties", "two models of one size", 4, _TIED, benefit=_rising(1, 2, _TIED)),
    Scenario("hump", "benefit 0, 1, 2, 3, 2, 1, 0 over the sizes", benefit=(0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0)),
    Scenario("margin", "true benefit .5, the margin", benefit=0.5),
    Scenario("margin-lognormal", "the same, spreads differ", benefit=0.5, spread=lognormal_spread(0.8)),
    Scenario("margin-growth", "true growth .5, largest size wide", benefit=_rising(0, 0.5), spread=_LARGEST_WIDE),
    Scenario("looks", "read after every seed from 2 to 10, 4 × 2", 4, TWO_SIZES, 10, looks=tuple(range(2, 11))),
)

#: Name → scenario.
SCENARIOS = {one.name: one for one in _ALL}

#: Scenarios in which one study does not show what its intervals would have to allow for, and what that is.
BEYOND_ONE_STUDY = {
    "collapses": "whether the runs that collapsed belong to the question",
    "collapses-counted": "how often runs collapse, where none has",
    **dict.fromkeys(("seeds-10", "seeds-50"), "what data sets share by their seed; a sweep gives each its own stream"),
    **dict.fromkeys(("luck-.2-one", "luck-.5-one"), "how much another pretraining would differ"),
    "test-examples": "the examples, which the accuracies do not hold",
}
