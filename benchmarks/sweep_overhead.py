"""What does the sweep itself cost a run, and does it stay flat up to thousands of runs?

Every run is real and trivial: one epoch of two steps of the smallest model. One sweep for each number of runs, in a
process of its own, started as a user does. Per run: wall-clock time beyond its training and evaluation, times the
number of workers; what the driver holds in memory at its end. No warm-up: starting is part of the cost, and told
apart. Prints JSON, and leaves it in benchmarks/results/.

    python benchmarks/sweep_overhead.py --runs 100 1000 5000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from hyena.system.cores import granted_cores
from sweep.store import Store

STUDY = """
name = "overhead"
[grid]
models = ["nano"]
datasets = ["synthetic_diverged_tracts"]
init = ["scratch"]
seeds = {seeds}
epochs = [1]
[models.nano]
d_model = 8
n_layer = 1
l_max = 42
[synthetic]
genome_bases = 10_000
sequence_length = 40
train_examples = 16
test_examples = 8
[training]
batch_size = 8
"""


def measure(runs: int, workers: int) -> dict[str, float]:
    """One sweep of so many runs, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        study, results = Path(folder) / "overhead.toml", Path(folder) / "results"
        study.write_text(STUDY.format(seeds=list(range(runs))))
        load, started = os.getloadavg()[0], time.time()
        process = subprocess.Popen([sys.executable, "-m", "sweep.run", str(study), "--results", str(results)],
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.time() - started
        assert status == 0, f"the sweep of {runs} runs ended with {status}"
        rows = Store(str(results)).runs(["started_at", "finished_at", "train_s", "evaluate_s"])
        files = [path for path in results.rglob("*") if path.is_file()]
        first, last = min(row["started_at"] for row in rows), max(row["finished_at"] for row in rows)
        middle = (last - first).total_seconds()
        own = sum((row["train_s"] or 0.0) + (row["evaluate_s"] or 0.0) for row in rows)
        return {
            "runs": len(rows),
            "load_before": load,
            "wall_s": wall,
            "until_first_run_s": first.timestamp() - started,
            "after_last_run_s": started + wall - last.timestamp(),
            "overhead_per_run_s": (middle * workers - own) / len(rows),
            "driver_peak_bytes": usage.ru_maxrss * 1024,
            "stored_bytes_per_run": sum(path.stat().st_size for path in files) / len(rows),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 5000])
    add_output(parser)
    options = parser.parse_args()
    workers = granted_cores().count
    head = header(__doc__.splitlines()[0], None, options, ("ray", "torch")) | {"workers": workers}
    finish(head | {"rows": [measure(runs, workers) for runs in options.runs]}, options.output)


if __name__ == "__main__":
    main()
