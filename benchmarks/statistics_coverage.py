"""Do the intervals cover what is true, and how often is a verdict wrong?

Draws studies with a known truth (`tests/support/study_scenarios.py`), estimates from each what a report would show,
and prints one JSON object: for each scenario the coverage of the nominal 95 % intervals, their widths, and the shares
of false verdicts; for comparison, the same contrasts with one spread pooled over all cells. n is the number of studies
of a scenario. Every study has its own seed, so the figures do not depend on the number of processes.

    python benchmarks/statistics_coverage.py                                # all scenarios, 400 studies each
    python benchmarks/statistics_coverage.py --scenario lognormal --studies 2000
    python benchmarks/statistics_coverage.py --table                        # of the results that are there
    python benchmarks/statistics_coverage.py --write-docs                   # into docs/statistics.md
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import analysis  # noqa: E402
from analysis.results import ResultsError  # noqa: E402
from analysis.statistics.effect import Estimate  # noqa: E402
from analysis.statistics.estimates import Estimates  # noqa: E402
from analysis.statistics.verdicts import Verdict  # noqa: E402
from benchmarks.coverage_summary import EQUIVALENT, TINY, Floats, Reading, summary  # noqa: E402
from benchmarks.coverage_table import markdown, with_block  # noqa: E402
from benchmarks.machine import finish, header  # noqa: E402
from tests.support.scenario import Scenario, contrasts  # noqa: E402
from tests.support.simulated_studies import Study, draw  # noqa: E402
from tests.support.study_scenarios import SCENARIOS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "statistics_coverage.json"
PAGE = ROOT / "docs" / "statistics.md"
PACKAGES = ("numpy", "scipy", "statsmodels", "polars")
#: Studies that a process takes at a time.
CHUNK = 20
_CODES = {Verdict.POSITIVE: 1, Verdict.NEGATIVE: -1, Verdict.EQUIVALENT: EQUIVALENT}


def read(scenario: Scenario, index: int) -> Reading | None:
    """Draw the study of this index and estimate from it; None where the analysis refuses it."""
    study = draw(scenario, np.random.default_rng([zlib.crc32(scenario.name.encode()), index]))
    try:
        looks = [analysis.estimate(study.results(seeds)) for seeds in scenario.looks or (scenario.seeds,)]
    except ResultsError:
        return None
    found = [targets_of(study, one) for one in looks]
    verdicts = np.array([[_code(one) for one in look] for look in found])
    decided = np.abs(verdicts) == 1
    chosen = np.where(decided.any(0), np.argmax(decided, axis=0), len(looks) - 1)  # the first decision ends the study
    last = found[-1]
    low, high = (np.array([_number(getattr(one, end)) for one in last]) for end in ("low", "high"))
    pooled_low, pooled_high = pooled_intervals(scenario, looks[-1])
    return Reading(
        truth=np.array(true_values(study)),
        low=low,
        high=high,
        pooled_low=pooled_low,
        pooled_high=pooled_high,
        verdicts=np.take_along_axis(verdicts, chosen[None], 0)[0],
        named=np.array([one is not None and one.p_adjusted is not None and one.p_adjusted <= 0.05 for one in last]),
        varies=float(np.ptp(list(study.sizes.values()))) >= scenario.margin - TINY,
    )


def targets_of(study: Study, estimates: Estimates) -> list[Estimate | None]:
    sizes = {one.parameters: one for one in estimates.sizes}
    cells = {(one.dataset, one.model): one for one in estimates.cells}
    return [
        estimates.overall,
        estimates.growth,
        *(sizes.get(size) for size in study.sizes),
        *(cells.get(name) for name in present_cells(study.scenario)),
        estimates.overall_random,
    ]


def true_values(study: Study) -> list[float]:
    cells = (study.cells[name] for name in present_cells(study.scenario))
    return [study.overall, study.growth, *study.sizes.values(), *cells, study.overall_random]


def present_cells(scenario: Scenario) -> list[tuple[str, str]]:
    places = np.argwhere(scenario.pairs_of_cells > 0)
    return [(scenario.dataset_names[d], scenario.models[m]) for d, m in places]


def _code(one: Estimate | None) -> int:
    return 0 if one is None or one.verdict is None else _CODES.get(one.verdict, 0)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def pooled_intervals(scenario: Scenario, estimates: Estimates) -> tuple[Floats, Floats]:
    """The contrasts of the cells' means with one residual variance for all cells, the method that this is compared to.

    The last target, a new data set, has none.
    """
    found = estimates.comparison.pairs.select("dataset", "model", "difference").rows()
    place = {name: index for index, name in enumerate(present_cells(scenario))}
    codes, values = np.array([place[row[:2]] for row in found]), np.array([row[2] for row in found])
    counts = np.bincount(codes, minlength=len(place))
    means = np.bincount(codes, values) / counts
    df = len(values) - len(counts)
    sd = (((values - means[codes]) ** 2).sum() / df) ** 0.5
    weights, present = contrasts(scenario), scenario.pairs_of_cells > 0
    rows = np.array([weights.overall, weights.growth, *weights.sizes.values()])[:, present]
    rows = np.concatenate([rows, np.eye(len(counts))])
    reach = stats.t.ppf(0.975, df) * sd * ((rows**2) / counts).sum(1) ** 0.5
    none = [np.nan]
    return np.concatenate([rows @ means - reach, none]), np.concatenate([rows @ means + reach, none])


def chunk_of(task: tuple[str, int, int]) -> list[Reading | None]:
    """The readings of the studies from the first index up to the last of a scenario: the work of a process."""
    name, first, last = task
    return [read(SCENARIOS[name], index) for index in range(first, last)]


def measure(names: Sequence[str], studies: int, processes: int) -> list[dict[str, Any]]:
    """One row a scenario."""
    tasks = [(name, first, min(first + CHUNK, studies)) for name in names for first in range(0, studies, CHUNK)]
    readings: dict[str, list[Reading | None]] = {name: [] for name in names}
    spawn = multiprocessing.get_context("spawn")  # Polars does not survive a fork
    with ProcessPoolExecutor(processes, spawn) as pool:
        for task, found in zip(tasks, pool.map(chunk_of, tasks), strict=True):
            readings[task[0]] += found
    return [summary(SCENARIOS[name], readings[name]) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400, help="n: studies of each scenario")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one (repeatable)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help=f"write the JSON here; all scenarios: {RESULTS.name}")
    parser.add_argument("--table", action="store_true", help="print the tables of the results that are there")
    parser.add_argument("--write-docs", action="store_true", help="write these tables into docs/statistics.md")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.scenario else RESULTS)
    if arguments.table or arguments.write_docs:
        record = json.loads((output or RESULTS).read_text())
        if arguments.table:
            print(markdown(record))
        if arguments.write_docs:
            PAGE.write_text(with_block(PAGE.read_text(), record))
        return
    os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}  # of the processes; the frames are small
    rows = measure(arguments.scenario or list(SCENARIOS), arguments.studies, arguments.processes)
    finish(header(__doc__.splitlines()[0], None, arguments, PACKAGES) | {"rows": rows}, output)


if __name__ == "__main__":
    main()
