"""What does it cost to write, inspect and compact the results of thousands of runs on a local disk?

Writes synthetic results (not timed), then stores some of the runs again as a worker does (rows, epochs, predictions),
in this process; then runs `sweep.status`, `sweep.compact` and `sweep.status` again in fresh processes (imports
included, no warm-up). Prints one JSON object: seconds (of the clock and of the CPU), files and bytes, peak resident
memory of each command, hardware and versions.

    python benchmarks/store.py --runs 5000 --test-examples 4000 -o store.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import add_output, finish, header  # noqa: E402
from sweep.schema import EpochRow, PredictionColumns, RunRow  # noqa: E402
from sweep.store import Store  # noqa: E402
from tests.support.synthetic_results import Truth, write_results  # noqa: E402

SEEDS, WRITTEN = 10, 300


def truth_of(runs: int, epochs: int, test_examples: int) -> Truth:
    """A study of about `runs` runs: one size, two arms, 10 seeds, as many data sets as it takes."""
    datasets = {f"data-{index:03}": 0.7 for index in range(max(1, runs // (2 * SEEDS)))}
    seeds = tuple(range(SEEDS))
    return Truth({"net": 436_000}, datasets, seeds=seeds, epochs=(epochs,), test_examples=test_examples)


def write_ms(source: Store, scratch: Path) -> float:
    """Milliseconds to store a run that ended: mean over `WRITTEN` runs."""
    tables: list[tuple[RunRow, list[EpochRow], PredictionColumns]] = []
    for name in source.names("runs")[:WRITTEN]:
        row, epochs, predictions = (
            pq.read_table(f"{source.root}/{table}/{name}") for table in ("runs", "epochs", "predictions")
        )
        columns = {key: predictions[key].combine_chunks() for key in predictions.column_names}
        tables.append((row.to_pylist()[0], epochs.to_pylist(), cast(PredictionColumns, columns)))
    store = Store(str(scratch / "written"))
    started = time.perf_counter()
    for row, epochs, predictions in tables:
        store.write_run(row, epochs, predictions)
    return (time.perf_counter() - started) / len(tables) * 1000


def command(*words: str) -> dict[str, float]:
    """Seconds and peak memory of one command in its own process."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(words)} ended with status {status}")
    seconds, cpu_s = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_gib": round(usage.ru_maxrss / 2**20, 3)}


def contents(folder: Path) -> dict[str, int]:
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(files), "bytes": sum(files)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--test-examples", type=int, default=4_000)
    add_output(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "results"
        write_results(folder, truth_of(arguments.runs, arguments.epochs, arguments.test_examples))
        record: dict[str, Any] = {
            **header(__doc__.splitlines()[0], None, arguments, ("polars", "pyarrow")),
            "write_ms_per_run": round(write_ms(Store(str(folder)), Path(scratch)), 2),
            "before": contents(folder),
            "status_before": command("sweep.status", str(folder)),
            "compact": command("sweep.compact", str(folder)),
            "after": contents(folder),
            "status_after": command("sweep.status", str(folder)),
        }
    finish(record, arguments.output)


if __name__ == "__main__":
    main()
