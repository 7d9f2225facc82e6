"""The facts of a plan: runs, data sets, weights and machine, and which batches are left to compute.

Next: `time_forecast.py` and `forecast.py`, the figures that follow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hyena.errors import InputError
from hyena.training.recipe import Precision
from sweep import named_gpus
from sweep.earlier_notes import results_of_another_version
from sweep.planned_data import PlannedData, Unknown, planned_data
from sweep.pretrainings import PretrainingId
from sweep.ray_session import resources_here
from sweep.resources import Share
from sweep.run_states import done_runs
from sweep.store import Store
from sweep.study import Study
from sweep.study_weights import corpus_of, known_keys, largest_first
from sweep.trials import RunSpec, merged_points, plan
from sweep.workload import Batches, pretraining_batches, run_batches


@dataclass(frozen=True)
class PlanRequest:
    """What is planned, and for which machine.

    Attributes:
        runs: all runs of data sets that are known.
        done: ids of those that the store holds already.
        data: by name, what is known of each data set of the study.
        keys: key of the weights of each pretraining.
        missing_weights: a description of where weights that are not here would come from.
        corpus_bases: size of the corpus of the study's own pretraining.
        cluster: Ray resources of the machine that the time is forecast for.
        gpu: a GPU to forecast for instead.
        notes: further lines for the plan.
        audited: digests of the data sets whose leakage audit is in the store already.
    """

    study: Study
    store: Store
    runs: Sequence[RunSpec]
    done: Collection[str]
    data: Mapping[str, PlannedData | Unknown]
    keys: Mapping[PretrainingId, str]
    missing_weights: Mapping[PretrainingId, str]
    corpus_bases: int
    cluster: Mapping[str, float]
    gpu: named_gpus.GPU | None = None
    notes: Sequence[str] = ()
    audited: Collection[str] = ()
    _batches: dict[tuple[object, ...], Batches] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def to_do(self) -> list[RunSpec]:
        return [run for run in self.runs if run.run_id not in self.done]

    @cached_property
    def unknown(self) -> int:
        """Number of runs of data sets about which nothing is known."""
        names = {name for name, data in self.data.items() if isinstance(data, Unknown)}
        return sum(point.dataset in names for point in self.study.points()) if names else 0

    @cached_property
    def share(self) -> Share:
        return Share.of(self.study.resources, self.cluster)

    @property
    def on_gpu(self) -> bool:
        return bool(self.share.gpus)

    @property
    def device_type(self) -> str:
        return "cuda" if self.on_gpu else "cpu"

    @cached_property
    def places(self) -> int:
        """Number of trials at once: each with a GPU to itself, or with its cores."""
        return max(1, int(self.cluster["GPU"])) if self.on_gpu else self.share.parallel(self.cluster)

    @cached_property
    def pretrainings(self) -> dict[PretrainingId, Batches]:
        """Batches of each of the study's pretrainings that are left to do, in the order of a sweep."""
        study = self.study
        if study.pretraining is None:
            return {}
        needed = {run.pretraining for run in self.to_do if run.pretraining is not None}
        missing = needed & self.missing_weights.keys()
        config = study.pretraining.config
        precision: Precision = "float32" if config.precision == "auto" else config.precision
        if self.on_gpu and config.precision == "auto":
            precision = "bfloat16"
        return {
            one: pretraining_batches(study.model(one.model), config, self.corpus_bases, precision)
            for one in largest_first(study, missing)
        }

    def batches(self, run: RunSpec) -> Batches:
        """All batches of a run; the same for runs that differ only in seed and weights."""
        key = (run.setting_id, run.config.checkpoint_activations, run.init.startswith("frozen"))
        if key not in self._batches:
            data = self.data[run.data.name]
            assert isinstance(data, PlannedData)
            self._batches[key] = run_batches(run, data.lengths_bp)
        return self._batches[key]


def request_plan(
    study: Study, store: Store, data_dir: Path | None, weights_dir: Path | None, gpu: str | None = None
) -> PlanRequest:
    """The facts of a plan for this machine, or for one GPU of the type `gpu`. Downloads nothing.

    Raises InputError where the study cannot be run as it is, or the GPU is unknown.
    """
    named = named_gpus.named(gpu) if gpu is not None else None
    if named is not None and study.resources.gpus == 0:
        raise InputError(f"--gpu {named.name}: resources.gpus = 0 keeps the study's runs off GPUs")
    data = planned_data(study, store.noted_study(), data_dir)
    known = {name: (one.spec, one.facts) for name, one in data.items() if isinstance(one, PlannedData)}
    keys, absent = known_keys(study, store, weights_dir)
    runs = plan(study, known, keys)
    return PlanRequest(
        study=study,
        store=store,
        runs=runs,
        done=done_runs(store, runs),
        data=data,
        keys=keys,
        missing_weights=absent,
        corpus_bases=len(corpus_of(study).tokens) if study.pretraining and absent else 0,
        cluster=resources_here() if named is None else {"CPU": study.resources.cpus, "GPU": 1},
        gpu=named,
        notes=[*merged_points(study, known), *results_of_another_version(store, runs)],
        audited={name.removesuffix(".parquet") for name in store.names("leakage")},
    )
