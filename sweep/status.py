"""`python -m sweep.status RESULTS`: which runs are done, begun, failed (and why) and missing, and the time left.

Reads the results folder only, so it works on any machine that can read it, during and after a sweep. Next:
`sweep/heartbeat.py`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from hyena.system import terminal
from sweep.formatting import duration, pretraining_name, run_name
from sweep.heartbeat import running_sweeps
from sweep.layout import TEMPORARY
from sweep.schema import PlanRow, RunRow
from sweep.store import Store

COLUMNS = ("run_id", "status", "failure", "finished_at")
STATES = ("done", "failed", "begun", "missing")
#: The rate is that of the runs that ended within this time before the last one.
RATE_OVER = timedelta(hours=1)
#: Number of failed runs named for each reason, and of reasons shown.
NAMED, REASONS = 3, 10
#: What differs between failures for the same reason: amounts, addresses, digests.
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(\.\d+)?(e[-+]?\d+)?")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0 if all planned runs are done, 1 if not, 2 if the folder holds no results."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.status", description="Show which runs of a results folder are done."
    )
    parser.add_argument("results", metavar="RESULTS", help="folder, s3:// or gs://")
    return terminal.command(lambda: _report(Store(parser.parse_args(arguments).results), terminal.console()))


def _report(store: Store, console: Console) -> int:
    study = store.known_study()
    planned = {run["run_id"]: run for run in store.plan()}
    checkpoints = {  # listed before the rows, so that a run that ends meanwhile has its row
        info.base_name.removesuffix(".pt"): info.mtime
        for info in store.infos("checkpoints")
        if not info.base_name.endswith(TEMPORARY)
    }
    rows = {row["run_id"]: row for row in store.runs(COLUMNS) if row["run_id"] in planned}
    begun = {run_id: checkpoints[run_id] for run_id in checkpoints.keys() & planned.keys() - rows.keys()}
    now = datetime.now(UTC)
    console.print(f"study {study['name']} in {store.uri}", soft_wrap=True)
    for sweep in running_sweeps(store, now):
        console.print(sweep.sentence("a sweep", now), soft_wrap=True)
    for line in _pretrainings(store, study.get("pretrainings"), checkpoints):
        console.print(line, soft_wrap=True)
    console.print(_cells(planned, rows, begun))
    ended = ((run, rows[run_id]) for run_id, run in planned.items() if run_id in rows)
    failed = [(run_name(run), row["failure"] or "") for run, row in ended if row["status"] == "failed"]
    for line in (_summary(len(planned), rows, begun, now), *failures(failed)):
        console.print(line, soft_wrap=True)
    return 0 if all(run_id in rows and rows[run_id]["status"] == "done" for run_id in planned) else 1


def _pretrainings(store: Store, notes: Any, checkpoints: Collection[str]) -> Iterator[str]:
    """Of the pretrainings that the study makes, how many are done, and which are begun or missing.

    Args:
        notes: what `study.json` holds of them (sweep/earlier_notes.py); those of files have a path.
        checkpoints: names of the checkpoints of all that is unfinished.
    """
    made = [note for note in notes if "path" not in note] if isinstance(notes, list) else []
    if not made:
        return
    complete = {
        info.path.split("/")[-2]
        for info in store.infos("weights", recursive=True)
        if info.base_name.endswith(".safetensors")
    }
    states: dict[str, list[str]] = {"done": [], "begun": [], "missing": []}
    for note in made:
        state = "done" if note["key"] in complete else "begun" if note["key"] in checkpoints else "missing"
        states[state].append(pretraining_name(note["model"], note["seed"]))
    rest = [f"{state}: {'; '.join(names)}" for state, names in states.items() if names and state != "done"]
    yield ". ".join([f"pretrainings: {len(states['done'])}/{len(made)} done", *rest])


def _cells(planned: Mapping[str, PlanRow], rows: Mapping[str, RunRow], begun: Mapping[str, datetime]) -> Table:
    """Number of runs per cell that are done, failed, begun (they have a checkpoint) and missing."""
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for run_id, run in planned.items():
        state = rows[run_id]["status"] if run_id in rows else "begun" if run_id in begun else "missing"
        counts[run["model"], run["dataset"], run["epochs"], run["init"]][state] += 1
    table = Table("model", "data set", "epochs", "init", box=None)
    for state in STATES:
        table.add_column(state, justify="right")
    for cell, states in counts.items():
        table.add_row(*map(str, cell), *(str(states[state] or "·") for state in STATES))
    return table


def _summary(planned: int, rows: Mapping[str, RunRow], begun: Mapping[str, datetime], now: datetime) -> str:
    """Totals, rate over the last hour of work, and time left at that rate, as if all runs took equally long."""
    done = sum(row["status"] == "done" for row in rows.values())
    text = f"{done}/{planned} done, {len(rows) - done} failed, {planned - len(rows)} to go"
    if begun:
        text += f" ({len(begun)} begun, last checkpoint {_since(max(begun.values()), now)} ago)"
    ends = sorted(row["finished_at"] for row in rows.values())
    recent = [end for end in ends if end > ends[-1] - RATE_OVER]
    seconds = (recent[-1] - recent[0]).total_seconds() if recent else 0.0
    if len(rows) == planned or seconds == 0:
        return text
    rate = (len(recent) - 1) / seconds
    left = duration((planned - len(rows)) / rate)
    return f"{text}; {rate * 3600:.0f} runs/h, {left} left at that rate (last run ended {_since(ends[-1], now)} ago)"


def _since(then: datetime, now: datetime) -> str:
    return duration(max(0.0, (now - then).total_seconds()))  # the clock of another machine may be ahead


def failures(failed: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line per failed run, or two with examples for a reason that many runs share; most frequent reasons first.

    failed: name and reason of each.
    """
    by_reason: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, reason in failed:
        by_reason[_VARYING.sub("#", reason)].append((name, reason))
    ordered = sorted(by_reason.values(), key=len, reverse=True)
    for runs in ordered[:REASONS]:
        if len(runs) <= NAMED:
            yield from (f"failed: {name}: {reason}" for name, reason in runs)
            continue
        yield f"failed: {len(runs)} runs: {runs[0][1]}"
        yield f"        {'; '.join(name for name, _ in runs[:NAMED])}; and {len(runs) - NAMED} more"
    rest = ordered[REASONS:]
    if rest:
        yield f"failed: {sum(map(len, rest))} runs for {len(rest)} other reasons"


if __name__ == "__main__":
    sys.exit(main())
