"""`python -m sweep.status RESULTS`: what is done, failed (why) and missing in a results folder, and the time left.

Reads the store alone, so it works from any machine that can read it, while the sweep runs or after.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from hyena.errors import InputError
from sweep.store import Store
from sweep.words import duration, run_name

COLUMNS = ("run_id", "status", "failure", "finished_at")
#: Runs that ended within this time of the last one make the present rate.
RATE_OVER = timedelta(hours=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0 when everything planned is done, 1 when not, 2 for a folder that is no results."""
    parser = argparse.ArgumentParser(prog="python -m sweep.status", description="What a results folder holds.")
    parser.add_argument("results", metavar="RESULTS", help="folder, s3:// or gs://")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        store = Store(options.results)
        study, plan = store.study(), store.plan()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if study is None:
        print(f"error: '{options.results}' holds no results: there is no study.json in it", file=sys.stderr)
        return 2
    planned = {run["run_id"]: run for run in plan}
    rows = {row["run_id"]: row for row in store.runs(COLUMNS) if row["run_id"] in planned}
    begun = {name.removesuffix(".pt") for name in store.names("checkpoints")} & planned.keys() - rows.keys()
    console.print(f"study {study['name']} in {store.uri}", soft_wrap=True)
    console.print(_cells(plan, rows, begun))
    console.print(_summary(len(plan), rows, datetime.now(UTC)))
    for run_id, row in rows.items():
        if row["status"] == "failed":
            console.print(f"failed: {run_name(planned[run_id])}: {row['failure']}", soft_wrap=True)
    return 0 if all(rows.get(i, {}).get("status") == "done" for i in planned) else 1


def _cells(plan: Sequence[Mapping[str, Any]], rows: Mapping[str, Mapping[str, Any]], begun: set[str]) -> Table:
    """Counts per cell: its runs done, failed, begun (a checkpoint is there) and not begun."""
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for run in plan:
        row, begun_here = rows.get(run["run_id"]), run["run_id"] in begun
        state = row["status"] if row else "begun" if begun_here else "missing"
        counts[run["model"], run["dataset"], run["epochs"], run["init"]][state] += 1
    table = Table("model", "data set", "epochs", "init", box=None)
    for state in ("done", "failed", "begun", "missing"):
        table.add_column(state, justify="right")
    for cell, states in counts.items():
        table.add_row(*map(str, cell), *(str(states[s] or "·") for s in ("done", "failed", "begun", "missing")))
    return table


def _summary(planned: int, rows: Mapping[str, Mapping[str, Any]], now: datetime) -> str:
    """Totals, rate over the last hour of work, and the time left at that rate (runs counted alike)."""
    done = sum(row["status"] == "done" for row in rows.values())
    text = f"{done}/{planned} done, {len(rows) - done} failed, {planned - len(rows)} to go"
    ends = sorted(row["finished_at"] for row in rows.values())
    if len(rows) == planned or len(ends) < 2:
        return text
    recent = [end for end in ends if end > ends[-1] - RATE_OVER]
    seconds = (recent[-1] - recent[0]).total_seconds()
    if len(recent) < 2 or seconds == 0:
        return text
    rate = (len(recent) - 1) / seconds
    left, idle = duration((planned - len(rows)) / rate), duration((now - ends[-1]).total_seconds())
    return f"{text}; {rate * 3600:.0f} runs/h, {left} left at that rate (last run ended {idle} ago)"


if __name__ == "__main__":
    sys.exit(main())
