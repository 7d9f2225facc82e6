"""Reader of files written by `torch.save`: the zip archive, its pickle, and the state dict in it.

No code in a file is run (`data_pickle.py`). Training programs often save the state dict as one entry of a larger
dictionary: the one entry that is a dictionary of tensors is read, and two such entries are an error.

Source of the format: `torch.serialization` (zip, since torch 1.6). Next: `tensor_files.py`.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyena.errors import InputError
from hyena.weights.data_pickle import DataPickle, RefusedError, StoredTensor, shown

#: The largest pickle accepted. Tensors are stored outside it; the pickle of a published file is smaller than 1 MB.
MAX_PICKLE_BYTES = 64 * 2**20
#: Files of torch before 1.6 begin with a pickle of this number.
OLD_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
#: A key of Lightning's checkpoints, whose `state_dict` is the model, whatever the other entries are.
LIGHTNING_KEY = "pytorch-lightning_version"


class TorchArchive:
    """The zip archive of `torch.save`: one folder with `data.pkl`, `byteorder` and the storages `data/0`, `data/1` …

    Members are read into memory by name and never extracted, so their paths are harmless. They must be stored
    uncompressed, so no member can be larger than the file.
    """

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int) -> None:
        self.archive = archive
        self.members: dict[str, zipfile.ZipInfo] = {}
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise RefusedError("a TorchScript program; save the state_dict() of the original model")
        for member in archive.infolist():
            if member.filename in self.members:
                raise RefusedError(f"two members named {shown(member.filename)}")
            if not re.fullmatch(r"[^/\\]+(/[^/\\]+)+", member.filename) or ".." in member.filename.split("/"):
                raise RefusedError(f"a member at the path {shown(member.filename)}")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise RefusedError(f"a compressed or encrypted member {shown(member.filename)}")
            self.members[member.filename] = member
        if sum(member.file_size for member in self.members.values()) > file_bytes:
            raise RefusedError("members larger than the file")
        roots = {name.split("/")[0] for name in self.members}
        if len(roots) != 1 or f"{(root := roots.pop())}/data.pkl" not in self.members:
            raise RefusedError("no single folder with a data.pkl")
        self.root = root
        if f"{root}/byteorder" in self.members and self.member("byteorder") != b"little":
            raise RefusedError("numbers that are not little-endian")
        self.storages: dict[str, Tensor] = {}

    def member(self, name: str) -> bytes:
        return self.archive.read(self.members[f"{self.root}/{name}"])

    def data(self) -> Any:
        """The pickled object, with StoredTensor in place of tensors."""
        if self.members[f"{self.root}/data.pkl"].file_size > MAX_PICKLE_BYTES:
            raise RefusedError(f"a pickle of more than {MAX_PICKLE_BYTES} bytes")
        return DataPickle().value(self.member("data.pkl"))

    def tensor(self, stored: StoredTensor) -> Tensor:
        """A stored tensor on the CPU, whatever device it was saved from. Views of one storage share memory."""
        storage = stored.storage
        if storage.key not in self.storages:
            name = f"{self.root}/data/{storage.key}"
            size = storage.numel * storage.dtype.itemsize
            if name not in self.members or self.members[name].file_size != size:
                raise RefusedError(f"no {size} bytes for the storage {storage.key}")
            # bytearray, because torch needs writable memory; frombuffer needs at least one byte
            raw = bytearray(self.member(f"data/{storage.key}"))
            self.storages[storage.key] = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0).byte()
        flat = self.storages[storage.key].view(storage.dtype)
        return flat.as_strided(stored.shape, stored.stride, stored.offset)

    def state_dict(self) -> dict[str, Tensor]:
        """Name → tensor, of a plain state dict or of the one in a larger dictionary."""
        return {name: self.tensor(value) for name, value in chosen_state_dict(self.data()).items()}


def chosen_state_dict(data: Any) -> dict[str, StoredTensor]:
    """The state dict in the content of a file: all of it, or the one entry that is a dictionary of tensors.

    Raises RefusedError if there is none, or more than one.
    """
    if type(data) is not dict or not data:
        raise RefusedError("no state dict")
    if type(data.get("state_dict")) is dict and LIGHTNING_KEY in data:
        return _all_tensors(data["state_dict"])
    found = {key: value for key, value in data.items() if type(key) is str and _is_state_dict(value)}
    if len(found) > 1:
        names = " and ".join(map(shown, found))
        raise RefusedError(f"{len(found)} dictionaries of tensors, {names}; save one of them by itself")
    return dict(*found.values()) if found else _all_tensors(data)


def _is_state_dict(value: Any) -> bool:
    """Whether a value is a dictionary of named tensors, some of which are floating-point."""
    if type(value) is not dict or not value:
        return False
    tensors = list(value.values())
    named = all(type(name) is str for name in value) and all(isinstance(one, StoredTensor) for one in tensors)
    return named and any(one.storage.dtype.is_floating_point for one in tensors)


def _all_tensors(data: dict[Any, Any]) -> dict[str, StoredTensor]:
    if not data:
        raise RefusedError("no state dict")
    for name, value in data.items():
        if type(name) is not str or not isinstance(value, StoredTensor):
            what = "not a state dict" if type(value) is dict else "not a tensor"
            raise RefusedError(f"{shown(str(name))}, which is {what}")
    return data


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Name → tensor of a file by `torch.save`: a state dict, or a dictionary with one entry that is a state dict.

    Raises InputError for anything other than plain tensors. No code in the file is run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return TorchArchive(archive, path.stat().st_size).state_dict()
    except RefusedError as refused:
        raise InputError(f"{path}: refused, because it holds {refused}; no code in it was run") from None
    except (zipfile.BadZipFile, ValueError, LookupError, EOFError, NotImplementedError, RuntimeError) as error:
        # raised by zipfile, pickletools and torch for damaged files
        reason = _known_kind(path) or str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: damaged, or not a file that torch.save wrote ({reason})") from None


def _known_kind(path: Path) -> str | None:
    """What a file that is not a complete archive is, by its first bytes, and what to do; None if unknown."""
    with path.open("rb") as stream:
        first = stream.read(64)
    if OLD_MAGIC in first:
        return (
            "written by torch before 1.6 or in its format; load it with torch.load(FILE, weights_only=True) and "
            "save it again with torch.save"
        )
    if first.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return "its end is missing; copy or download it again"
    if first[:1] == b"\x80" or first[:2] in (b"(d", b"cc"):
        return "a pickle of another program; save the model's state_dict() with torch.save"
    return None
