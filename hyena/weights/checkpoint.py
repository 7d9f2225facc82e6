"""Loading weights into a model, and saving them.

Every format of `tensor_files.py` can be loaded; `model.safetensors` and `config.json` are saved, under the names of the
published -hf repositories. Loading is strict in both directions: each tensor of the model must be in the file with its
exact shape, and each tensor of the file must be used or have a name that a backbone is known not to need. Next:
`classifiers.py`, which saves fine-tuned models with their heads.
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

#: The file that describes the weights in a folder.
CONFIG = "config.json"
#: The publisher on the Hugging Face hub.
HUB_ORGANISATION = "LongSafari"

#: Names of the tensors of a classification head, at any depth (`classifier.0.weight`).
HEAD = re.compile(
    r"(score|classifier|classification_head|fc|head|decoder\.\d+)(\.\w+)*"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
#: Tensors that a backbone does not need: heads, the language model's tied output, counters of metrics.
UNUSED = re.compile(rf"{HEAD.pattern}|lm_head\.(weight|bias)|(train|val|test)_torchmetrics\..+")

#: Fields of HyenaConfig that follow from the shapes of the tensors.
SHAPE = ("d_model", "n_layer", "l_max", "d_inner", "emb_dim", "filter_order")


# ------------------------------------------------------------------------------------------------------------- reading


def load_backbone(backbone: nn.Module, path: Path) -> str:
    """Copy the weights at `path` into `backbone`, in place, and return the digest of its tensors.

    Args:
        backbone: `hyena.model.hyenadna.Backbone` on any device, of a dtype that represents the file's numbers exactly.
        path: a file, or a folder that holds one, as for `read_tensors`.

    A tensor that the model shares under several names (the sine frequency of a filter, the position features) may be in
    the file once, as safetensors stores it, or several times with equal values. Nothing is copied unless everything
    fits.

    Raises InputError that names the tensors that are missing, unexpected, of a wrong shape or not finite, and, if they
    differ, both sizes.
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
    """Parameters and buffers under their published names, `backbone.…`; they share the model's memory."""
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
            wrong = [f"{held[0]} and {held[-1]} differ, but are one tensor in the model"]
        problems += wrong[:1]
    problems = [problem for problem in problems if problem]
    return problems if len(problems) <= 4 else [*problems[:3], f"and {len(problems) - 3} more such tensors"]


def _sizes(tensors: Mapping[str, Tensor], config: HyenaConfig) -> list[str]:
    """A sentence on the fields of the size in which tensors and model differ; none if the tensors have no size."""
    try:
        found = size_of(tensors, Path())
    except InputError:
        return []
    differ = [name for name in SHAPE if getattr(found, name) != getattr(config, name)]
    if not differ:
        return []
    theirs, ours = (", ".join(f"{name} = {getattr(one, name)}" for name in differ) for one in (found, config))
    return [f"the weights have {theirs}, the model has {ours}"]


def size_of(tensors: Mapping[str, Tensor], file: Path) -> HyenaConfig:
    """The size of these tensors, named as by `read_tensors`; with the published dropout, which tensors do not show.

    Raises InputError that names `file` if they are not those of a HyenaDNA model.
    """
    layers = [int(found[1]) for name in tensors if (found := re.match(r"backbone\.layers\.(\d+)\.", name))]
    first = "backbone.layers.0"
    try:
        _, l_max, emb_dim = tensors[f"{first}.mixer.filter_fn.pos_emb.z"].shape
        d_inner, d_model = tensors[f"{first}.mlp.fc1.weight"].shape
        filter_order, _ = tensors[f"{first}.mixer.filter_fn.implicit_filter.0.weight"].shape
        return HyenaConfig(d_model, max(layers) + 1, l_max, d_inner, emb_dim, filter_order)
    except (KeyError, ValueError) as error:  # a missing tensor, or one with a wrong number of axes
        raise InputError(f"{file}: not a HyenaDNA model ({error})") from None


def _refuse_other_epsilon(path: Path, config: HyenaConfig) -> None:
    """Raise InputError if `config.json` states another layer_norm_epsilon, the one value that no tensor shows."""
    try:
        described = read_config(path)
    except InputError:  # not a description of a model; the tensors fit without one
        return
    epsilon = described.get("layer_norm_epsilon", config.layer_norm_eps)
    if described.get("model_type") == "hyenadna" and epsilon != config.layer_norm_eps:
        raise InputError(
            f"{path}: layer_norm_epsilon = {epsilon}; expected {config.layer_norm_eps}, the layer_norm_eps of the model"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a `config.json`, none if there is no file. Raises InputError if it does not describe a model."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: unreadable ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("id2label", {}), dict):
        raise InputError(f"{path}: not the description of a model")
    return found


def misfit(name: str, tensor: Tensor, wanted: Tensor) -> str | None:
    """Why `tensor` cannot be loaded into the model's tensor `wanted`, or None."""
    if tensor.shape != wanted.shape:
        return f"{name} has shape {tuple(tensor.shape)}, expected {tuple(wanted.shape)}"
    if not tensor.is_floating_point() or not _holds(wanted.dtype, tensor.dtype):
        return f"{name} is {tensor.dtype}, which {wanted.dtype} cannot represent exactly"
    if not tensor.isfinite().all():
        return f"{name} has values that are not finite"
    return None


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether the wide type represents every number of the narrow type, by torch's rules of type promotion."""
    try:
        return torch.promote_types(narrow, wide) == wide
    except RuntimeError:  # 8-bit floats, which need scales
        return False


def _list(names: list[str], one: str, many: str) -> str:
    if len(names) <= 2:
        return f"{' and '.join(names)} {one if len(names) == 1 else many}" if names else ""
    return f"{names[0]} and {len(names) - 1} more {many}"


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, over the sorted names with dtype, shape and bytes of each tensor.

    It does not depend on device or memory layout, and changes with any bit of any tensor.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- writing


def save_weights(backbone: nn.Module, config: HyenaConfig, folder: Path) -> str:
    """Write `model.safetensors` and `config.json` as in LongSafari/NAME-hf; returns the backbone's digest.

    Each file is written atomically, the weights last, so a folder that holds them is complete. `load_backbone` reads
    them back bit for bit, and the code of the published -hf repositories loads them.
    """
    write_files(weights_files(backbone, config), folder)
    return tensors_digest(named_tensors(backbone))


def weights_files(
    backbone: nn.Module,
    config: HyenaConfig,
    head: Mapping[str, Tensor] | None = None,
    description: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """The files that `save_weights` writes: content by name, in the order of writing.

    `head` and `description` are further tensors and fields of `config.json` (`classifiers.py`).
    """
    # Copies, because safetensors rejects tensors that share memory and the -hf code needs each under its own name.
    named = {f"hyena.{name}": tensor for name, tensor in named_tensors(backbone).items()} | dict(head or {})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}
    fields = {**hub_config(config), **(description or {})}
    return {
        CONFIG: (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode(),
        SAFETENSORS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
    }


def hub_config(config: HyenaConfig) -> dict[str, object]:
    """`config.json` of a -hf repository: the fields of its `HyenaConfig`, and the location of its code."""
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
