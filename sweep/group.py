"""The runs of one trial on their worker: from specifications to models, in step from where their checkpoints left them.

They differ in their seed alone and are trained as one model (`hyena/model/stacked.py`); a single one exactly as it
would be by itself. Where a death left them at different steps, those behind are trained first, until all are level.
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
from hyena.training.loop import EpochRecord, PreparedData, RunResult, TrainingError, position
from hyena.training.resumption import checkpoint_bytes, read_checkpoint
from hyena.training.stacked_run import StackedRun
from hyena.weights.checkpoint import load_backbone
from sweep.store import Store
from sweep.trials import RunSpec


def checkpoint_file(run_id: str) -> str:
    """Where in the store a run that is not finished keeps its state."""
    return f"checkpoints/{run_id}.pt"


class Group:
    """Runs in step. `failed` holds the reason for each that failed; the others go on without it."""

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
        """Reads the checkpoints of runs that were begun before; `pause` and `captured` as `Training` has them.

        Raises StoreError where the store refuses.
        """
        self.data, self.store, self.device, self.pause, self.captured = data, store, device, pause, captured
        self.weights_digests: dict[str, str | None] = {}
        self.failed: dict[str, str] = {}
        self.begun_anew: list[str] = []  # runs whose checkpoint cannot be read
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
        """Of the next epoch, what is done already: 0 unless the last `advance` was paused within it."""
        return self.stack.under_way.steps / self.stack.steps_per_epoch if self.stack.under_way else 0.0

    def advance(self) -> None:
        """One epoch of the runs that are furthest behind, or what is left of it, or as much as `pause` allows."""
        if not self.stack.finished:
            self.stack.train_and_evaluate()
            for spec, seed in zip(self.members, self.stack.progress, strict=True):
                if seed.error is not None:
                    self.failed.setdefault(spec.run_id, reason_of(seed.error))
        if self.waiting and not self.part and (not self.stack.running or self._is_level_with_another()):
            self._join()

    def latest(self) -> list[EpochRecord]:
        """The last epoch of each run that goes on."""
        return [seed.history[-1] for seed in self.stack.running if seed.history]

    def checkpoints(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of the checkpoint of each run that goes on."""
        for spec, state in [*self._going_on(), *self.waiting]:
            if state is not None:
                yield checkpoint_file(spec.run_id), checkpoint_bytes(state)

    def results(self) -> Iterator[tuple[RunSpec, RunResult]]:
        """Of each run that ended well."""
        for spec, result in zip(self.members, self.stack.results(), strict=True):
            if not isinstance(result, TrainingError):
                yield spec, result

    def models(self) -> Iterator[tuple[RunSpec, Classifier]]:
        """The same runs' fine-tuned models."""
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
        seeds = [spec.seed for spec in self.members]
        models = [self._model(spec) for spec in self.members]
        self.stack = StackedRun(models, self.data, self.members[0].training, seeds, self.captured)
        self.stack.pause = self.pause
        begun = [state for _, state in level if state is not None]
        if begun:
            self.stack.resume(begun)

    def _is_level_with_another(self) -> bool:
        """Whether a run that waits stands where the stack stands, or behind it."""
        return min(position(state) for _, state in self.waiting) <= (self.epoch, 0)

    def _going_on(self) -> list[tuple[RunSpec, dict[str, Any] | None]]:
        """The members that have not failed, with their states."""
        states = self.stack.state() if self.members else []
        pairs = zip(self.members, states, strict=True)
        return [(spec, state) for spec, state in pairs if spec.run_id not in self.failed]

    def _saved(self, spec: RunSpec) -> dict[str, Any] | None:
        """The state of a run that was begun before; None, too, where it is damaged: nothing but time is lost."""
        data = self.store.read(checkpoint_file(spec.run_id))
        if data is None:
            return None
        try:
            state: dict[str, Any] = read_checkpoint(data, self.device)
            position(state)
            for name, parameter in self._bare(spec).named_parameters():
                parameter.data.copy_(state["model"][name])  # fails unless it is this model's
        except Exception as error:  # of any kind, and each has its own for what is no checkpoint
            if is_out_of_memory(error):
                raise
            self.begun_anew.append(spec.run_id)
            return None
        return state

    def _bare(self, spec: RunSpec) -> Classifier:
        return Classifier(spec.config, spec.facts.num_classes, spec.training.pooling, spec.training.padding)

    def _model(self, spec: RunSpec) -> Classifier:
        """A run's model as it starts: initialised from its seed, then as its arm says."""
        model = self._bare(spec)
        initialise(model, spec.seed)
        self.weights_digests[spec.run_id] = None
        if spec.weights_key is not None:
            folder = fetched_weights(self.store, spec.weights_key)
            self.weights_digests[spec.run_id] = load_backbone(model.backbone, folder)
        if spec.init == "shuffled":
            shuffle(model.backbone, spec.seed)
        if spec.init == "frozen":
            model.backbone.requires_grad_(False)
        return model.to(self.device)


def reason_of(error: BaseException) -> str:
    """An error in one line of a row."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]


def fetched_weights(store: Store, key: str) -> Path:
    """The folder of pretrained weights on this node: the store's own if it is local, else a copy made once."""
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
