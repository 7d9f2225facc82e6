"""Runs on Ray Tune: in the order given, each with its own share, their results in the store and not in Tune's state.

Next: `trainable.py`, what a worker does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweep.progress import Progress
from sweep.trainable import Assignment, TrialTrainable
from sweep.trials import RunSpec, stacked

#: Deaths of its worker without getting further that a run survives in one call of Tune.
WORKER_DEATHS = 3


def fit(
    name: str,
    runs: Sequence[RunSpec],
    assignment: Assignment,
    progress: Progress,
    trackers: Sequence[tune.Callback],
) -> None:
    """One call of Tune: these runs, each on a worker with its share, until Tune has nothing more to do with them.

    It may give some of them up; the store says which have their rows. `name` is shown by trackers.
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
                stop=StopWithStore(progress),
                callbacks=[progress, *trackers],
                verbose=0,
            ),
        ).fit()


class InOrder(Searcher):
    """Trial after trial. Tune's own search, for a grid of these, would copy all of them for each."""

    def __init__(self, trials: Iterable[dict[str, Any]]) -> None:
        super().__init__()
        self.left = iter(trials)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"trial": next(self.left)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing depends on results."""


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial asks for. Tune loads this function anew for each trial, so it must not hold those of all."""
    return tune.PlacementGroupFactory([config["trial"]["resources"]])


class StopWithStore(tune.Stopper):
    """Ends all trials once the store is lost, for nothing that they find can be kept."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.progress.store_lost is not None
