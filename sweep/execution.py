"""Run a study's missing runs on Ray: pretrainings beside the runs that need no weights, then the other runs.

Every run ends with a row in the store: written by its worker, or here as failed where no worker could.
Next: `tuning.py`, one call of Tune; `run_states.py`, which runs are retried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from ray import tune
from rich.console import Console

from sweep import environment, gpu_probe
from sweep.pretraining_jobs import PretrainingJobs
from sweep.pretrainings import PretrainingId
from sweep.progress import ProgressDisplay
from sweep.resources import Share
from sweep.rows import Circumstances, failed_row
from sweep.run_states import Failed, RunStates, done_runs
from sweep.store import Store, StoreError
from sweep.study import AUTO, Study
from sweep.trainable import Assignment
from sweep.trials import RunSpec
from sweep.tuning import SweepCallback, fit

#: Seconds to wait for the next report of a pretraining before the display is updated.
SECONDS_BETWEEN_POLLS = 5.0
WORKER_DIED = "its worker died at every attempt (out of memory?)"


@dataclass(frozen=True)
class Execution:
    """What the runs of one sweep have in common.

    Attributes:
        whole: the share of a trial before any measurement: a whole GPU where the study has GPU shares measured.
        keys: key of the weights of each pretraining.
        trackers: Tune callbacks of experiment trackers.
    """

    study: Study
    store: Store
    whole: Share
    keys: Mapping[PretrainingId, str]
    console: Console
    trackers: Sequence[tune.Callback] = ()

    def run(self, runs: Sequence[RunSpec], already_done: int) -> None:
        """Run these, of a plan of which `already_done` others are done. Ray must have been started.

        Raises StoreError where the store has refused for too long.
        """
        states = RunStates(runs, self._shares(runs), already_done)
        # Rows of failed runs and damaged ones are replaced. Another sweep may have completed some runs meanwhile.
        for run_id in (states.runs.keys() & self.store.ended()) - done_runs(self.store, runs):
            self.store.delete(f"runs/{run_id}.parquet")
        pretrainings = PretrainingJobs(self.study, self.store, self.keys, runs, self.whole)
        with ProgressDisplay(states, pretrainings, self.console) as display:
            callback = SweepCallback(states, pretrainings, display)
            first, later = list[RunSpec](), list[RunSpec]()
            for run in runs:
                (later if run.pretraining in pretrainings.latest else first).append(run)
            self._train(first, callback)
            while pretrainings.unfinished:
                callback.poll_pretrainings(SECONDS_BETWEEN_POLLS)
            for run in later:
                if run.pretraining in pretrainings.failed:
                    self._abandon(run, pretrainings.failed[run.pretraining], callback)
            self._train([run for run in later if run.pretraining not in pretrainings.failed], callback)

    def _shares(self, runs: Sequence[RunSpec]) -> dict[str, Share]:
        """The share of each run's trial: as the study says, or as measured."""
        gpus = self.study.resources.gpus
        if gpus not in (AUTO, 0) and not self.whole.gpus:
            self._say(f"resources.gpus = {gpus:g}, but there is no GPU: the runs train on CPU cores")
        if gpus == AUTO and self.whole.gpus:
            self._say("measuring how much GPU memory the runs need, where it is not known yet")
            return gpu_probe.shares(runs, self.whole, self.study.resources, self.store)
        return {run.run_id: self.whole for run in runs}

    def _train(self, runs: Sequence[RunSpec], callback: SweepCallback) -> None:
        """Call Tune until each of these runs has its row."""
        states = callback.states
        while runs:
            assignment = Assignment(
                states.runs, dict(states.shares), self.store.uri, environment.commit(), self.study.keep_models
            )
            fit(self.study.name, runs, assignment, states, [callback, *self.trackers])
            if states.store_lost:
                raise StoreError(states.store_lost)
            upcoming = states.next_round(runs, self.store.ended())
            for run in upcoming.abandoned:
                self._abandon(run, WORKER_DIED, callback)
            runs = upcoming.retried

    def _abandon(self, run: RunSpec, reason: str, callback: SweepCallback) -> None:
        """Write the failed row of a run that no worker could write."""
        share = callback.states.shares[run.run_id]
        where = Circumstances(share, torch.device("cpu"), share.stack, datetime.now(UTC), environment.commit())
        self.store.write_run(failed_row(run, reason, where))
        callback.apply(Failed(run.run_id, reason))

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
