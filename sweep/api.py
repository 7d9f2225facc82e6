"""The Python interface: `sweep.run` and `sweep.plan`, which the command `python -m sweep.run` calls too.

The steps of a sweep, in order: read the study, find its data and weights, plan, run what the store lacks, report what
the store holds then. A sweep that was killed at any moment continues where it stopped when it is called again.
Next: `execution.py`, how runs are run; `plan_request.py`, how they are planned.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console

from hyena.cost.speed_probe import SpeedProbe
from hyena.errors import InputError
from hyena.leakage.audit import audit
from hyena.system.cores import granted_cores
from sweep import (
    ray_settings,  # noqa: F401 - before Ray
    study_weights,
)
from sweep.compact import compact
from sweep.earlier_notes import data_note, results_of_another_version
from sweep.execution import Execution
from sweep.forecast import forecast
from sweep.heartbeat import Heartbeat
from sweep.plan_request import request_plan
from sweep.ray_session import RaySession
from sweep.run_states import done_runs
from sweep.shipped_studies import study_file
from sweep.store import Store, StoreError
from sweep.study import Study, load_study
from sweep.study_weights import Keys
from sweep.time_forecast import TimeEstimate, TimeForecast
from sweep.trackers import trackers
from sweep.trainable import PATIENCE_S
from sweep.trials import RESULT_VERSION, DataSpec, RunSpec, data_spec, facts_of, load_data, merged_points
from sweep.trials import plan as planned_runs

#: Runs in small files from which on a sweep ends by compacting them: a reader opens three files for each run.
MANY_RUNS = 1_000


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, by the columns of the plan, and the reason."""

    run_id: str
    model: str
    dataset: str
    init: str
    pretraining_seed: int | None
    seed: int
    epochs: int
    reason: str


@dataclass(frozen=True)
class SweepSummary:
    """What the results folder holds of a study after a sweep.

    Attributes:
        study: its name.
        results: the results folder, absolute or as a URI.
        planned: runs of the study.
        done: those that are done.
        failed: the others, with reasons.
        training_s: seconds of training of all these runs, added up.
    """

    study: str
    results: str
    planned: int
    done: int
    failed: tuple[FailedRun, ...]
    training_s: float


@dataclass(frozen=True)
class Plan:
    """What a study would take.

    Attributes:
        planned, done, to_do: numbers of runs; `done` of them are in the results folder already.
        time: seconds, GPU or core hours, and their cost; None where nothing is left to do or nothing is known of it.
        lines: the plan in words, as `python -m sweep.run --plan` prints it (docs/planning.md).
    """

    planned: int
    done: int
    to_do: int
    time: TimeEstimate | None
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def run(
    study: str | Path | Study,
    *,
    results: str | Path | None = None,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    address: str | None = None,
    overrides: Sequence[str] = (),
    track: Sequence[str] = (),
    console: Console | None = None,
) -> SweepSummary:
    """Run a study's missing runs. A process that has initialised Ray uses that, and stays connected.

    Args:
        study: a study, its file, or the name of a shipped one.
        results: folder, s3:// or gs:// (default: results/NAME_OF_STUDY).
        data: where data sets are cached (default: ~/.genomic_benchmarks).
        weights: where pretrained weights are, and are cached.
        address: HOST:PORT of a running Ray cluster, or "auto" on one of its nodes (default: start Ray here).
        overrides: KEY=VALUE with dotted keys and TOML values, as in `grid.seeds=[1,2,3]`; only with a study file.
        track: experiment trackers that receive every epoch: tensorboard, wandb, mlflow.
        console: where progress is shown (default: standard output; `rich.console.Console(quiet=True)` shows nothing).

    Raises InputError where the request is wrong, StoreError (an OSError) where the results folder cannot be written,
    ray.exceptions.RayError where Ray fails. A run that fails raises nothing: it is listed in the summary.
    """
    console = console or Console(highlight=False, markup=False, emoji=False)
    with RaySession(address, partial(_print, console)) as session:
        loaded, store = _opened(study, overrides, results, console)
        store = Store(store.uri, PATIENCE_S)
        session.require(loaded.resources)
        study_weights.require(loaded, _path(weights))
        callbacks = trackers(track, loaded, store)
        store.require_right_to_write()
        runs, keys, specs = _prepare(loaded, store, _path(data), _path(weights), console)
        with Heartbeat(store.uri) as heartbeat:
            for other in heartbeat.others():
                _print(console, f"{other}: both will run what is missing")
            _audit(store, specs)
            done = done_runs(store, runs)
            to_do = [run for run in runs if run.run_id not in done]
            if to_do:
                share = session.share(loaded.resources)
                Execution(loaded, store, share, keys, console, callbacks).run(to_do, len(done))
            _compact(store, console)
        return _summary(loaded, store, runs)


def plan(
    study: str | Path | Study,
    *,
    results: str | Path | None = None,
    data: str | Path | None = None,
    weights: str | Path | None = None,
    address: str | None = None,
    overrides: Sequence[str] = (),
    gpu: str | None = None,
    console: Console | None = None,
) -> Plan:
    """What `run` with the same arguments would do, and how long it would take. Starts, writes and downloads nothing.

    Args:
        gpu: name of a type of GPU; time and cost are then those of one such GPU, by its published rates, in place of
            this machine's.
        console: where the lines of the plan are printed as they become known (default: nowhere).

    Raises InputError where the request is wrong.
    """
    session = RaySession(address)
    loaded, store = _opened(study, overrides, results, console)
    request = request_plan(loaded, store, _path(data), _path(weights), gpu)
    if gpu is None and not session.joins:
        session.require(loaded.resources)
    lines = list[str]()
    with SpeedProbe() as probe:
        time = TimeForecast(request, probe.rates)
        for line in chain(forecast(time), _cores()):
            lines.append(line)
            _print(console, line)
    planned, done = len(request.runs) + request.unknown, len(request.done)
    return Plan(planned, done, planned - done, time.estimate, tuple(lines))


def _opened(
    study: str | Path | Study, overrides: Sequence[str], results: str | Path | None, console: Console | None
) -> tuple[Study, Store]:
    """The study, and its results folder. InputError where that belongs to another study."""
    if isinstance(study, Study):
        if overrides:
            raise InputError("overrides are for a study file; this study has been read already")
        loaded = study
    else:
        loaded = load_study(study_file(os.fspath(study)), tuple(overrides))
    store = Store(f"results/{loaded.name}" if results is None else os.fspath(results))
    for name in store.claim(loaded.resolved()):
        _print(console, f"{store.uri}/{name} is damaged; a sweep writes it anew")
    return loaded, store


def _prepare(
    study: Study, store: Store, data_dir: Path | None, weights_dir: Path | None, console: Console
) -> tuple[list[RunSpec], Keys, list[DataSpec]]:
    """The runs, the keys of their weights, and the data sets: downloaded if need be, noted in the store."""
    data, notes = {}, {}
    for name in study.grid.datasets:
        spec = data_spec(study, name, data_dir)
        dataset = load_data(spec)
        data[name], notes[name] = (spec, facts_of(dataset)), data_note(dataset)
    keys, pretrainings = study_weights.prepared_keys(study, store, weights_dir)
    runs = planned_runs(study, data, keys)
    for line in (*merged_points(study, data), *results_of_another_version(store, runs)):
        _print(console, f"note       {line}")
    version = {"result_version": RESULT_VERSION}
    noted = {**study.resolved(), **version, "data": notes, "pretrainings": pretrainings}
    store.write_plan(noted, [run.identity() for run in runs])
    return runs, keys, [spec for spec, _ in data.values()]


def _audit(store: Store, specs: Sequence[DataSpec]) -> None:
    """Measure once for each data set how far its test split overlaps its training split; the report shows it."""
    audited = store.names("leakage")
    for dataset in map(load_data, specs):
        if f"{dataset.digest}.parquet" not in audited:
            store.write_leakage(dataset.digest, audit(dataset).table)


def _compact(store: Store, console: Console) -> None:
    """Compact the small files of very many runs. The results are the same without it."""
    number = len(store.names("runs"))
    if number >= MANY_RUNS:
        _print(console, f"compacting the small files of {number} runs")
        try:
            compact(store)
        except StoreError as error:
            _print(console, f"not compacted: {error}")


def _summary(study: Study, store: Store, runs: Sequence[RunSpec]) -> SweepSummary:
    rows = {row["run_id"]: row for row in store.runs(["run_id", "status", "failure", "train_s"])}
    ended = ((run, rows[run.run_id]) for run in runs)
    failed = tuple(_failed(run, row["failure"] or "") for run, row in ended if row["status"] == "failed")
    seconds = sum(rows[run.run_id]["train_s"] or 0.0 for run in runs)
    return SweepSummary(study.name, store.uri, len(runs), len(runs) - len(failed), failed, seconds)


def _failed(run: RunSpec, reason: str) -> FailedRun:
    row = run.identity()
    names = (field.name for field in dataclasses.fields(FailedRun) if field.name != "reason")
    return FailedRun(**{name: row[name] for name in names}, reason=reason)  # type: ignore[literal-required]


def _cores() -> Iterator[str]:
    cores = granted_cores()
    if cores.limited_by:
        yield f"cores      {cores.count} of this machine's {cores.machine} are granted ({cores.limited_by})"


def _path(folder: str | Path | None) -> Path | None:
    return Path(folder) if folder is not None else None


def _print(console: Console | None, text: str) -> None:
    if console is not None:
        console.print(text, soft_wrap=True)
