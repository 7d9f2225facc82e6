"""Weights in and out: every format a HyenaDNA has been published or saved in, by path.

Read: Lightning's `weights.ckpt` (LongSafari/NAME), `model.safetensors` and `pytorch_model.bin` (LongSafari/NAME-hf)
and plain state dicts. Written: `model.safetensors` and `config.json` in the names of -hf. Loading is strict both ways:
each tensor of the model must be in the file with its exact shape, and each tensor of the file must be used or be one
that a backbone does not need, by name. Next: `torchfile.py`, which reads torch's files without running them, and
`classifiers.py`, which keeps fine-tuned models with their heads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hyena.config import HyenaConfig
from hyena.errors import InputError, one_line
from hyena.torchfile import read_state_dict

#: The file of a folder that is read, first one first; what describes it; and what any file of weights may end in.
SAFETENSORS, TORCH_BIN, LIGHTNING = "model.safetensors", "pytorch_model.bin", "weights.ckpt"
CONFIG = "config.json"
SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
#: Who publishes on the hub.
HUB_ORGANISATION = "LongSafari"

#: Tensors of a file that a backbone does not need: heads, the language model's tied output, counters of metrics.
UNUSED = re.compile(
    r"(lm_head|score)\.(weight|bias)"
    r"|(head|decoder\.\d+)\.output_transform\.(weight|bias)"
    r"|(train|val|test)_torchmetrics\..+"
)


# ------------------------------------------------------------------------------------------------------------- reading


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weights file, or of a folder that holds one, on the CPU.

    Names are the published ones of the standalone model: `backbone.…`, without the prefixes `model.` and `hyena.`, and
    with `.mixer.` and `.mlp.` where gradient checkpointing wrote `.mixer.layer.` and `.mlp.layer.`. Tensors that shared
    memory when they were saved may share it here. Nothing in the file is ever run.

    Raises InputError, in one line, for a file that is missing, damaged, hostile or of another kind.
    """
    file = weights_file(path)
    try:
        stored = safetensors.torch.load_file(file) if file.suffix == ".safetensors" else read_state_dict(file)
    except SafetensorError as error:
        raise InputError(f"{file}: damaged, or not a safetensors file ({one_line(error)})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or one_line(error)})") from None
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = normalised(key)
        if name in tensors:
            raise InputError(f"{file}: holds {name} twice, the second time as {key}")
        tensors[name] = tensor
    return tensors


def normalised(key: str) -> str:
    """The standalone model's name of a tensor, from any published file's."""
    key = re.sub(r"^(model|hyena)\.", "", key)
    return re.sub(r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.layer\.", r"\1.", key)


def weights_file(path: Path) -> Path:
    """`path` itself if it is a file, else the weights in that folder; InputError where there are none or too many."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder of weights")
    for name in (SAFETENSORS, TORCH_BIN, LIGHTNING):
        if (path / name).is_file():
            return path / name
    found = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(found) != 1:
        what = f"several weights files ({', '.join(found)}): name one" if found else f"no {SAFETENSORS} or {LIGHTNING}"
        raise InputError(f"{path}: holds {what}")
    return path / found[0]


def load_backbone(backbone: nn.Module, path: Path) -> str:
    """Copy the weights at `path` into `backbone`, in place, and return the digest of its tensors.

    Args:
        backbone: `hyena.model.Backbone` on any device; its dtype must hold the file's numbers exactly. A classifier's
            head is no part of it and stays as it is.
        path: as for `read_tensors`.

    Where the model shares one tensor under several names (the sine frequency of a filter, the position features), a
    file may hold it once, as safetensors do, or several times but with equal values. Nothing is copied unless all fits.

    Raises InputError that names what is missing, unexpected, misshapen or not a number.
    """
    tensors = read_tensors(path)
    model = named_tensors(backbone)
    problems = _problems(model, tensors)
    if problems:
        raise InputError(f"{path}: not the weights of this model: {'; '.join(problems)}")
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


def misfit(name: str, tensor: Tensor, wanted: Tensor) -> str | None:
    """Why `tensor` cannot stand where the model has `wanted`, or None."""
    if tensor.shape != wanted.shape:
        return f"{name} has shape {tuple(tensor.shape)}, the model needs {tuple(wanted.shape)}"
    if not tensor.is_floating_point() or torch.promote_types(tensor.dtype, wanted.dtype) != wanted.dtype:
        return f"{name} is {tensor.dtype}, which {wanted.dtype} cannot hold exactly"
    if not tensor.isfinite().all():
        return f"{name} holds values that are not finite"
    return None


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


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files in their order, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        _write_whole(folder / name, content)


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


def _write_whole(path: Path, content: bytes) -> None:
    """Write to a file beside it, then rename: readers and crashes see the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
