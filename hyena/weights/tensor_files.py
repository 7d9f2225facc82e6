"""The weights file at a path, and its tensors under the published names, whatever program wrote it.

Supported are Lightning's `weights.ckpt` (LongSafari/NAME), `model.safetensors` and `pytorch_model.bin`
(LongSafari/NAME-hf), both also in shards, and state dicts written by `torch.save`. The first bytes, not the ending,
determine the kind of a file. Next: `torch_files.py`, which reads torch's files without running them, and
`checkpoint.py`, which loads tensors into a model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from hyena.errors import InputError, first_line
from hyena.system.text import what_it_is
from hyena.weights.torch_files import read_state_dict

#: The files of a folder that may be read, in order of preference, and the endings of other weights files. Of weights in
#: shards, the index that lists the shards is read.
SAFETENSORS, TORCH_BIN, LIGHTNING = "model.safetensors", "pytorch_model.bin", "weights.ckpt"
INDEX = ".index.json"
FIRST_OF_A_FOLDER = (SAFETENSORS, SAFETENSORS + INDEX, TORCH_BIN, TORCH_BIN + INDEX, LIGHTNING)
SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
#: The checkpoint in the folder of a pretraining that is not finished.
UNFINISHED = "unfinished.pt"

#: Parts of names that wrappers insert: DataParallel and similar, torch.compile, FSDP, gradient checkpointing.
WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
#: Attributes that hold the model in the published code and in other programs.
HOLDERS = {"model", "hyena", "net", "network"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weights file, or of a folder that holds one, on the CPU.

    Names are those of the published standalone model, as `normalised` returns them. Tensors that shared memory when
    they were saved may share it here. No code in the file is ever run.

    Raises InputError for a file that is missing, damaged, malicious or of another kind.
    """
    file = weights_file(path)
    stored = _of_shards(file) if file.name.endswith(INDEX) else _stored(file)
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = normalised(key)
        if name in tensors:
            raise InputError(f"{file}: duplicate tensor {name}, the second as {key}")
        tensors[name] = tensor
    return tensors


def normalised(key: str) -> str:
    """A tensor's name in the published standalone model, `backbone.…` or that of a head, from its name in a file.

    Any prefix of `backbone.` and the parts of wrappers are removed; names of a backbone that was saved alone get the
    prefix `backbone.`. Two tensors of a file may then get the same name, which `read_tensors` rejects.
    """
    parts = [part for part in key.split(".") if part not in WRAPPERS] or [key]
    while len(parts) > 1 and parts[0] in HOLDERS:
        parts = parts[1:]
    name = re.sub(r"^(?:[^.]+\.)*(?=backbone\.(?:embeddings|layers|ln_f)\.)", "", ".".join(parts))
    name = re.sub(r"^(?=(?:embeddings\.word_embeddings|layers\.\d+|ln_f)\.)", "backbone.", name)
    return re.sub(r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.layer\.", r"\1.", name)


def weights_file(path: Path) -> Path:
    """`path` itself if it is a file, else the weights file in that folder.

    Raises InputError if there is none, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder of weights")
    for name in FIRST_OF_A_FOLDER:
        if (path / name).is_file():
            return path / name
    found = sorted(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if found == [UNFINISHED]:
        raise InputError(f"{path}: holds an unfinished pretraining ({UNFINISHED}); finish it first")
    if len(found) != 1:
        what = (
            f"several weights files ({', '.join(found)}); name one of them"
            if found
            else f"no {SAFETENSORS} or {LIGHTNING}"
        )
        raise InputError(f"{path}: holds {what}")
    return path / found[0]


def _of_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards that an index lists, each in the shard that the index names."""
    try:
        listed = json.loads(index.read_text("utf-8-sig"))["weight_map"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{index}: unreadable, or not an index of weights ({first_line(error)})") from None
    if not isinstance(listed, dict) or not all(_is_file_name(shard) for shard in listed.values()):
        raise InputError(f"{index}: not an index of weights; 'weight_map' must map tensors to file names")
    shards = {}
    for name in sorted(set(listed.values())):
        if not index.with_name(name).is_file():
            raise InputError(f"{index}: lists {name}, which does not exist")
        shards[name] = _stored(index.with_name(name))
    for tensor, name in listed.items():
        if tensor not in shards[name]:
            raise InputError(f"{index}: {tensor} is not in {name}")
    return {tensor: shards[name][tensor] for tensor, name in listed.items()}


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not re.search(r"[/\\\0]", value)


def _stored(file: Path) -> dict[str, Tensor]:
    """The tensors of one file under the names in the file."""
    try:
        with file.open("rb") as stream:
            first = stream.read(512)
        if fault := _no_weights(first):
            raise InputError(f"{file}: {fault}")
        is_safetensors = first[8:9] == b"{" or (file.suffix == ".safetensors" and first[:2] != b"PK")
        return safetensors.torch.load_file(file) if is_safetensors else read_state_dict(file)
    except SafetensorError as error:
        raise InputError(f"{file}: damaged, or not a safetensors file ({first_line(error)})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or first_line(error)})") from None


def _no_weights(first: bytes) -> str | None:
    """What a file other than weights is, by its first bytes, and what to do about it; None if nothing is wrong."""
    if not first:
        return "the file is empty; copy or download it again"
    other = {b"\x1f\x8b": "compressed with gzip; decompress it first", b"\x89HDF": "an HDF5 file, not weights of torch"}
    return what_it_is(first) or next((what for begin, what in other.items() if first.startswith(begin)), None)
