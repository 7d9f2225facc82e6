"""Where a study's pretrained weights come from: its own pretraining, a path, or a name. All are kept in the store.

Workers read weights from the store only, so it does not matter on which machine they were made or found.
Next: `pretraining_jobs.py`, which makes those that the study pretrains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import torch

from hyena.data.synthetic import synthetic_genome
from hyena.data.tokenizer import encode
from hyena.errors import InputError
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Backbone
from hyena.training.pretraining import Corpus, read_corpus
from hyena.weights.checkpoint import CONFIG, load_backbone, weights_files
from hyena.weights.hub import find_weights, present_weights
from hyena.weights.tensor_files import SAFETENSORS
from sweep.earlier_notes import KEY_DIGITS, WeightsNote, places_of_weights, weights_notes
from sweep.pretrainings import PretrainingId
from sweep.store import Store
from sweep.study import Study
from sweep.trials import digest_of, numbers_of

#: Description of published weights that are not on this machine, and of those that a sweep makes.
DOWNLOADED, MADE = "would be downloaded", "would be pretrained"

#: The key of each set of weights by its pretraining.
Keys = dict[PretrainingId, str]


def corpus_of(study: Study) -> Corpus:
    """The corpus that the study pretrains on. Raises InputError where a file is not FASTA."""
    assert study.pretraining is not None
    if study.pretraining.corpus == "synthetic":
        return Corpus([encode(synthetic_genome(study.synthetic))])
    return read_corpus(Path(path) for path in study.pretraining.corpus)


def weights_keys(study: Study, corpus_digest: str) -> Keys:
    """For each pretraining of a study that makes its weights, the digest of all that determines them."""
    assert study.pretraining is not None
    keys = {}
    for one in study.pretrainings:
        recipe = dataclasses.asdict(study.pretraining.config_of(one))
        del recipe["log_every"]  # it changes the log, not the weights
        size = numbers_of(study.model(one.model))
        keys[one] = digest_of({"salt": one.model, "config": size, "corpus": corpus_digest, **recipe})
    return keys


def known_keys(study: Study, store: Store, folder: Path | None) -> tuple[Keys, dict[PretrainingId, str]]:
    """Keys of all weights, and a description of where missing ones would come from. Downloads nothing.

    For weights that are not on this machine, the key is the one noted by an earlier call, if the study still takes them
    from the same place; so runs that started from them are recognised as done.
    """
    if not study.pretrainings:
        return {}, {}
    if study.pretraining is not None:
        keys = weights_keys(study, corpus_of(study).digest)
        return keys, {one: MADE for one, key in keys.items() if not stored(store, key)}
    keys, missing = {}, {}
    noted = store.noted_study()
    same_place = places_of_weights(noted) == places_of_weights(study.resolved())
    notes = weights_notes(noted) if same_place else {}
    for one in study.pretrainings:
        path = _present(study, one, folder)
        if path is not None:
            keys[one] = _loaded(study, one.model, path)[0][:KEY_DIGITS]
        else:
            keys[one] = notes.get(one, f"unknown-{one.name}")
            missing[one] = _nowhere(study, one, folder) or DOWNLOADED
    _require_different(study, keys)
    return keys, missing


def require(study: Study, folder: Path | None) -> None:
    """InputError where a run needs weights that are nowhere to be found; before anything is downloaded or started."""
    if study.pretraining is None:
        for one in study.pretrainings:
            reason = _nowhere(study, one, folder)
            if reason is not None and _present(study, one, folder) is None:
                raise InputError(f"weights of {one.model}: {reason}")


def prepared_keys(study: Study, store: Store, folder: Path | None) -> tuple[Keys, list[dict[str, Any]]]:
    """Keys of all weights; and for `study.json` a note of each, with path and digest where the study did not make it.

    Published weights are downloaded if necessary; all that were found are copied into the store.
    """
    if not study.pretrainings:
        return {}, []
    if study.pretraining is not None:
        keys = weights_keys(study, corpus_of(study).digest)
        return keys, [_note(one, key) for one, key in keys.items()]
    keys, notes, absent = {}, [], {}
    for one in study.pretrainings:
        path = _present(study, one, folder) or find_weights(one.model, folder, study.weights.revision)
        digest, backbone = _loaded(study, one.model, path)
        keys[one] = digest[:KEY_DIGITS]
        notes.append({**_note(one, keys[one]), "path": str(path), "digest": digest})
        if not stored(store, keys[one]):
            absent[one] = backbone
    _require_different(study, keys)
    for one, backbone in absent.items():
        put(store, keys[one], backbone, study.model(one.model))
    return keys, notes


def _note(pretraining: PretrainingId, key: str) -> dict[str, Any]:
    return dataclasses.asdict(WeightsNote(**vars(pretraining), key=key))


def _require_different(study: Study, keys: Keys) -> None:
    """InputError where two files of a model hold the same weights, which would count as two pretrainings."""
    seen: dict[tuple[str, str], PretrainingId] = {}
    for one, key in keys.items():
        other = seen.setdefault((one.model, key), one)
        if other != one:
            paths = (study.weights.path_of(same) for same in (other, one))
            raise InputError(
                f"weights.paths.{one.model}: {' and '.join(map(str, paths))} hold the same weights, which are one "
                "pretraining: keep one of them"
            )


def _present(study: Study, pretraining: PretrainingId, folder: Path | None) -> Path | None:
    """Path of weights on this machine, named by the study or found by name; None where there are none."""
    path = study.weights.path_of(pretraining)
    if path is None:
        return present_weights(pretraining.model, folder, study.weights.revision)
    return path if path.exists() else None


def _nowhere(study: Study, pretraining: PretrainingId, folder: Path | None) -> str | None:
    """Why weights that are not present cannot be obtained, and what would be right; None for published ones."""
    model, path = pretraining.model, study.weights.path_of(pretraining)
    if path is not None:
        return f"[weights.paths] names {path}, which does not exist"
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


def largest_first(study: Study, pretrainings: Iterable[PretrainingId]) -> list[PretrainingId]:
    """Pretrainings in the order in which they are started; those of a size in the order of the study."""

    def rank(one: PretrainingId) -> tuple[int, str, int]:
        size = study.model(one.model)
        return -size.n_layer * size.d_model**2, one.model, study.pretrainings.index(one)

    return sorted(pretrainings, key=rank)
