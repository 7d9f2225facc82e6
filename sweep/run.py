"""`python -m sweep.run [STUDY.toml]`: run what a study asks for and the results folder lacks.

The steps, in order: read the study, find its data, make its weights, plan, run on Ray Tune, say what came of it.
Killed at any moment and called again, it goes on: the plan less what the store holds is what runs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

# Before Ray is imported: it reads these once.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a worker's death is told in a line of our own
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: everything worth keeping is in the store already
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # at once, so that a cluster grows at once: as with Tune's own search
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # nothing resumes from Tune's state, so it need not be written
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

if __name__ == "__main__":  # in one line, before the imports below raise
    from hyena.system.extras import exit_without_extra

    exit_without_extra("sweep")

import ray  # noqa: E402
import torch  # noqa: E402
from ray._private import worker  # noqa: E402
from rich.console import Console  # noqa: E402

from hyena.cost.speed_probe import SpeedProbe  # noqa: E402
from hyena.errors import InputError  # noqa: E402
from hyena.leakage.audit import audit  # noqa: E402
from hyena.system import terminal  # noqa: E402
from hyena.system.cores import granted_cores  # noqa: E402
from sweep import (  # noqa: E402
    environment,
    gpu_probe,
    named_gpus,
    study_weights,
)
from sweep.compact import compact  # noqa: E402
from sweep.forecast import forecast  # noqa: E402
from sweep.formatting import duration  # noqa: E402
from sweep.heartbeat import Heartbeat  # noqa: E402
from sweep.plan_request import PlanRequest  # noqa: E402
from sweep.planned_data import PlannedData, planned_data  # noqa: E402
from sweep.progress import SECONDS_BETWEEN_LOOKS, Progress  # noqa: E402
from sweep.ray_session import RaySession, grows, node_resources  # noqa: E402
from sweep.resources import Share  # noqa: E402
from sweep.rows import Circumstances, failed_row  # noqa: E402
from sweep.shipped_studies import QUICKSTART, study_file  # noqa: E402
from sweep.status import failures  # noqa: E402
from sweep.store import Store, StoreError  # noqa: E402
from sweep.study import AUTO, Study, load_study  # noqa: E402
from sweep.trackers import TRACKERS, trackers  # noqa: E402
from sweep.trainable import PATIENCE_S, Assignment  # noqa: E402
from sweep.trials import (  # noqa: E402
    DataFacts,
    DataSpec,
    RunSpec,
    corpus_of,
    data_spec,
    facts_of,
    load_data,
    merged_points,
    plan,
)
from sweep.tuning import fit  # noqa: E402

DONE, SOME_FAILED = terminal.DONE, terminal.FAILED
#: Calls of Tune in which a run gets no further before it fails.
FRUITLESS_ROUNDS = 2
#: Runs in small files from which on a sweep ends with putting these into few: a reader opens three for each run.
MANY_RUNS = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 all there, 1 some runs failed, 2 wrong request, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _as_interrupt)
    again = shlex.join(["python", "-m", "sweep.run", *words])
    return terminal.command(
        lambda: _sweep(_parser().parse_args(words)), f"interrupted; what is done is kept. Go on with: {again}"
    )


def _sweep(options: argparse.Namespace) -> int:
    session = RaySession(options.address)
    try:
        if options.gpu is not None and not options.plan:
            raise InputError(f"--gpu {options.gpu}: it is for --plan alone; a sweep runs on what is here")
        study = load_study(options.study, tuple(options.set))
        sweep = Sweep(study, options, session, terminal.console())
        return sweep.show_plan() if options.plan else sweep.run()
    except BrokenPipeError:
        raise
    except (OSError, ray.exceptions.RayError) as error:
        terminal.say(f"stopped: {terminal.printable(str(error))[:500]}; what is done is kept")
        return SOME_FAILED
    finally:
        session.end()


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends a sweep as Ctrl-C does: Tune by itself would not keep anything."""
    signal.raise_signal(signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.run", description="Run what a study asks for and is not there."
    )
    parser.add_argument(
        "study",
        nargs="?",
        type=study_file,
        default=QUICKSTART,
        metavar="STUDY.toml",
        help="a file, or the name of a shipped study (default: quickstart, which needs no download)",
    )
    parser.add_argument("--plan", action="store_true", help="print what would run, and run nothing")
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="with --plan: tell time and cost for one such GPU, by its published rates, in place of this machine's",
    )
    parser.add_argument("--results", metavar="URI", help="folder, s3:// or gs:// (default: results/NAME_OF_STUDY)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where data sets are (default: ~/.genomic_benchmarks)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="where pretrained weights are, and are cached")
    parser.add_argument("--address", metavar="ADDR", help="a running Ray cluster (default: start Ray here)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the study, as in --set grid.seeds=[1,2,3]; repeatable",
    )
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=TRACKERS,
        help="send every epoch to TensorBoard files, Weights & Biases or MLflow, too; repeatable",
    )
    return parser  # fmt: skip


class Sweep:
    """One call of the command: a study, a store, and what lies between them."""

    def __init__(self, study: Study, options: argparse.Namespace, session: RaySession, console: Console) -> None:
        self.study, self.options, self.session, self.console = study, options, session, console
        self.store = Store(f"results/{study.name}" if options.results is None else options.results)
        for name in self.store.claim(study.resolved()):
            self._say(f"{self.store.uri}/{name} is damaged; a sweep writes it anew")

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def show_plan(self) -> int:
        """Print what would run and what it would take; start nothing, fetch nothing, and write no results."""
        with SpeedProbe() as probe:
            for line in forecast(self._request(), probe.rates):
                self._say(line)
        cores = granted_cores()
        if cores.limited_by:
            self._say(f"cores      {cores.count} of this machine's {cores.machine} are granted ({cores.limited_by})")
        return DONE

    def _request(self) -> PlanRequest:
        """What is planned, and for which machine."""
        study, gpu = self.study, named_gpus.named(self.options.gpu) if self.options.gpu is not None else None
        if gpu is not None and study.resources.gpus == 0:
            raise InputError(f"--gpu {gpu.name}: resources.gpus = 0 keeps the study's runs off GPUs")
        data = planned_data(study, self.store.noted_study(), self.options.data)
        known = {name: (one.spec, one.facts) for name, one in data.items() if isinstance(one, PlannedData)}
        keys, absent = study_weights.known_keys(study, self.store, self.options.weights)
        runs = plan(study, known, keys)
        return PlanRequest(
            study=study,
            store=self.store,
            runs=runs,
            done=self._done(runs),
            data=data,
            keys=keys,
            missing_weights=absent,
            corpus_bases=len(corpus_of(study).tokens) if study.pretraining and absent else 0,
            cluster=self._machine() if gpu is None else {"CPU": study.resources.cpus, "GPU": 1},
            gpu=gpu,
            notes=merged_points(study, known),
            audited={name.removesuffix(".parquet") for name in self.store.names("leakage")},
        )

    def run(self) -> int:
        """Run what is missing, then say what is there."""
        self.store = Store(self.store.uri, PATIENCE_S)
        if self.session.address is None:
            self._machine()
        else:
            self._connect()
            self._share()
        study_weights.require(self.study, self.options.weights)
        self.trackers = trackers(self.options.track, self.study, self.store)
        self.store.require_right_to_write()
        data = self._data()
        keys, found = study_weights.prepared_keys(self.study, self.store, self.options.weights)
        runs = plan(self.study, data, keys)
        self._say_merged(data)
        done = self._done(runs)
        notes = {name: _data_note(spec) for name, (spec, _) in data.items()}
        resolved = {**self.study.resolved(), "data": notes, "weights_found": found}
        self.store.write_plan(resolved, [run.identity() for run in runs])
        with Heartbeat(self.store.uri) as heartbeat:
            for other in heartbeat.others():
                self._say(f"{other}: both will run what is missing")
            self._audit([spec for spec, _ in data.values()])
            to_do = [run for run in runs if run.run_id not in done]
            if to_do:
                self._execute(to_do, len(done), keys)
            self._compact()
        return self._conclude(runs)

    def _machine(self) -> dict[str, float]:
        """Ray resources of this machine. InputError where the sweep is to run here, and a run needs more of them."""
        here: dict[str, float] = {"CPU": granted_cores().count, "GPU": torch.cuda.device_count()}
        lack = Share.of(self.study.resources, here).shortage([here])
        if lack and self.session.address is None:
            raise InputError(lack)
        return here

    def _data(self) -> dict[str, tuple[DataSpec, DataFacts]]:
        """Each data set's specification and facts, after a download if need be."""
        specs = {name: data_spec(self.study, name, self.options.data) for name in self.study.grid.datasets}
        return {name: (spec, facts_of(load_data(spec))) for name, spec in specs.items()}

    def _say_merged(self, data: Mapping[str, tuple[DataSpec, DataFacts]]) -> None:
        """Say which values of the grid mean the same run, so that fewer runs than its combinations are no surprise."""
        for line in merged_points(self.study, data):
            self._say(f"note       {line}")

    def _audit(self, specs: Sequence[DataSpec]) -> None:
        """How much of each test split stands in the training split: once a data set, for the report to say."""
        audited = self.store.names("leakage")
        for dataset in map(load_data, specs):
            if f"{dataset.digest}.parquet" not in audited:
                self.store.write_leakage(dataset.digest, audit(dataset).table)

    def _done(self, runs: Sequence[RunSpec]) -> set[str]:
        """Runs of the plan that the store holds. One that failed is not done: it is tried again."""
        planned = {run.run_id for run in runs}
        stored = self.store.runs(["run_id", "status"])
        return {row["run_id"] for row in stored if row["status"] == "done"} & planned

    def _connect(self) -> None:
        """Start Ray or join the cluster, if that was not done yet."""
        if ray.is_initialized():
            return
        worker.print_to_stdstream = self._say_of_ray
        dashboard = self.session.begin()
        signal.signal(signal.SIGTERM, _as_interrupt)  # Ray has put its own handler there
        if dashboard:
            self._say(f"Ray's dashboard: http://{dashboard}")

    def _share(self) -> Share:
        """What a trial gets of the cluster. InputError where no node has as much, and none can be started that has."""
        cluster = ray.cluster_resources()
        whole = Share.of(self.study.resources, cluster)
        lack = whole.shortage(node_resources())
        if lack and cluster.get("CPU") and not grows():
            raise InputError(lack)
        return whole

    def _say_of_ray(self, data: Mapping[str, Any], ignore_prefix: bool) -> None:
        """What Ray's daemons report, such as their death, in a line; Ray would print a page of its logs with each."""
        for text in data["lines"]:
            lines = [line for line in text.splitlines() if line.strip()]
            self._say(f"Ray: {lines[0][:160] if lines else text}")

    def _execute(self, to_do: Sequence[RunSpec], already_done: int, keys: Mapping[str, str]) -> None:
        self._connect()
        whole, gpus = self._share(), self.study.resources.gpus
        if gpus not in (AUTO, 0) and not whole.gpus:
            self._say(f"resources.gpus = {gpus:g}, but there is no GPU: the runs train on CPU cores")
        shares = {run.run_id: whole for run in to_do}
        if self.study.resources.gpus == AUTO and whole.gpus:
            self._say("measuring what the runs need of a GPU's memory, where it is not known yet")
            shares = gpu_probe.shares(to_do, whole, self.study.resources, self.store)
        by_id = {run.run_id: run for run in to_do}
        assignment = Assignment(by_id, shares, self.store.uri, environment.commit(), self.study.keep_models)
        # Those that failed in an earlier call are to do again; another sweep may have done others meanwhile.
        for run_id in (by_id.keys() & self.store.ended()) - self._done(to_do):
            self.store.delete(f"runs/{run_id}.parquet")
        making = study_weights.Making(self.study, self.store, keys, to_do, whole)
        with Progress(to_do, already_done, shares, making, self.console) as progress:
            waiting = [run for run in to_do if run.weights_key and run.model in making.latest]
            ready = [run for run in to_do if not (run.weights_key and run.model in making.latest)]
            self._tune(ready, assignment, progress)
            while making.streams:
                progress.pretrained(wait_s=SECONDS_BETWEEN_LOOKS)
            for run in waiting:
                if run.model in making.broken:
                    self._fail(run, making.broken[run.model], assignment)
                    progress.gave_up(run, making.broken[run.model])
            self._tune([run for run in waiting if run.model not in making.broken], assignment, progress)

    def _tune(self, runs: Sequence[RunSpec], assignment: Assignment, progress: Progress) -> None:
        """Run these on Ray Tune until each has its row.

        A run whose worker died is taken up again from its checkpoint, by Tune at once or, where Tune gives it up (it
        may count one death twice), in another round. One that gets no further in several rounds gets a failed row: it
        is what kills its workers. One that needed more memory than its share comes again with a larger one, until it
        has a whole GPU.

        Raises StoreError where the store refuses for good.
        """
        fruitless: Counter[str] = Counter()
        while runs:
            before = dict(progress.reached)
            fit(self.study.name, runs, assignment, progress, self.trackers)
            if progress.store_lost:
                raise StoreError(progress.store_lost)
            ended = self.store.ended()
            runs = [run for run in runs if run.run_id not in ended]
            too_big, progress.too_big = progress.too_big, set()
            assignment = assignment.larger(too_big)
            progress.shares = assignment.shares
            for run in runs:
                got_on = run.run_id in too_big or progress.reached.get(run.run_id) != before.get(run.run_id)
                fruitless[run.run_id] = 0 if got_on else fruitless[run.run_id] + 1
            for run in (run for run in runs if fruitless[run.run_id] >= FRUITLESS_ROUNDS):
                reason = "its worker died whenever it was tried (out of memory?)"
                self._fail(run, reason, assignment)
                progress.gave_up(run, reason)
            runs = [run for run in runs if fruitless[run.run_id] < FRUITLESS_ROUNDS]

    def _fail(self, run: RunSpec, reason: str, assignment: Assignment) -> None:
        """Write the row of a run that no worker could write."""
        share = assignment.shares[run.run_id]
        where = Circumstances(share, torch.device("cpu"), share.stack, datetime.now(UTC), assignment.commit)
        self.store.write_run(failed_row(run, reason, where))

    def _compact(self) -> None:
        """Put the small files of very many runs into few. The results are the same without it."""
        many = len(self.store.names("runs"))
        if many >= MANY_RUNS:
            self._say(f"putting the small files of {many} runs into few")
            try:
                compact(self.store)
            except StoreError as error:
                self._say(f"left as they are: {error}")

    def _conclude(self, runs: Sequence[RunSpec]) -> int:
        """Say what is there, and return the exit code."""
        rows = {row["run_id"]: row for row in self.store.runs(["run_id", "status", "failure", "train_s"])}
        failed = [run for run in runs if rows[run.run_id]["status"] == "failed"]
        seconds = sum(rows[run.run_id]["train_s"] or 0.0 for run in runs)
        done = len(runs) - len(failed)
        self._say(f"{done} of {len(runs)} runs done ({duration(seconds)} of training) in {self.store.uri}")
        for line in failures({run.run_id: run.identity() for run in runs}, rows):
            self._say(line)
        return SOME_FAILED if failed else DONE


def _data_note(spec: DataSpec) -> dict[str, Any]:
    """What the report should say of a data set."""
    dataset = load_data(spec)
    return {
        "digest": dataset.digest,
        "classes": list(dataset.classes),
        "train": len(dataset.train),
        "validation": len(dataset.validation) if dataset.validation else None,
        "test": len(dataset.test),
        "longest": dataset.longest,
        "official": dataset.official,
        "notes": list(dataset.notes),
    }


if __name__ == "__main__":
    sys.exit(main())
