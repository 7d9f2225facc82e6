"""Does the quickstart give one answer, whatever the seeds of its pretrainings and the number of threads?

One sweep for each number of threads makes the runs of many quickstarts: as many times the study's own seeds, each with
its own pretraining of each size. They are divided into quickstarts that share no pretraining and no seed of training,
and each is answered as the report would. Prints a table, and one JSON object with -o. Nothing is timed.

    python benchmarks/quickstart_verdicts.py --folder /tmp/quickstarts -o benchmarks/results/quickstart_verdicts.json
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from analysis import estimate  # noqa: E402
from analysis.page.wording import BENEFIT, GROWTH  # noqa: E402
from analysis.results import Results, load  # noqa: E402
from analysis.statistics.effect import Estimate  # noqa: E402
from analysis.statistics.verdicts import Verdict  # noqa: E402
from benchmarks.machine import add_output, finish, header  # noqa: E402
from sweep.shipped_studies import QUICKSTART  # noqa: E402
from sweep.study import load_study  # noqa: E402


def swept(folder: Path, seeds: list[int], cpus: int) -> Results:
    """The quickstart's cells with all these seeds, each starting from a pretraining of its own."""
    settings = [f"grid.seeds={seeds}", f"pretraining.seeds={seeds}", f"resources.cpus={cpus}"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "sweep.run", str(QUICKSTART), "--results", str(folder), *overrides]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return load(folder)


def with_seeds(results: Results, seeds: list[int]) -> Results:
    """The runs and the plan of these seeds of training alone."""
    chosen = pl.col("seed").is_in(seeds)
    return dataclasses.replace(results, plan=results.plan.filter(chosen), runs=results.runs.filter(chosen))


def answer(results: Results) -> dict[str, Any]:
    """Verdicts and intervals as on the page, and the mean accuracy of every cell of both arms, in percent."""
    found = estimate(results)
    means = results.runs.group_by("model", "dataset", "init").agg(pl.col("test_accuracy").mean() * 100)
    return {
        "benefit": BENEFIT[found.overall.verdict or Verdict.NOT_ESTIMABLE],
        "growth": GROWTH[found.growth.verdict or Verdict.NOT_ESTIMABLE],
        "benefit_points": interval(found.overall),
        "growth_points": interval(found.growth),
        "accuracy": {f"{model} {data} {arm}": round(mean, 1) for model, data, arm, mean in sorted(means.iter_rows())},
    }


def interval(one: Estimate) -> list[float]:
    """Estimate and both ends of its interval, in points."""
    values = (one.effect, one.low, one.high)
    return [round(value, 2) for value in values if value is not None]


def row(cpus: int, seeds: list[int], found: dict[str, Any]) -> str:
    (benefit, *around), (growth, *beside) = found["benefit_points"], found["growth_points"]
    return (
        f"| {cpus} | {seeds[0]}–{seeds[-1]} | {found['benefit']} | {benefit:+.1f} [{around[0]:.1f}, {around[1]:.1f}] "
        f"| {found['growth']} | {growth:+.1f} [{beside[0]:.1f}, {beside[1]:.1f}] |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10, help="quickstarts for each number of threads")
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, 2], help="threads of a run")
    parser.add_argument("--folder", type=Path, required=True, help="where results folders are made, or continued")
    add_output(parser)
    options = parser.parse_args()
    seeds_of_one = len(load_study(QUICKSTART).grid.seeds)
    sets = [list(range(1 + n * seeds_of_one, 1 + (n + 1) * seeds_of_one)) for n in range(options.sets)]
    rows = []
    print("| threads | seeds | benefit | points | growth with size | points |\n|---|---|---|---|---|---|")
    for cpus in options.cpus:
        results = swept(options.folder / f"threads-{cpus}", [seed for seeds in sets for seed in seeds], cpus)
        for seeds in sets:
            found = answer(with_seeds(results, seeds))
            rows.append({"threads": cpus, "seeds": seeds, **found})
            print(row(cpus, seeds, found), flush=True)
    assert __doc__ is not None
    options.folder = None  # a place on this machine
    finish(header(__doc__.splitlines()[0], None, options, ("torch", "ray", "polars")) | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
