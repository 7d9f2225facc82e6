"""What a plan is asked about, and what follows from it before any time is told: what is left, where, in which batches.

Next: `time_forecast.py` and `forecast.py`, the figures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hyena.training.recipe import Precision
from sweep import named_gpus
from sweep.planned_data import PlannedData, Unknown
from sweep.resources import Share
from sweep.store import Store
from sweep.study import Study
from sweep.trials import RunSpec
from sweep.workload import Batches, pretraining_batches, run_batches


@dataclass(frozen=True)
class PlanRequest:
    """What is planned, and on what.

    Attributes:
        runs: all runs of data sets that are known; `done` are the ids of those that are there already.
        data: by name, what is known of each data set of the study.
        keys: key of each model's pretrained weights.
        missing_weights: by the model's name, what is to be said of those that are not there yet.
        corpus_bases: of the study's own pretraining.
        cluster: Ray resources of the machine or cluster that the time is told for.
        gpu: the GPU that is asked about in place of that.
        notes: what else there is to say of the plan.
        audited: digests of the data sets whose leakage audit is there already.
    """

    study: Study
    store: Store
    runs: Sequence[RunSpec]
    done: Collection[str]
    data: Mapping[str, PlannedData | Unknown]
    keys: Mapping[str, str]
    missing_weights: Mapping[str, str]
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
        """Runs of data sets of which nothing is known."""
        names = {name for name, data in self.data.items() if isinstance(data, Unknown)}
        return sum(point["datasets"] in names for point in self.study.points()) if names else 0

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
        """Trials at once: each with a GPU to itself, or with its cores."""
        return max(1, int(self.cluster["GPU"])) if self.on_gpu else self.share.parallel(self.cluster)

    @cached_property
    def pretrainings(self) -> dict[str, Batches]:
        """The study's own that are to be made, by model, in the order in which a sweep starts them."""
        study = self.study
        if study.pretraining is None:
            return {}
        needed = {run.model for run in self.to_do if run.weights_key is not None}
        missing = needed & self.missing_weights.keys()
        config = study.pretraining.config
        precision: Precision = "float32" if config.precision == "auto" else config.precision
        if self.on_gpu and config.precision == "auto":
            precision = "bfloat16"
        ordered = sorted(missing, key=lambda name: (-study.model(name).n_layer * study.model(name).d_model ** 2, name))
        return {name: pretraining_batches(study.model(name), config, self.corpus_bases, precision) for name in ordered}

    def batches(self, run: RunSpec) -> Batches:
        """All batches of a run; runs that differ in their seed alone have the same."""
        key = (run.setting_id, run.config.checkpoint_activations, run.init.startswith("frozen"))
        if key not in self._batches:
            data = self.data[run.data.name]
            assert isinstance(data, PlannedData)
            self._batches[key] = run_batches(run, data.lengths_bp)
        return self._batches[key]
