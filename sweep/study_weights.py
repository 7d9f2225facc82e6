"""Pretrained weights of a study: made by its own pretraining, or found by path or by name; each kept in the store.

Workers read weights from the store alone, so it does not matter on which machine they were made or found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import ray
import safetensors
import torch

from hyena.errors import InputError
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Backbone
from hyena.training.pretraining import Pretraining as PretrainingRun
from hyena.training.pretraining import PretrainingRecord
from hyena.training.resumption import checkpoint_bytes, read_checkpoint
from hyena.weights.checkpoint import CONFIG, load_backbone, weights_files
from hyena.weights.hub import find_weights, present_weights
from hyena.weights.tensor_files import SAFETENSORS
from sweep.earlier_notes import weights_notes
from sweep.resources import Share
from sweep.schema import PretrainingRow
from sweep.store import Store
from sweep.study import Study
from sweep.trials import RunSpec, corpus_of, weights_keys

#: Of a digest, what names weights in the store and in the identity of a run.
KEY_DIGITS = 16
#: What is said of published weights that are not here.
DOWNLOADED = "would be downloaded"


def known_keys(study: Study, store: Store, folder: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """Key of each model's weights, and what is to be said of those that are not there yet. Downloads nothing.

    Of weights that are not on this machine it is the key that an earlier call noted, where the study still takes them
    from the same place, so that runs which started from them are known for done.
    """
    models = study.pretrained_models
    if not models:
        return {}, {}
    if study.pretraining is not None:
        keys = weights_keys(study, corpus_of(study).digest)
        return keys, {model: "would be made" for model in models if not stored(store, keys[model])}
    keys, missing = {}, {}
    noted = store.noted_study()
    same_place = noted.get("weights") == study.resolved()["weights"]
    notes = weights_notes(noted) if same_place else {}
    for model in models:
        path = _present(study, model, folder)
        if path is not None:
            keys[model] = _loaded(study, model, path)[0][:KEY_DIGITS]
        else:
            found = notes.get(model)
            keys[model] = found.digest[:KEY_DIGITS] if found else f"unknown-{model}"
            missing[model] = _nowhere(study, model, folder) or DOWNLOADED
    return keys, missing


def require(study: Study, folder: Path | None) -> None:
    """InputError, before anything is fetched or started, where a run takes weights that are nowhere to be had."""
    if study.pretraining is None:
        for model in study.pretrained_models:
            reason = _nowhere(study, model, folder)
            if reason is not None and _present(study, model, folder) is None:
                raise InputError(f"weights of {model}: {reason}")


def prepared_keys(study: Study, store: Store, folder: Path | None) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Key of each model's weights, and where those that the study does not make were found, with their digest.

    Published ones are downloaded if need be; found ones are put into the store.
    """
    models = study.pretrained_models
    if not models:
        return {}, {}
    if study.pretraining is not None:
        return weights_keys(study, corpus_of(study).digest), {}
    keys, found = {}, {}
    for model in models:
        path = _present(study, model, folder) or find_weights(model, folder, study.weights.revision)
        digest, backbone = _loaded(study, model, path)
        keys[model], found[model] = digest[:KEY_DIGITS], {"path": str(path), "digest": digest}
        if not stored(store, keys[model]):
            put(store, keys[model], backbone, study.model(model))
    return keys, found


def _present(study: Study, model: str, folder: Path | None) -> Path | None:
    """Where a model's weights lie on this disk: named by the study, or found by name."""
    path = study.weights.paths.get(model)
    if path is None:
        return present_weights(model, folder, study.weights.revision)
    return path if path.exists() else None


def _nowhere(study: Study, model: str, folder: Path | None) -> str | None:
    """Of weights that are not present: why they are nowhere else, and what would be right; None of published ones."""
    if model in study.weights.paths:
        return f"[weights.paths] names {study.weights.paths[model]}, where there is nothing"
    if model in PUBLISHED:
        return None
    put = f"put them at {folder / model}" if folder else f"give --weights a folder with '{model}' in it"
    return f"the size is the study's own: {put}, name them in [weights.paths], or make them by a [pretraining] table"


def _loaded(study: Study, model: str, path: Path) -> tuple[str, Backbone]:
    """Weights from a file, and their digest, which depends neither on where they lie nor on the file's format."""
    backbone = Backbone(study.model(model))
    return load_backbone(backbone, path), backbone


def stored(store: Store, key: str) -> bool:
    """Whether the store holds these weights whole. Damaged ones are not there: they are made or put there anew."""
    try:
        safetensors.deserialize(store.read(f"weights/{key}/{SAFETENSORS}") or b"")
    except safetensors.SafetensorError:
        return False
    return store.read_json(f"weights/{key}/{CONFIG}") is not None


def put(store: Store, key: str, backbone: torch.nn.Module, config: HyenaConfig) -> None:
    """Save weights in the store; the tensors last, for they say that the weights are there."""
    for name, content in weights_files(backbone, config).items():
        store.write(f"weights/{key}/{name}", content)


class Making:
    """The study's own pretrainings under way: every size whose weights some run needs and the store lacks.

    They are Ray tasks, so they share the cluster with runs that need no weights. `broken` holds the reason for each
    model whose pretraining failed.
    """

    def __init__(
        self, study: Study, store: Store, keys: Mapping[str, str], runs: Collection[RunSpec], share: Share
    ) -> None:
        self.broken: dict[str, str] = {}
        self.latest: dict[str, PretrainingRecord | None] = {}
        self.notes: dict[str, str] = {}  # what is to be said of a pretraining before its first record
        self.streams: dict[Any, str] = {}  # Ray's generators of records, and whose they are
        self.begun: set[str] = set()  # models whose task has started on some node
        self.share = share
        self.steps = study.pretraining.config.steps if study.pretraining else 0
        if study.pretraining is None:
            return
        needed = {run.model for run in runs if run.weights_key is not None}
        missing = [model for model in needed if not stored(store, keys[model])]
        task = ray.remote(_pretrain).options(num_cpus=share.cpus, num_gpus=share.gpus)
        for model in sorted(missing, key=lambda m: (-study.model(m).n_layer * study.model(m).d_model ** 2, m)):
            self.latest[model] = None
            self.streams[task.remote(study, model, keys[model], store.uri, share)] = model

    @property
    def pending(self) -> list[str]:
        """Models whose pretraining waits for a node."""
        return [model for model in self.streams.values() if model not in self.begun]

    def poll(self, wait_s: float = 0.0) -> list[str]:
        """Take what has come since the last call, or comes first within `wait_s`; returns the models that moved."""
        if not self.streams:
            return []
        number, timeout = (1, wait_s) if wait_s else (len(self.streams), 0)
        ready: list[Any] = ray.wait(list(self.streams), num_returns=number, timeout=timeout)[0]
        moved = []
        for stream in ready:
            model = self.streams[stream]
            try:
                found = ray.get(next(stream))
                self.begun.add(model)
                if isinstance(found, str):
                    self.notes[model] = found
                elif found is not None:
                    self.latest[model] = found
                if found is not None:
                    moved.append(model)
            except StopIteration:
                del self.streams[stream]
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                self.broken[model] = f"pretraining failed: {type(cause).__name__}: {cause}".splitlines()[0][:500]
                del self.streams[stream]
        return moved


def _pretrain(
    study: Study, model: str, key: str, results: str, share: Share
) -> Iterator[PretrainingRecord | str | None]:
    """A Ray task: pretrain one size, reporting as it goes; leave its curve and its weights in the store.

    None is the first report: that it has started. Text is a note: its checkpoint was damaged. A tenth of the way at
    most is lost with its worker.
    """
    yield None
    device, store = share.occupy(), Store(results)
    assert study.pretraining is not None
    config = study.model(model)
    run = PretrainingRun(config, corpus_of(study), study.pretraining.config, device)
    checkpoint = f"checkpoints/{key}.pt"
    saved = store.read(checkpoint)
    if saved is not None:
        try:
            run.resume(read_checkpoint(saved))
        except InputError as fault:  # nothing but time is lost with it
            yield f"begins anew, because its checkpoint {checkpoint} cannot be used: {fault}"
            run = PretrainingRun(config, corpus_of(study), study.pretraining.config, device)
    while not run.finished:
        record = run.advance()
        yield record
        if record.validation_bits_per_base is not None and not run.finished:
            store.write(checkpoint, checkpoint_bytes(run.state()))
    rows = [{"model": model, "weights_key": key, **vars(record)} for record in run.history]
    store.write_pretraining(key, cast(list[PretrainingRow], rows))
    put(store, key, run.model.backbone, config)
    store.delete(checkpoint)
