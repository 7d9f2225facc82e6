"""Pretrained weights of a study: made here by its own pretraining, or the published ones; each kept in the store.

Workers read weights from the store alone, so it does not matter on which machine they were made or found.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
import torch

from hyena.checkpoint import find_weights, read_tensors, save_weights, tensors_digest, weights_present
from hyena.config import HyenaConfig
from hyena.pretraining import Pretraining as PretrainingRun
from hyena.pretraining import PretrainingRecord
from sweep.progress import Progress
from sweep.resources import Share
from sweep.store import Store
from sweep.study import Study
from sweep.trials import RunSpec, corpus_of, weights_keys


def known_keys(study: Study, store: Store, folder: Path | None) -> tuple[dict[str, str], list[str]]:
    """Key of each model's weights, and the models whose weights are not there yet. Downloads nothing."""
    if "pretrained" not in study.grid.init:
        return {}, []
    if study.pretraining is not None:
        keys = weights_keys(study, corpus_of(study).digest)
        return keys, [model for model, key in keys.items() if not stored(store, key)]
    present = {m: weights_present(m, folder) for m in study.grid.models}
    keys = {m: published_key(find_weights(m, folder)) if present[m] else f"unknown-{m}" for m in study.grid.models}
    return keys, [m for m in study.grid.models if not present[m]]


def prepared_keys(study: Study, store: Store, folder: Path | None) -> dict[str, str]:
    """Key of each model's weights; published ones are downloaded if need be, and put into the store."""
    if "pretrained" not in study.grid.init:
        return {}
    if study.pretraining is not None:
        return weights_keys(study, corpus_of(study).digest)
    keys = {}
    for model in study.grid.models:
        path = find_weights(model, folder)
        keys[model] = published_key(path)
        if not stored(store, keys[model]):
            put(store, keys[model], _backbone(study.model(model), path), study.model(model))
    return keys


def published_key(path: Path) -> str:
    """A key that depends on the tensors alone, not on where they lie or in which format."""
    return tensors_digest(read_tensors(path))[:16]


def stored(store: Store, key: str) -> bool:
    return "model.safetensors" in store.names(f"weights/{key}")


def put(store: Store, key: str, backbone: torch.nn.Module, config: HyenaConfig) -> None:
    """Save weights in the store; the tensors last, for they say that the weights are there."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(backbone, config, Path(folder))
        for name in ("config.json", "model.safetensors"):
            store.write(f"weights/{key}/{name}", (Path(folder) / name).read_bytes())


def make(
    study: Study, store: Store, keys: Mapping[str, str], runs: Collection[RunSpec], share: Share, progress: Progress
) -> dict[str, str]:
    """Pretrain every size whose weights some run needs and the store lacks, at once as far as the cluster holds them.

    Returns the reason for each model whose pretraining failed.
    """
    if study.pretraining is None:
        return {}
    needed = {run.model for run in runs if run.weights_key is not None}
    missing = [model for model in study.grid.models if model in needed and not stored(store, keys[model])]
    request = share.request()
    task = ray.remote(_pretrain).options(num_cpus=request["cpu"], num_gpus=request.get("gpu", 0))
    streams: dict[Any, str] = {}  # by their Ray generators
    for model in sorted(
        missing, key=lambda m: -(study.model(m).d_model ** 2) * study.model(m).n_layer
    ):  # longest first
        progress.pretrained(model, study.pretraining.config.steps, None)
        streams[task.remote(study, model, keys[model], store.uri, share)] = model
    broken = {}
    while streams:
        ready, _ = ray.wait(list(streams), num_returns=1)
        stream: Any = ready[0]
        model = streams[stream]
        try:
            progress.pretrained(model, study.pretraining.config.steps, ray.get(next(stream)))
        except StopIteration:
            del streams[stream]
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            broken[model] = f"pretraining failed: {type(cause).__name__}: {cause}".splitlines()[0][:500]
            del streams[stream]
    return broken


def _pretrain(study: Study, model: str, key: str, results: str, share: Share) -> Iterator[PretrainingRecord]:
    """A Ray task: pretrain one size, reporting as it goes; leave its curve and its weights in the store.

    A tenth of the way at most is lost with its worker.
    """
    device, store = share.occupy(), Store(results)
    assert study.pretraining is not None
    config = study.model(model)
    run = PretrainingRun(config, corpus_of(study), study.pretraining.config, device)
    checkpoint = f"checkpoints/{key}.pt"
    saved = store.read(checkpoint)
    if saved is not None:
        run.resume(torch.load(io.BytesIO(saved), map_location=device, weights_only=True))
    while not run.finished:
        record = run.advance()
        yield record
        if record.validation_bits_per_base is not None and not run.finished:
            buffer = io.BytesIO()
            torch.save(run.state(), buffer)
            store.write(checkpoint, buffer.getvalue())
    store.write_pretraining(key, [{"model": model, "weights_key": key, **vars(record)} for record in run.history])
    put(store, key, run.model.backbone, config)
    store.delete(checkpoint)


def _backbone(config: HyenaConfig, path: Path) -> torch.nn.Module:
    from hyena.checkpoint import load_backbone
    from hyena.model import Backbone

    backbone = Backbone(config)
    load_backbone(backbone, path)
    return backbone
