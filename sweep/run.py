"""`python -m sweep.run [STUDY.toml]`: run what a study asks for and the results folder lacks.

The steps, in order: read the study, find its data, make its weights, plan, run on Ray Tune, say what came of it.
Killed at any moment and called again, it goes on: the plan less what the store holds is what runs.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

# Before Ray is imported: it reads these once.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: everything worth keeping is in the store already
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import torch  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from rich.console import Console  # noqa: E402

from hyena.datasets import is_present  # noqa: E402
from hyena.errors import InputError  # noqa: E402
from hyena.leakage import audit  # noqa: E402
from sweep import provenance, weights  # noqa: E402
from sweep.progress import Progress, duration  # noqa: E402
from sweep.resources import Share  # noqa: E402
from sweep.store import Store  # noqa: E402
from sweep.study import Study, load_study  # noqa: E402
from sweep.trainable import Assignment, RunTrainable, failed_row  # noqa: E402
from sweep.trials import DataFacts, DataSpec, RunSpec, data_spec, facts_of, load_data, plan  # noqa: E402

QUICKSTART = Path(__file__).resolve().parent.parent / "studies" / "quickstart.toml"
DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
WORKER_DEATHS, ROUNDS = 3, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 all there, 1 some runs failed, 2 wrong request, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        study = load_study(options.study, tuple(options.set))
        sweep = Sweep(study, options, console)
        return sweep.show_plan() if options.plan else sweep.run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
    except OSError as error:
        print(f"stopped: {error}; what is done is kept", file=sys.stderr)
        return SOME_FAILED
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "sweep.run", *words])
        console.print(f"\ninterrupted; what is done is kept. Go on with: {again}", soft_wrap=True)
        return INTERRUPTED
    finally:
        ray.shutdown()


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
        type=Path,
        default=QUICKSTART,
        metavar="STUDY.toml",
        help="default: studies/quickstart.toml, which needs no download",
    )
    parser.add_argument("--plan", action="store_true", help="print what would run, and run nothing")
    parser.add_argument("--results", metavar="URI", help="folder, s3:// or gs:// (default: results/NAME_OF_STUDY)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where data sets are (default: ~/.genomic_benchmarks)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="where pretrained weights are cached")
    parser.add_argument("--address", metavar="ADDR", help="a running Ray cluster (default: start Ray here)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the study, as in --set grid.seeds=[1,2,3]; repeatable",
    )
    return parser  # fmt: skip


class Sweep:
    """One call of the command: a study, a store, and what lies between them."""

    def __init__(self, study: Study, options: argparse.Namespace, console: Console) -> None:
        self.study, self.options, self.console = study, options, console
        self.store = Store(options.results or f"results/{study.name}")
        self.store.claim(study.resolved())

    def show_plan(self) -> int:
        """Print trials, runs, what is done already, shares and sizes, and what is missing; start nothing."""
        data, missing = self._data(download=False)
        keys, absent = weights.known_keys(self.study, self.store, self.options.weights)
        runs = plan(self.study, data, keys)
        done = self._done(runs)
        cluster = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
        share = Share.of(self.study.resources, cluster)
        what = f"{share.gpus:g} of a GPU" if share.gpus else "no GPU"
        say = partial(self.console.print, soft_wrap=True)
        say(f"study      {self.study.name}: {self.study.description}".rstrip(": "))
        say(f"results    {self.store.uri}")
        planned = len(runs) + len(missing) * self.study.runs_per_dataset
        say(f"runs       {planned} planned, {len(done)} done already, {planned - len(done)} to do")
        say(f"each run   {share.cpus} CPU core(s), {what}; {share.parallel(cluster)} at once on this machine")
        say(f"time       {self._estimate(runs, done, share, share.parallel(cluster))}")
        for name, (_, facts) in data.items():
            say(
                f"data set   {name}: {facts.train_examples} training sequences, {facts.num_classes} classes, "
                f"longest {facts.longest}"
            )
        for name in missing:
            say(f"missing    data set {name}: would be downloaded")
        for name in absent:
            say(f"missing    weights of {name}: would be {'made' if self.study.pretraining else 'downloaded'}")
        return DONE  # fmt: skip

    def _estimate(self, runs: Sequence[RunSpec], done: Collection[str], share: Share, parallel: int) -> str:
        """Time and cost of what is to do, from the measured time of what is done."""
        timed = self.store.runs(["run_id", "train_s", "evaluate_s"])
        seconds = {row["run_id"]: row["train_s"] + row["evaluate_s"] for row in timed if row["run_id"] in done}
        work_done = sum(run.work for run in runs if run.run_id in done)
        if not work_done:
            return "not known before the first runs are done; plan again then"
        rest = sum(run.work for run in runs if run.run_id not in done)
        busy = rest * sum(seconds.values()) / work_done
        unit, held = ("GPU", share.gpus) if share.gpus else ("core", share.cpus)
        hours = busy * held / 3600
        text = f"about {duration(busy / parallel)} here, {hours:.2f} {unit} hours (as the {len(done)} runs done took)"
        price = self.study.resources.price_per_hour
        return text if price is None else f"{text}, cost {hours * price:.2f} at {price:g} an hour"

    def run(self) -> int:
        """Run what is missing, then say what is there."""
        data, _ = self._data(download=True)
        keys = weights.prepared_keys(self.study, self.store, self.options.weights)
        runs = plan(self.study, data, keys)
        done = self._done(runs)
        resolved = {**self.study.resolved(), "data": {name: _data_note(spec) for name, (spec, _) in data.items()}}
        self.store.write_plan(resolved, [run.identity() for run in runs])
        self._audit([spec for spec, _ in data.values()])
        to_do = [run for run in runs if run.run_id not in done]
        if to_do:
            self._execute(to_do, len(done), keys)
        return self._conclude(runs)

    def _data(self, download: bool) -> tuple[dict[str, tuple[DataSpec, DataFacts]], list[str]]:
        """Each data set's specification and facts; and the names that are not on this machine yet."""
        found, missing = {}, []
        for name in self.study.grid.datasets:
            spec = data_spec(self.study, name, self.options.data)
            if not download and spec.synthetic is None and not is_present(name, spec.source, spec.data_dir):
                missing.append(name)
            else:
                found[name] = spec, facts_of(load_data(spec))
        return found, missing

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
        self._start_ray()
        signal.signal(signal.SIGTERM, _as_interrupt)  # Ray has put its own handler there

    def _start_ray(self) -> None:
        if self.options.address:
            ray.init(address=self.options.address, log_to_driver=False, logging_level=logging.ERROR)
            return
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a token file of another session is demanded
        # Ray's own switch for "loopback only" is named after the systems where it is the default.
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        ray_constants.ENABLE_RAY_CLUSTER = False
        ray.init(
            address="local",  # never a stale record of a former cluster
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )

    def _execute(self, to_do: Sequence[RunSpec], already_done: int, keys: Mapping[str, str]) -> None:
        self._connect()
        cluster = ray.cluster_resources()
        share = Share.of(self.study.resources, cluster)
        assignment = Assignment({run.run_id: run for run in to_do}, self.store.uri, share, provenance.commit())
        for run in to_do:  # of an earlier call, failed: it is to do again
            self.store.delete(f"runs/{run.run_id}.parquet")
        making = weights.Making(self.study, self.store, keys, to_do, share)
        with Progress(to_do, already_done, making, self.console) as progress:
            waiting = [run for run in to_do if run.weights_key and run.model in making.latest]
            self._tune([run for run in to_do if run not in waiting], assignment, progress)
            while making.streams:
                progress.pretrained(wait=True)
            for run in waiting:
                if run.model in making.broken:
                    self._fail(run, making.broken[run.model], assignment)
                    progress.gave_up(run, making.broken[run.model])
            self._tune([run for run in waiting if run.model not in making.broken], assignment, progress)

    def _tune(self, runs: Sequence[RunSpec], assignment: Assignment, progress: Progress) -> None:
        """Run these on Ray Tune until each has its row.

        A run whose worker died is taken up again from its checkpoint, by Tune at once or, where Tune gives it up (it
        may count one death twice), in another round; after the last one it gets a failed row.
        """
        for _ in range(ROUNDS):
            if not runs:
                return
            self._fit(runs, assignment, progress)
            stored = {row["run_id"] for row in self.store.runs(["run_id"])}
            runs = [run for run in runs if run.run_id not in stored]
        for run in runs:
            reason = "its worker died whenever it was tried (out of memory?)"
            self._fail(run, reason, assignment)
            progress.gave_up(run, reason)

    def _fit(self, runs: Sequence[RunSpec], assignment: Assignment, progress: Progress) -> None:
        trainable = tune.with_parameters(RunTrainable, assignment=assignment)
        with tempfile.TemporaryDirectory(prefix="sweep-") as scratch:  # Tune's own state: nothing resumes from it
            tune.Tuner(
                tune.with_resources(trainable, assignment.share.request()),
                param_space={"run_id": tune.grid_search([run.run_id for run in runs])},
                tune_config=tune.TuneConfig(reuse_actors=True),
                run_config=tune.RunConfig(
                    name=self.study.name,
                    storage_path=scratch,
                    failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                    callbacks=[progress],
                    verbose=0,
                ),
            ).fit()

    def _fail(self, run: RunSpec, reason: str, assignment: Assignment) -> None:
        """Write the row of a run that no worker could write."""
        self.store.write_run(failed_row(run, reason, assignment, datetime.now(UTC), torch.device("cpu")))

    def _conclude(self, runs: Sequence[RunSpec]) -> int:
        """Say what is there, and return the exit code."""
        rows = {row["run_id"]: row for row in self.store.runs(["run_id", "status", "failure", "train_s"])}
        failed = [run for run in runs if rows[run.run_id]["status"] == "failed"]
        seconds = sum(rows[run.run_id]["train_s"] or 0.0 for run in runs)
        self.console.print(
            f"{len(runs) - len(failed)} of {len(runs)} runs done ({duration(seconds)} of training) in {self.store.uri}",
            soft_wrap=True,
        )
        for run in failed:
            self.console.print(
                f"failed: {run.model}, {run.data.name}, {run.init}, seed {run.seed}, {run.training.epochs} epochs: "
                f"{rows[run.run_id]['failure']}",
                soft_wrap=True,
            )
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
