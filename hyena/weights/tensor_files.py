"""Which file of weights lies at a path, and its tensors under the published names, whatever wrote it.

Read: Lightning's `weights.ckpt` (LongSafari/NAME), `model.safetensors` and `pytorch_model.bin` (LongSafari/NAME-hf),
either of them in shards, and what `torch.save` wrote of a state dict. The first bytes say which kind a file is, not its
ending. Next: `torch_files.py`, which reads torch's files without running them, and `checkpoint.py`, which puts tensors
into a model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from hyena.errors import InputError, one_line
from hyena.system.text import what_it_is
from hyena.weights.torch_files import read_state_dict

#: The file of a folder that is read, first one first, and what any file of weights may end in. A file in shards goes
#: by the index that lists them.
SAFETENSORS, TORCH_BIN, LIGHTNING = "model.safetensors", "pytorch_model.bin", "weights.ckpt"
INDEX = ".index.json"
FIRST_OF_A_FOLDER = (SAFETENSORS, SAFETENSORS + INDEX, TORCH_BIN, TORCH_BIN + INDEX, LIGHTNING)
SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
#: What a pretraining keeps in the folder of its weights until they are there.
UNFINISHED = "unfinished.pt"

#: Parts of a name that wrappers put in: DataParallel and its like, torch.compile, FSDP, gradient checkpointing.
WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
#: What the published code and others call the model that they hold.
HOLDERS = {"model", "hyena", "net", "network"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weights file, or of a folder that holds one, on the CPU.

    Names are the published ones of the standalone model, as `normalised` gives them. Tensors that shared memory when
    they were saved may share it here. Nothing in the file is ever run.

    Raises InputError, in one line, for a file that is missing, damaged, hostile or of another kind.
    """
    file = weights_file(path)
    stored = _of_shards(file) if file.name.endswith(INDEX) else _stored(file)
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = normalised(key)
        if name in tensors:
            raise InputError(f"{file}: holds {name} twice, the second time as {key}")
        tensors[name] = tensor
    return tensors


def normalised(key: str) -> str:
    """The standalone model's name of a tensor, `backbone.…` or that of a head, from any file's.

    Whatever stands before `backbone.` goes, and so do the parts of wrappers; a backbone that was saved by itself gets
    the word back. Two tensors of a file may then have one name, which `read_tensors` refuses.
    """
    parts = [part for part in key.split(".") if part not in WRAPPERS] or [key]
    while len(parts) > 1 and parts[0] in HOLDERS:
        parts = parts[1:]
    name = re.sub(r"^(?:[^.]+\.)*(?=backbone\.(?:embeddings|layers|ln_f)\.)", "", ".".join(parts))
    name = re.sub(r"^(?=(?:embeddings\.word_embeddings|layers\.\d+|ln_f)\.)", "backbone.", name)
    return re.sub(r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.layer\.", r"\1.", name)


def weights_file(path: Path) -> Path:
    """`path` itself if it is a file, else the weights in that folder; InputError where there are none or too many."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder of weights")
    for name in FIRST_OF_A_FOLDER:
        if (path / name).is_file():
            return path / name
    found = sorted(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if found == [UNFINISHED]:
        raise InputError(f"{path}: holds a pretraining that is not finished ({UNFINISHED}): run it to its end first")
    if len(found) != 1:
        what = f"several weights files ({', '.join(found)}): name one" if found else f"no {SAFETENSORS} or {LIGHTNING}"
        raise InputError(f"{path}: holds {what}")
    return path / found[0]


def _of_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index lists, each of them where the index says."""
    try:
        listed = json.loads(index.read_text("utf-8-sig"))["weight_map"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{index}: cannot be read, or is no index of weights ({one_line(error)})") from None
    if not isinstance(listed, dict) or not all(_is_file_name(shard) for shard in listed.values()):
        raise InputError(f"{index}: no index of weights: 'weight_map' must give the file's name of each tensor")
    shards = {}
    for name in sorted(set(listed.values())):
        if not index.with_name(name).is_file():
            raise InputError(f"{index}: lists {name}, which is not there")
        shards[name] = _stored(index.with_name(name))
    for tensor, name in listed.items():
        if tensor not in shards[name]:
            raise InputError(f"{index}: {tensor} is not in {name}")
    return {tensor: shards[name][tensor] for tensor, name in listed.items()}


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not re.search(r"[/\\\0]", value)


def _stored(file: Path) -> dict[str, Tensor]:
    """The tensors of one file under the names that they have in it."""
    try:
        with file.open("rb") as stream:
            first = stream.read(512)
        if fault := _no_weights(first):
            raise InputError(f"{file}: {fault}")
        is_safetensors = first[8:9] == b"{" or (file.suffix == ".safetensors" and first[:2] != b"PK")
        return safetensors.torch.load_file(file) if is_safetensors else read_state_dict(file)
    except SafetensorError as error:
        raise InputError(f"{file}: damaged, or not a safetensors file ({one_line(error)})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or one_line(error)})") from None


def _no_weights(first: bytes) -> str | None:
    """What a file is that stands in place of weights, by its first bytes, and what helps."""
    if not first:
        return "empty: copy or download it again"
    other = {b"\x1f\x8b": "compressed with gzip: decompress it first", b"\x89HDF": "an HDF5 file, not weights of torch"}
    return what_it_is(first) or next((what for begin, what in other.items() if first.startswith(begin)), None)
