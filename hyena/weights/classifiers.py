"""Fine-tuned classifiers on disk: backbone and head in one folder that the hub and this program read.

The backbone stands as in a published -hf repository, the head as `score.weight` and `score.bias`, and `config.json`
says what the logits depend on besides: classes, pooling, padding. The hub's own HyenaDNAForSequenceClassification has
no bias and scores one position instead of a mean, so its logits are others than those of the model that was saved; its
hidden states are the same. Also read: what the published fine-tuning code saves. Next: `checkpoint.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import get_args

import torch

from hyena.errors import InputError
from hyena.model.config import HyenaConfig, Padding, Pooling
from hyena.model.hyenadna import Classifier, without_memory
from hyena.system.files import write_files
from hyena.weights.checkpoint import (
    CONFIG,
    HEAD,
    description,
    load_backbone,
    misfit,
    named_tensors,
    size_of,
    tensors_digest,
    weights_files,
)
from hyena.weights.tensor_files import read_tensors, weights_file

#: What a head is called: by the hub and here, and by the published fine-tuning code.
HEADS = ("score", "head.output_transform")
#: In a saved classifier: the description, and what names and places one tensor.
DESCRIPTION_BYTES, NAME_BYTES = 1_200, 110
#: The published way, of files that do not say.
PUBLISHED_WAY = {"pooling": "all", "padding": "left"}


def save_classifier(model: Classifier, classes: Sequence[str], folder: Path) -> str:
    """Write `model.safetensors` and `config.json`; returns the backbone's digest. `load_classifier` reads them back.

    Raises ValueError where `classes` are not as many as the head's outputs.
    """
    write_files(classifier_files(model, classes), folder)
    return tensors_digest(named_tensors(model.backbone))


def classifier_files(model: Classifier, classes: Sequence[str]) -> dict[str, bytes]:
    """What `save_classifier` writes, by the file's name; the tensors last, for they say that all is there."""
    head = model.head.output_transform
    if len(classes) != head.out_features:
        raise ValueError(f"{len(classes)} class names for a head of {head.out_features} outputs")
    description = {
        "architectures": ["HyenaDNAForSequenceClassification"],
        "num_labels": len(classes),
        "id2label": {str(label): name for label, name in enumerate(classes)},
        "label2id": {name: label for label, name in enumerate(classes)},
        "pooling": model.pooling,
        "padding": model.padding,
    }
    tensors = {"score.weight": head.weight, "score.bias": head.bias}
    return weights_files(model.backbone, model.backbone.config, tensors, description)


@cache
def classifier_bytes(config: HyenaConfig, num_classes: int) -> int:
    """About how many bytes these files have. What layers share, such as the position features, counts in each."""
    tensors = without_memory(config, num_classes).state_dict().values()
    return DESCRIPTION_BYTES + sum(tensor.nbytes + NAME_BYTES for tensor in tensors)


def load_classifier(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """A fine-tuned model and the names of its classes ("0", "1", … where nothing names them), on the CPU.

    The size is that of the tensors. Loading is as strict as `load_backbone`; a head without a bias has a bias of 0.
    Pooling and padding are what `config.json` beside the weights says, else the published ones.

    Raises InputError that names the file and what is wrong with it.
    """
    file = weights_file(path)
    tensors, described = read_tensors(file), description(file.with_name(CONFIG))
    name = next((name for name in HEADS if f"{name}.weight" in tensors), None)
    if name is None or tensors[f"{name}.weight"].dim() != 2:
        other = next((tensor for tensor in tensors if HEAD.fullmatch(tensor)), None)
        found = f"; {other} is of a head whose pooling this program does not know" if other else ""
        raise InputError(f"{file}: no classifier's head ({' or '.join(f'{name}.weight' for name in HEADS)}){found}")
    number = len(tensors[f"{name}.weight"])
    way = {key: described.get(key, default) for key, default in PUBLISHED_WAY.items()}
    for key, known in (("pooling", get_args(Pooling)), ("padding", get_args(Padding))):
        if way[key] not in known:
            raise InputError(f"{file.with_name('config.json')}: {key} = {way[key]!r}; known: {', '.join(known)}")
    model = Classifier(size_of(tensors, file), number, **way)
    load_backbone(model.backbone, file)
    with torch.no_grad():
        model.head.output_transform.bias.zero_()
        for part, parameter in model.head.output_transform.named_parameters():
            stored = tensors.get(f"{name}.{part}")
            if stored is None and part == "bias":
                continue
            assert stored is not None
            if reason := misfit(f"{name}.{part}", stored, parameter):
                raise InputError(f"{file}: not a classifier's head: {reason}")
            parameter.copy_(stored)
    labels = described.get("id2label", {})
    return model, tuple(str(labels.get(str(label), label)) for label in range(number))
