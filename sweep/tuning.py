"""One call of Ray Tune: runs in the order given, each with its own share. Results go to the store, not to Tune's state.

Next: `trainable.py`, what a worker does; `run_states.py`, what the reports of the workers change.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from sweep.pretraining_jobs import PretrainingJobs
from sweep.progress import ProgressDisplay
from sweep.run_states import (
    Advanced,
    CheckpointDamaged,
    Done,
    Event,
    Failed,
    OutOfMemory,
    RunStates,
    Started,
    StoreLost,
    StoreRefused,
    TrialDropped,
    WorkerDied,
)
from sweep.trainable import Assignment, Outcome, TrialTrainable
from sweep.trials import RunSpec, stacked

#: Worker deaths without progress in between that a trial survives in one call of Tune.
WORKER_DEATHS = 3
#: Seconds between two queries of the cluster's resources.
SECONDS_BETWEEN_QUERIES = 5.0


def fit(
    name: str, runs: Sequence[RunSpec], assignment: Assignment, states: RunStates, callbacks: Sequence[tune.Callback]
) -> None:
    """Call Tune once: train these runs, each on a worker with its share, until every trial has ended or been dropped.

    The store tells which runs have their rows then. `name` is what experiment trackers display.
    """
    trainable = tune.with_parameters(TrialTrainable, assignment=assignment)
    trials = stacked(runs, lambda run: assignment.shares[run.run_id].stack)
    configs = [{**trial.config(), "resources": assignment.shares[trial.trial_id].request()} for trial in trials]
    with tempfile.TemporaryDirectory(prefix="sweep-") as scratch:  # Tune's own state: nothing resumes from it
        tune.Tuner(
            tune.with_resources(trainable, _resources),
            tune_config=tune.TuneConfig(search_alg=InOrder(configs), num_samples=len(configs), reuse_actors=True),
            run_config=tune.RunConfig(
                name=name,
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                stop=StopWithStore(states),
                callbacks=list(callbacks),
                verbose=0,
            ),
        ).fit()


class InOrder(Searcher):
    """Suggests one trial after another. For a grid of these, Tune's own search would copy all of them for each."""

    def __init__(self, trials: Iterable[dict[str, Any]]) -> None:
        super().__init__()
        self.left = iter(trials)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"trial": next(self.left)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing depends on results."""


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """The resources of a trial. Tune pickles this function for each trial, so it must not hold those of all."""
    return tune.PlacementGroupFactory([config["trial"]["resources"]])


class StopWithStore(tune.Stopper):
    """Ends all trials once the store is lost, because no result can be kept."""

    def __init__(self, states: RunStates) -> None:
        self.states = states

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.states.store_lost is not None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its stopper into a state from which no sweep resumes."""
        return {}


class SweepCallback(tune.Callback):
    """Turns what Tune reports into events, and passes them to the states of the runs and to the display."""

    def __init__(self, states: RunStates, pretrainings: PretrainingJobs, display: ProgressDisplay) -> None:
        self.states, self.pretrainings, self.display = states, pretrainings, display
        self.queried_at = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a state from which no sweep resumes."""
        return {}

    def apply(self, event: Event) -> None:
        if self.states.apply(event):
            self.display.show(event)

    def poll_pretrainings(self, wait_s: float = 0.0) -> None:
        """Display what the pretrainings have reported since the last call, or report first within `wait_s` seconds."""
        self.display.show_idleness()
        for pretraining in self.pretrainings.poll(wait_s):
            self.display.show_pretraining(pretraining)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.poll_pretrainings()
        if self.display.is_live and time.monotonic() - self.queried_at > SECONDS_BETWEEN_QUERIES:
            self.queried_at, self.display.cluster = time.monotonic(), ray.cluster_resources()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.apply(Started(_run_ids(trial)))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for event in events_of(_run_ids(trial), result):
            self.apply(event)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune restarts a trial whose worker died; deaths before its last progress do not count."""
        if self.states.progressed_since_death(_run_ids(trial)):
            trial.run_metadata.num_failures = 0
        self.apply(WorkerDied(_run_ids(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.apply(TrialDropped(_run_ids(trial)))


def _run_ids(trial: Any) -> list[str]:
    return trial.config["trial"]["run_ids"]


def events_of(run_ids: Sequence[str], result: Mapping[str, Any]) -> Iterator[Event]:
    """What a worker's report of a step means: see `TrialTrainable.step`."""
    outcome, reason = result["outcome"], str(result.get("reason"))
    yield from map(CheckpointDamaged, result.get("begun_anew", ()))
    for run_id in run_ids:
        if run_id in result.get("failures", {}):
            yield Failed(run_id, result["failures"][run_id])
        elif run_id in result.get("accuracies", {}):
            yield Done(run_id, result["accuracies"][run_id])
    if outcome == Outcome.UNFINISHED:
        yield Advanced(run_ids, result["epoch"] + result["part"])
    elif outcome == Outcome.REFUSED:
        yield StoreRefused(run_ids, reason)
    elif outcome == Outcome.STORE_LOST:
        yield StoreLost(run_ids, reason)
    elif outcome == Outcome.TOO_BIG:
        yield OutOfMemory(run_ids, reason)
