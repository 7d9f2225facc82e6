"""Weights into a model and out of it.

Read: every format that `tensor_files.py` knows. Written: `model.safetensors` and `config.json` in the names of -hf.
Loading is strict both ways: each tensor of the model must be in the file with its exact shape, and each tensor of the
file must be used or be one that a backbone does not need, by name. Next: `classifiers.py`, which keeps fine-tuned
models with their heads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.system.files import write_files
from hyena.weights.tensor_files import SAFETENSORS, read_tensors, weights_file

#: What describes the weights of a folder.
CONFIG = "config.json"
#: Who publishes on the hub.
HUB_ORGANISATION = "LongSafari"

#: What a classification head is called; its tensors may lie deeper (`classifier.0.weight`).
HEAD = re.compile(
    r"(score|classifier|classification_head|fc|head|decoder\.\d+)(\.\w+)*"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
#: Tensors of a file that a backbone does not need: heads, the language model's tied output, counters of metrics.
UNUSED = re.compile(rf"{HEAD.pattern}|lm_head\.(weight|bias)|(train|val|test)_torchmetrics\..+")

#: Values of a size that show in the shapes of its tensors.
SHAPE = ("d_model", "n_layer", "l_max", "d_inner", "emb_dim", "filter_order")


# ------------------------------------------------------------------------------------------------------------- reading


def load_backbone(backbone: nn.Module, path: Path) -> str:
    """Copy the weights at `path` into `backbone`, in place, and return the digest of its tensors.

    Args:
        backbone: `hyena.model.hyenadna.Backbone` on any device; its dtype must hold the file's numbers exactly. A
        classifier's
            head is no part of it and stays as it is.
        path: a file, or a folder that holds one, as for `read_tensors`.

    Where the model shares one tensor under several names (the sine frequency of a filter, the position features), a
    file may hold it once, as safetensors do, or several times but with equal values. Nothing is copied unless all fits.

    Raises InputError that names what is missing, unexpected, misshapen or not a number, and both sizes where they
    differ.
    """
    file = weights_file(path)
    tensors = read_tensors(file)
    model = named_tensors(backbone)
    config: HyenaConfig = backbone.config  # type: ignore[assignment]
    problems = _problems(model, tensors)
    if problems:
        problems += _sizes(tensors, config)
        raise InputError(f"{path}: not the weights of this model: {'; '.join(problems)}")
    _refuse_other_epsilon(file.with_name(CONFIG), config)
    with torch.no_grad():
        for names in _shared_names(model):
            source = next(tensors[name] for name in names if name in tensors)
            model[names[0]].copy_(source)
    return tensors_digest(model)


def named_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under their published names, `backbone.…`; aliases of the model's own memory."""
    return {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}


def _shared_names(model: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each distinct tensor of the model."""
    groups: dict[tuple[int, torch.Size], list[str]] = {}
    for name, tensor in model.items():
        groups.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    return list(groups.values())


def _problems(model: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    groups = _shared_names(model)
    missing = [names[0] for names in groups if not any(name in tensors for name in names)]
    unexpected = [name for name in tensors if name not in model and not UNUSED.fullmatch(name)]
    problems = [_list(missing, "is missing", "are missing"), _list(unexpected, "is unexpected", "are unexpected")]
    for names in groups:
        held = [name for name in names if name in tensors]
        wrong = [reason for name in held if (reason := misfit(name, tensors[name], model[name]))]
        if not wrong and any(not tensors[name].double().equal(tensors[held[0]].double()) for name in held[1:]):
            wrong = [f"{held[0]} and {held[-1]} differ, where the model has one tensor"]
        problems += wrong[:1]
    problems = [problem for problem in problems if problem]
    return problems if len(problems) <= 4 else [*problems[:3], f"and {len(problems) - 3} more such tensors"]


def _sizes(tensors: Mapping[str, Tensor], config: HyenaConfig) -> list[str]:
    """In words, the values of a size in which the tensors and the model differ; nothing where the tensors have none."""
    try:
        found = size_of(tensors, Path())
    except InputError:
        return []
    differ = [name for name in SHAPE if getattr(found, name) != getattr(config, name)]
    if not differ:
        return []
    theirs, ours = (", ".join(f"{name} = {getattr(one, name)}" for name in differ) for one in (found, config))
    return [f"the weights are of a size with {theirs}, the model has {ours}"]


def size_of(tensors: Mapping[str, Tensor], file: Path) -> HyenaConfig:
    """The size that these tensors (named as `read_tensors` does) are of; dropout, which leaves no trace, as published.

    Raises InputError that names `file` where they are no HyenaDNA's.
    """
    layers = [int(found[1]) for name in tensors if (found := re.match(r"backbone\.layers\.(\d+)\.", name))]
    first = "backbone.layers.0"
    try:
        _, l_max, emb_dim = tensors[f"{first}.mixer.filter_fn.pos_emb.z"].shape
        d_inner, d_model = tensors[f"{first}.mlp.fc1.weight"].shape
        filter_order, _ = tensors[f"{first}.mixer.filter_fn.implicit_filter.0.weight"].shape
        return HyenaConfig(d_model, max(layers) + 1, l_max, d_inner, emb_dim, filter_order)
    except (KeyError, ValueError) as error:  # a tensor that is missing, or of too few or too many axes
        raise InputError(f"{file}: no HyenaDNA ({error})") from None


def _refuse_other_epsilon(path: Path, config: HyenaConfig) -> None:
    """The one value of a network that no tensor shows: `config.json` may say it, and then it must be the model's."""
    try:
        described = description(path)
    except InputError:  # it describes no HyenaDNA, and the tensors fit without it
        return
    epsilon = described.get("layer_norm_epsilon", config.layer_norm_eps)
    if described.get("model_type") == "hyenadna" and epsilon != config.layer_norm_eps:
        raise InputError(
            f"{path}: layer_norm_epsilon = {epsilon}, the model has layer_norm_eps = {config.layer_norm_eps}"
        )


def description(path: Path) -> dict[str, Any]:
    """The fields of a `config.json`; none where there is no such file. Raises InputError where it is no description."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("id2label", {}), dict):
        raise InputError(f"{path}: not the description of a model")
    return found


def misfit(name: str, tensor: Tensor, wanted: Tensor) -> str | None:
    """Why `tensor` cannot stand where the model has `wanted`, or None."""
    if tensor.shape != wanted.shape:
        return f"{name} has shape {tuple(tensor.shape)}, the model needs {tuple(wanted.shape)}"
    if not tensor.is_floating_point() or not _holds(wanted.dtype, tensor.dtype):
        return f"{name} is {tensor.dtype}, which {wanted.dtype} cannot hold exactly"
    if not tensor.isfinite().all():
        return f"{name} holds values that are not finite"
    return None


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every number of the narrow type is one of the wide type, as far as torch converts them by itself."""
    try:
        return torch.promote_types(narrow, wide) == wide
    except RuntimeError:  # 8-bit floats, which need their scales
        return False


def _list(names: list[str], one: str, many: str) -> str:
    if len(names) <= 2:
        return f"{' and '.join(names)} {one if len(names) == 1 else many}" if names else ""
    return f"{names[0]} and {len(names) - 1} more {many}"


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, over the sorted names with dtype, shape and bytes of each tensor.

    It is the same on every device and for every memory layout, and differs with any bit of any tensor.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- writing


def save_weights(backbone: nn.Module, config: HyenaConfig, folder: Path) -> str:
    """Write `model.safetensors` and `config.json` as LongSafari/NAME-hf has them; returns the backbone's digest.

    Each file appears whole or not at all, the weights last: a folder that holds them is complete. They read back bit
    for bit by `load_backbone`, and load on the hub's side with the code of the published -hf repositories.
    """
    write_files(weights_files(backbone, config), folder)
    return tensors_digest(named_tensors(backbone))


def weights_files(
    backbone: nn.Module,
    config: HyenaConfig,
    head: Mapping[str, Tensor] | None = None,
    description: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """What `save_weights` writes, by the file's name and in that order.

    `head` and `description` are tensors and fields that go in beside the backbone's (`classifiers.py`).
    """
    # Copies, because safetensors refuses tensors that share memory, and the -hf code wants each under its own name.
    named = {f"hyena.{name}": tensor for name, tensor in named_tensors(backbone).items()} | dict(head or {})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}
    fields = {**hub_config(config), **(description or {})}
    return {
        CONFIG: (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode(),
        SAFETENSORS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
    }


def hub_config(config: HyenaConfig) -> dict[str, object]:
    """`config.json` of a -hf repository: the fields of its `HyenaConfig`, and where its code is found."""
    code = f"{HUB_ORGANISATION}/hyenadna-small-32k-seqlen-hf--"
    models = {
        "AutoModel": "HyenaDNAModel",
        "AutoModelForCausalLM": "HyenaDNAForCausalLM",
        "AutoModelForSequenceClassification": "HyenaDNAForSequenceClassification",
    }
    return {
        "model_type": "hyenadna",
        "architectures": ["HyenaDNAModel"],
        "auto_map": {
            "AutoConfig": f"{code}configuration_hyena.HyenaConfig",
            **{auto: f"{code}modeling_hyena.{name}" for auto, name in models.items()},
        },
        "vocab_size": 12,
        "pad_vocab_size_multiple": 8,
        "d_model": config.d_model,
        "d_inner": config.d_inner,
        "n_layer": config.n_layer,
        "max_seq_len": config.l_max,
        "emb_dim": config.emb_dim,
        "filter_order": config.filter_order,
        "num_inner_mlps": 2,
        "hyena_order": 2,
        "short_filter_order": 3,
        "activation_freq": 10,
        "train_freq": True,
        "use_bias": True,
        "embed_dropout": config.embed_dropout,
        "resid_dropout": config.resid_dropout,
        "hyena_dropout": 0.0,
        "hyena_filter_dropout": 0.0,
        "layer_norm_epsilon": config.layer_norm_eps,
        "initializer_range": 0.02,
    }
