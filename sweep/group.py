"""The runs of one trial on their worker: models made from specifications, and trained on from their checkpoints.

The runs differ only in their seed and the weights that they start from, and are trained as one model
(`hyena/model/stacked.py`); a single run is trained without stacking. Where their checkpoints are of different steps,
because a worker died, the runs that are furthest behind are trained first, until all are level. Next:
`hyena/training/stacked_run.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch

from hyena.device import is_out_of_memory
from hyena.model.hyenadna import Classifier, initialise, shuffle
from hyena.training.loop import PreparedData, RunResult
from hyena.training.resumption import checkpoint_bytes, read_checkpoint
from hyena.training.seed_state import EpochRecord, TrainingError, position
from hyena.training.stacked_run import StackedRun
from hyena.weights.checkpoint import load_backbone
from sweep.store import Store
from sweep.trials import RunSpec


def checkpoint_file(run_id: str) -> str:
    """The file in the store that holds the state of an unfinished run."""
    return f"checkpoints/{run_id}.pt"


class Group:
    """The runs of a trial. A run that fails is left out, and the others continue.

    Attributes:
        stack: the runs in training now, all at the same step.
        members: their specifications.
        waiting: the runs that are further ahead, with their states.
        failed: reasons of the failed runs, by run_id.
        begun_anew: ids of the runs whose checkpoint could not be read.
    """

    stack: StackedRun

    def __init__(
        self,
        specs: Sequence[RunSpec],
        data: PreparedData,
        store: Store,
        device: torch.device,
        pause: Callable[[], bool] = lambda: False,
        captured: bool = False,
    ) -> None:
        """Load the checkpoints of runs that were begun before. Raises StoreError where the store cannot be read.

        Args:
            pause: asked between two training steps; True ends `advance` within the epoch.
            captured: whether training steps are replayed as CUDA graphs.
        """
        self.data, self.store, self.device, self.pause, self.captured = data, store, device, pause, captured
        self.weights_digests: dict[str, str | None] = {}
        self.failed: dict[str, str] = {}
        self.begun_anew: list[str] = []
        self.members: list[RunSpec] = []
        self.waiting = [(spec, self._saved(spec)) for spec in specs]
        self._join()

    @property
    def finished(self) -> bool:
        return self.stack.finished and not self.waiting

    @property
    def epoch(self) -> int:
        return self.stack.epochs_done

    @property
    def part(self) -> float:
        """The fraction of the next epoch that is done: 0 unless the last `advance` was paused within it."""
        return self.stack.under_way.steps / self.stack.steps_per_epoch if self.stack.under_way else 0.0

    def advance(self) -> None:
        """Train the runs that are furthest behind to the end of their epoch, or until `pause` says so."""
        if not self.stack.finished:
            self.stack.train_and_evaluate()
            for spec, seed in zip(self.members, self.stack.progress, strict=True):
                if seed.error is not None:
                    self.failed.setdefault(spec.run_id, reason_of(seed.error))
        if self.waiting and not self.part and (not self.stack.running or self._is_level_with_another()):
            self._join()

    def latest(self) -> list[EpochRecord]:
        """The last epoch of each run of the stack that has not failed."""
        return [seed.history[-1] for seed in self.stack.running if seed.history]

    def checkpoints(self) -> Iterator[tuple[str, bytes]]:
        """File name and content of the checkpoint of each unfinished run."""
        for spec, state in [*self._going_on(), *self.waiting]:
            if state is not None:
                yield checkpoint_file(spec.run_id), checkpoint_bytes(state)

    def results(self) -> Iterator[tuple[RunSpec, RunResult]]:
        """The results of the runs that are done."""
        for spec, result in zip(self.members, self.stack.results(), strict=True):
            if not isinstance(result, TrainingError):
                yield spec, result

    def models(self) -> Iterator[tuple[RunSpec, Classifier]]:
        """The fine-tuned models of the runs that are done."""
        for spec, model in zip(self.members, self.stack.classifiers(), strict=True):
            if not isinstance(model, TrainingError):
                yield spec, model

    def _join(self) -> None:
        """Make a stack of the runs that are furthest behind; the others wait, with their states."""
        self.waiting = [*self._going_on(), *self.waiting]
        at = min(position(state) for _, state in self.waiting)
        level = [(spec, state) for spec, state in self.waiting if position(state) == at]
        self.waiting = [(spec, state) for spec, state in self.waiting if position(state) != at]
        self.members = [spec for spec, _ in level]
        first, seeds = self.members[0], [spec.seed for spec in self.members]
        models = [self._model(spec) for spec in self.members]
        self.stack = StackedRun(models, self.data, first.training, seeds, self.captured, first.setting_id)
        self.stack.pause = self.pause
        begun = [state for _, state in level if state is not None]
        if begun:
            self.stack.resume(begun)

    def _is_level_with_another(self) -> bool:
        """Whether a waiting run is at the stack's step, or behind it."""
        return min(position(state) for _, state in self.waiting) <= (self.epoch, 0)

    def _going_on(self) -> list[tuple[RunSpec, dict[str, Any] | None]]:
        """The members that have not failed, with their states."""
        states = self.stack.state() if self.members else []
        pairs = zip(self.members, states, strict=True)
        return [(spec, state) for spec, state in pairs if spec.run_id not in self.failed]

    def _saved(self, spec: RunSpec) -> dict[str, Any] | None:
        """The state of a run that was begun before; None where there is none or it is damaged, to begin anew."""
        data = self.store.read(checkpoint_file(spec.run_id))
        if data is None:
            return None
        try:
            state: dict[str, Any] = read_checkpoint(data, self.device)
            position(state)
            for name, parameter in self._bare(spec).named_parameters():
                parameter.data.copy_(state["model"][name])  # fails if the state is another model's
        except Exception as error:  # torch raises many types for data that is not a checkpoint
            if is_out_of_memory(error):
                raise
            self.begun_anew.append(spec.run_id)
            return None
        return state

    def _bare(self, spec: RunSpec) -> Classifier:
        return Classifier(spec.config, spec.facts.num_classes, spec.training.pooling, spec.training.padding)

    def _model(self, spec: RunSpec) -> Classifier:
        """A run's model before training: initialised from its seed and setting, then changed as its arm requires."""
        model = self._bare(spec)
        initialise(model, spec.seed, spec.setting_id)
        self.weights_digests[spec.run_id] = None
        if spec.weights_key is not None:
            folder = fetched_weights(self.store, spec.weights_key)
            self.weights_digests[spec.run_id] = load_backbone(model.backbone, folder)
        if spec.init == "shuffled":
            shuffle(model.backbone, spec.seed, spec.setting_id)
        if spec.init == "frozen":
            model.backbone.requires_grad_(False)
        return model.to(self.device)


def reason_of(error: BaseException) -> str:
    """An error as one line, for the `failure` column."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]


def fetched_weights(store: Store, key: str) -> Path:
    """The folder of pretrained weights on this node: the store's own folder if that is local, else a copy made once."""
    if store.local:
        return Path(store.root) / "weights" / key
    folder = Path(gettempdir()) / f"hyenadna-sweep-{os.getuid()}" / "weights" / key
    sizes = {info.base_name: info.size for info in store.infos(f"weights/{key}")}
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists() or (folder / name).stat().st_size != sizes.get(name):
            data = store.read(f"weights/{key}/{name}")
            if data is None:
                raise FileNotFoundError(f"{store.uri}/weights/{key}/{name} is missing")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder / f"{name}.{os.getpid()}"
            partial.write_bytes(data)
            partial.replace(folder / name)
    return folder
