"""How long does a report take, and how much memory, as the number of runs grows?

Writes synthetic results in a temporary folder (not timed), makes the page in a fresh process (import included, no
warm-up: that is how it is used), and prints one JSON object: seconds and peak resident memory of that process, size of
the page, hardware and versions. n is the number of repetitions; in each, of the results as a sweep of so many runs
leaves them (compacted), and of the three small files a run that there are while it goes on.

    python benchmarks/report_speed.py --runs 5000 --epochs 50 --test-examples 4000 -n 3 -o report_speed.json
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import add_output, finish, header  # noqa: E402
from tests.support.synthetic_results import Truth, write_results  # noqa: E402

SEEDS = 10
PACKAGES = ("polars", "altair", "scipy", "statsmodels", "pyarrow")


def truth_of(runs: int, epochs: int, test_examples: int) -> Truth:
    """A study of about `runs` runs: 10 seeds, two arms, five sizes, as many data sets as it takes."""
    datasets = max(1, runs // (2 * SEEDS * 5))
    return Truth(
        models={f"size-{index}": 100_000 * 3**index for index in range(5)},
        datasets={f"data-{index:03}": 0.6 + 0.3 * (index % 10) / 10 for index in range(datasets)},
        seeds=tuple(range(SEEDS)),
        epochs=(epochs,),
        test_examples=test_examples,
    )


def measure(results: Path, page: Path) -> dict[str, float]:
    """Seconds and peak memory of one report in its own process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis.report", str(results), "-o", str(page)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"the report ended with status {status}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_gib": round(usage.ru_maxrss / 2**20, 3),
        "page_bytes": page.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--test-examples", type=int, default=4_000)
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="folder to write the results in, or to take them from where it exists"
    )
    add_output(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        written = arguments.keep or Path(scratch) / "results"
        if not written.exists():
            write_results(written, truth_of(arguments.runs, arguments.epochs, arguments.test_examples))
        runs = len(list((written / "runs").iterdir()))
        few = shutil.copytree(written, Path(scratch) / "compacted")
        subprocess.run([sys.executable, "-m", "sweep.compact", few], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        record = header(__doc__.splitlines()[0], None, arguments, PACKAGES) | {
            "runs": runs,
            "epoch_rows": runs * arguments.epochs,
            "prediction_rows": runs * arguments.test_examples,
            "rows": [
                {"files": files, **measure(results, Path(scratch) / "report.html")}
                for _ in range(arguments.n)
                for files, results in (("compacted", few), ("three a run", written))
            ],
        }
    finish(record, arguments.output)


if __name__ == "__main__":
    main()
