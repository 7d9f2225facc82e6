"""Fine-tuned classifiers on disk: backbone and head in one folder that the hub and this program can load.

The backbone is saved as in a published -hf repository and the head as `score.weight` and `score.bias`; `config.json`
holds classes, pooling and padding, on which the logits also depend. The hub's own HyenaDNAForSequenceClassification has
no bias and scores one position instead of a mean: it gives the hidden states of the saved model, but other logits. The
files of the published fine-tuning code can be loaded, too. Next: `checkpoint.py`.
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
    load_backbone,
    misfit,
    named_tensors,
    read_config,
    size_of,
    tensors_digest,
    weights_files,
)
from hyena.weights.tensor_files import read_tensors, weights_file

#: Names of a head: on the hub and here, and in the published fine-tuning code.
HEADS = ("score", "head.output_transform")
#: Approximate sizes in a saved classifier: of the description, and of the name and offsets of one tensor.
DESCRIPTION_BYTES, NAME_BYTES = 1_200, 110
#: The published values, for files without them.
PUBLISHED_OPTIONS = {"pooling": "all", "padding": "left"}


def save_classifier(model: Classifier, classes: Sequence[str], folder: Path) -> str:
    """Write `model.safetensors` and `config.json`; returns the backbone's digest. `load_classifier` reads them back.

    Raises ValueError if the number of classes differs from the number of the head's outputs.
    """
    write_files(classifier_files(model, classes), folder)
    return tensors_digest(named_tensors(model.backbone))


def classifier_files(model: Classifier, classes: Sequence[str]) -> dict[str, bytes]:
    """The files that `save_classifier` writes: content by name, in the order of writing, the weights last."""
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
    """Approximate size of these files. Tensors that layers share, such as position features, count in each layer."""
    tensors = without_memory(config, num_classes).state_dict().values()
    return DESCRIPTION_BYTES + sum(tensor.nbytes + NAME_BYTES for tensor in tensors)


def load_classifier(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """A fine-tuned model on the CPU, and the names of its classes ("0", "1", … if the file has none).

    The size follows from the tensors. Loading is as strict as `load_backbone`; a head without bias gets a bias of 0.
    Pooling and padding come from `config.json` beside the weights, else they are the published ones.

    Raises InputError that names the file and the problem.
    """
    file = weights_file(path)
    tensors, described = read_tensors(file), read_config(file.with_name(CONFIG))
    name = next((name for name in HEADS if f"{name}.weight" in tensors), None)
    if name is None or tensors[f"{name}.weight"].dim() != 2:
        other = next((tensor for tensor in tensors if HEAD.fullmatch(tensor)), None)
        found = f"; {other} belongs to a head of unknown pooling" if other else ""
        raise InputError(
            f"{file}: no classification head; expected {' or '.join(f'{name}.weight' for name in HEADS)}{found}"
        )
    number = len(tensors[f"{name}.weight"])
    options = {key: described.get(key, default) for key, default in PUBLISHED_OPTIONS.items()}
    for key, known in (("pooling", get_args(Pooling)), ("padding", get_args(Padding))):
        if options[key] not in known:
            raise InputError(
                f"{file.with_name('config.json')}: {key} = {options[key]!r}: must be one of {', '.join(known)}"
            )
    model = Classifier(size_of(tensors, file), number, **options)
    load_backbone(model.backbone, file)
    with torch.no_grad():
        model.head.output_transform.bias.zero_()
        for part, parameter in model.head.output_transform.named_parameters():
            stored = tensors.get(f"{name}.{part}")
            if stored is None and part == "bias":
                continue
            assert stored is not None
            if reason := misfit(f"{name}.{part}", stored, parameter):
                raise InputError(f"{file}: not a classification head: {reason}")
            parameter.copy_(stored)
    labels = described.get("id2label", {})
    return model, tuple(str(labels.get(str(label), label)) for label in range(number))
