"""Where a study's pretrained weights come from: its own pretraining, a path, or a name. All are kept in the store.

Workers read weights from the store only, so it does not matter on which machine they were made or found.
Next: `pretraining_jobs.py`, which makes those that the study pretrains.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import safetensors
import torch

from hyena.errors import InputError
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Backbone
from hyena.weights.checkpoint import CONFIG, load_backbone, weights_files
from hyena.weights.hub import find_weights, present_weights
from hyena.weights.tensor_files import SAFETENSORS
from sweep.earlier_notes import weights_notes
from sweep.store import Store
from sweep.study import Study
from sweep.trials import corpus_of, weights_keys

#: Digits of a digest that name weights in the store and in the identity of a run.
KEY_DIGITS = 16
#: Description of published weights that are not on this machine.
DOWNLOADED = "would be downloaded"


def known_keys(study: Study, store: Store, folder: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """Key of each model's weights, and a description of where missing ones would come from. Downloads nothing.

    For weights that are not on this machine, the key is the one noted by an earlier call, if the study still takes them
    from the same place; so runs that started from them are recognised as done.
    """
    models = study.pretrained_models
    if not models:
        return {}, {}
    if study.pretraining is not None:
        keys = weights_keys(study, corpus_of(study).digest)
        return keys, {model: "would be pretrained" for model in models if not stored(store, keys[model])}
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
    """InputError where a run needs weights that are nowhere to be found; before anything is downloaded or started."""
    if study.pretraining is None:
        for model in study.pretrained_models:
            reason = _nowhere(study, model, folder)
            if reason is not None and _present(study, model, folder) is None:
                raise InputError(f"weights of {model}: {reason}")


def prepared_keys(study: Study, store: Store, folder: Path | None) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Key of each model's weights; and path and digest of those that the study does not pretrain itself.

    Published weights are downloaded if necessary; all that were found are copied into the store.
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
    """Path of a model's weights on this machine, named by the study or found by name; None where there are none."""
    path = study.weights.paths.get(model)
    if path is None:
        return present_weights(model, folder, study.weights.revision)
    return path if path.exists() else None


def _nowhere(study: Study, model: str, folder: Path | None) -> str | None:
    """Why weights that are not present cannot be obtained, and what would be right; None for published ones."""
    if model in study.weights.paths:
        return f"[weights.paths] names {study.weights.paths[model]}, which does not exist"
    if model in PUBLISHED:
        return None
    place = f"put them at {folder / model}" if folder else f"give --weights a folder with '{model}' in it"
    return f"the size is defined by the study: {place}, name them in [weights.paths], or add a [pretraining] table"


def _loaded(study: Study, model: str, path: Path) -> tuple[str, Backbone]:
    """Weights from a file, and their digest, which depends on neither the path nor the format of the file."""
    backbone = Backbone(study.model(model))
    return load_backbone(backbone, path), backbone


def stored(store: Store, key: str) -> bool:
    """Whether the store holds these weights intact. Damaged ones count as missing, and are replaced."""
    try:
        safetensors.deserialize(store.read(f"weights/{key}/{SAFETENSORS}") or b"")
    except safetensors.SafetensorError:
        return False
    return store.read_json(f"weights/{key}/{CONFIG}") is not None


def put(store: Store, key: str, backbone: torch.nn.Module, config: HyenaConfig) -> None:
    """Save weights in the store; the tensors last, because their presence marks the weights as complete."""
    for name, content in weights_files(backbone, config).items():
        store.write(f"weights/{key}/{name}", content)


def largest_first(study: Study, models: Iterable[str]) -> list[str]:
    """Models in the order in which their pretrainings are started."""
    return sorted(models, key=lambda name: (-study.model(name).n_layer * study.model(name).d_model ** 2, name))
