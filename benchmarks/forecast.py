"""How near to the truth is what `--plan` says of time and bytes before anything ran?

Each study is planned, then run, into a folder of its own that is empty at first; both as a user does, one after the
other. Compared are the plan's time with the whole call's by the clock, its core hours with those of training,
evaluation and pretraining, and its bytes with those that are in the folder at the end. The machine must be quiet: the
plan speaks of its cores as if nothing else used them. Without study files, it is the quickstart and
`benchmarks/forecast_real.toml`, whose data are looked for in `--data` (gue/ and genomes/). Prints a table and JSON.

    python benchmarks/forecast.py --data ../shared/data -o benchmarks/results/forecast_cpu.json
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from sweep.store import Store

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART, REAL = ROOT / "studies" / "quickstart.toml", ROOT / "benchmarks" / "forecast_real.toml"
SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3_600.0, "days": 86_400.0}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def forecast_of(plan: str) -> dict[str, Any]:
    """Seconds, core hours and bytes of the lines that `--plan` prints."""
    lines = dict(line.split(maxsplit=1) for line in plan.splitlines() if not line.startswith(("data set", "missing")))
    found = re.match(r"about ([\d.,]+) (\w+) here, ([\d.,]+) core hours", lines["time"])
    more = re.match(r"about ([\d.,]+) (\w+) more", lines["bytes"])
    assert found is not None, plan
    assert more is not None, plan
    wall, unit, hours = found.groups()
    return {
        "wall_s": _number(wall) * SECONDS[unit],
        "core_hours": _number(hours),
        "bytes": _number(more[1]) * BYTES[more[2]],
        "said": lines["forecast"],
    }


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def taken(folder: Path) -> dict[str, float]:
    """Core hours and bytes of a results folder."""
    store = Store(str(folder))
    columns = ["train_s", "evaluate_s", "cpus"]
    seconds = sum(((row["train_s"] or 0.0) + (row["evaluate_s"] or 0.0)) * row["cpus"] for row in store.runs(columns))
    cpus = (store.study() or {})["resources"]["cpus"]
    seconds += sum(_pretraining_s(path) for path in folder.glob("pretraining/*.parquet")) * cpus
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"core_hours": seconds / 3600, "bytes": size}


def _pretraining_s(path: Path) -> float:
    import polars as pl

    return float(pl.read_parquet(path)["seconds"].max())  # type: ignore[arg-type]


def compare(study: Path, words: Sequence[str]) -> dict[str, Any]:
    """Plan a study, run it, and put both side by side."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, load = Path(scratch) / "results", os.getloadavg()[0]
        command = [sys.executable, "-m", "sweep.run", str(study), "--results", str(folder), *words]
        plan = subprocess.run([*command, "--plan"], capture_output=True, text=True, check=True).stdout
        before = forecast_of(plan)
        started = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after: dict[str, float] = {"wall_s": time.monotonic() - started, **taken(folder)}
    row: dict[str, Any] = {"study": study.stem, "load_before": round(load, 2)}
    for name, truth in after.items():
        row |= {f"{name}_foretold": before[name], name: float(f"{truth:.4g}")}
        row[f"{name}_ratio"] = round(before[name] / truth, 3)
    return row | {"within": round(math.exp(abs(math.log(row["wall_s_ratio"]))), 3), "said": before["said"]}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The same as Markdown."""
    lines = ["| study | what | forecast | actual | forecast / actual |", "|---|---|---|---|---|"]
    for row in rows:
        for name, unit in (("wall_s", "s"), ("core_hours", "core hours"), ("bytes", "bytes")):
            figures = " | ".join(f"{value:,.3g}" if value < 1e4 else f"{value:,.0f}"
                                 for value in (row[f"{name}_foretold"], row[name], row[f"{name}_ratio"]))  # fmt: skip
            lines.append(f"| {row['study']} | {unit} | {figures} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "studies", nargs="*", type=Path, metavar="STUDY.toml", help="default: the quickstart and a real one"
    )
    here = Path(os.environ.get("SWEEP_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, metavar="DIR", default=here, help="folder with gue/ and genomes/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to each study")
    add_output(parser)
    options = parser.parse_args()
    data = options.data.resolve()
    rows = []
    for study in options.studies or [QUICKSTART, REAL]:
        words = [word for value in options.set for word in ("--set", value)]
        if study.resolve() == REAL:
            corpus = f'pretraining.corpus=["{data / "genomes" / "C.elegans.fa.gz"}"]'
            words += ["--data", str(data / "gue"), "--set", corpus]
        rows.append(compare(study, words))
        print("\n".join(table(rows[-1:])), file=sys.stderr)
    head = header(__doc__.splitlines()[0], None, options, ("ray", "torch"))
    head["options"] = {"studies": [row["study"] for row in rows], "set": options.set}  # no paths of this machine
    finish(head | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
