"""The pretrainings of a study as Ray tasks, which share the cluster with the runs that need no weights.

Each reports as it goes, and leaves its curve and its weights in the store. Next: `study_weights.py`, which says which
weights a study needs; `hyena/training/pretraining.py`, one pretraining.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import ray

from hyena.errors import InputError
from hyena.training.pretraining import Pretraining, PretrainingRecord
from hyena.training.resumption import checkpoint_bytes, read_checkpoint
from sweep.pretrainings import PretrainingId
from sweep.resources import Share
from sweep.schema import PretrainingRow
from sweep.store import Store
from sweep.study import Study
from sweep.study_weights import corpus_of, largest_first, put, stored
from sweep.trials import RunSpec


class PretrainingJobs:
    """One job for each pretraining whose weights some run needs and the store lacks, started when this is constructed.

    Attributes:
        latest: the last record of each pretraining that is or was under way here; None before its first one.
        notes: what a job says of itself before its first record.
        failed: the reason of each pretraining that failed.
        steps: of one pretraining; 0 where the study makes none.
    """

    def __init__(
        self, study: Study, store: Store, keys: Mapping[PretrainingId, str], runs: Collection[RunSpec], share: Share
    ) -> None:
        """`keys`: of the weights of each pretraining. `share`: the resources of each job."""
        self.latest: dict[PretrainingId, PretrainingRecord | None] = {}
        self.notes: dict[PretrainingId, str] = {}
        self.failed: dict[PretrainingId, str] = {}
        self.steps = study.pretraining.config.steps if study.pretraining else 0
        self._streams: dict[Any, PretrainingId] = {}  # Ray's generators of reports, with the pretraining of each
        self._begun: set[PretrainingId] = set()  # those whose job has started on some node
        if study.pretraining is None:
            return
        needed = {run.pretraining for run in runs if run.pretraining is not None}
        missing = [one for one in needed if not stored(store, keys[one])]
        task = ray.remote(_pretrain).options(num_cpus=share.cpus, num_gpus=share.gpus)
        for one in largest_first(study, missing):
            self.latest[one] = None
            self._streams[task.remote(study, one, keys[one], store.uri, share)] = one

    @property
    def unfinished(self) -> bool:
        """Whether any job is running or waiting for a node."""
        return bool(self._streams)

    @property
    def training(self) -> bool:
        """Whether any job is running on a node."""
        return not self._begun.isdisjoint(self._streams.values())

    def poll(self, wait_s: float = 0.0) -> list[PretrainingId]:
        """Take the reports that have arrived, or wait up to `wait_s` seconds for the first; returns whose they are."""
        if not self._streams:
            return []
        number, timeout = (1, wait_s) if wait_s else (len(self._streams), 0)
        ready: list[Any] = ray.wait(list(self._streams), num_returns=number, timeout=timeout)[0]
        return [one for stream in ready for one in self._take(stream)]

    def _take(self, stream: Any) -> Iterator[PretrainingId]:
        """Take one report; yields the pretraining where there is something to display."""
        one = self._streams[stream]
        try:
            report = ray.get(next(stream))
        except StopIteration:
            del self._streams[stream]
            return
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            self.failed[one] = f"pretraining failed: {type(cause).__name__}: {cause}".splitlines()[0][:500]
            del self._streams[stream]
            return
        self._begun.add(one)
        if isinstance(report, str):
            self.notes[one] = report
        elif report is not None:
            self.latest[one] = report
        if report is not None:
            yield one


def _pretrain(
    study: Study, which: PretrainingId, key: str, results: str, share: Share
) -> Iterator[PretrainingRecord | str | None]:
    """A Ray task: one pretraining of one size, reporting as it goes; at the end write its curve and its weights.

    It yields None once it has started, a note where it starts over because its checkpoint is damaged, then records.
    A checkpoint is written at each tenth of the way, so a dead worker costs no more than that.
    """
    yield None
    device, store = share.occupy(), Store(results)
    assert study.pretraining is not None
    size, config = study.model(which.model), study.pretraining.config_of(which)
    pretraining = Pretraining(size, corpus_of(study), config, device, which.model)
    checkpoint = f"checkpoints/{key}.pt"
    saved = store.read(checkpoint)
    if saved is not None:
        try:
            pretraining.resume(read_checkpoint(saved))
        except InputError as fault:  # only time is lost with it
            yield f"starts over, because its checkpoint {checkpoint} cannot be used: {fault}"
            pretraining = Pretraining(size, corpus_of(study), config, device, which.model)
    while not pretraining.finished:
        record = pretraining.advance()
        yield record
        if record.validation_bits_per_base is not None and not pretraining.finished:
            store.write(checkpoint, checkpoint_bytes(pretraining.state()))
    named = {"model": which.model, "pretraining_seed": which.seed, "weights_key": key}
    history = [{**named, **vars(record)} for record in pretraining.history]
    store.write_pretraining(key, cast(list[PretrainingRow], history))
    put(store, key, pretraining.model.backbone, size)
    store.delete(checkpoint)
