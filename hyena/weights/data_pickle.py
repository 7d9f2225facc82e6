"""Reader of pickles by `torch.save` as plain data: nothing that a pickle names is ever imported or called.

A pickle is a program for a small stack machine, and Python's machine calls any function that the program names. The
machine here has only the two dozen instructions that `torch.save` uses, and none of them calls anything: a name is
looked up in the closed lists below and stands only for itself. So a published Lightning checkpoint, whose
hyperparameters name classes of omegaconf, is read without omegaconf, and a malicious file is an error that states what
it tried to call.

Source of the format: `torch.serialization` and `pickletools`. Next: `torch_files.py`, the archive around the pickle.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

#: Types of storages by their names in `torch.save`.
STORAGES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
PARAMETER_WITH_STATE = "torch._utils _rebuild_parameter_with_state"
DICTIONARIES = {"collections OrderedDict", "collections defaultdict"}
#: Classes of objects among the hyperparameters of published files; their content is dropped.
SETTINGS = {
    "omegaconf.base ContainerMetadata",
    "omegaconf.base Metadata",
    "omegaconf.dictconfig DictConfig",
    "omegaconf.listconfig ListConfig",
    "omegaconf.nodes AnyNode",
}
#: Types that these hyperparameters mention.
MENTIONED = {"typing Any"} | {
    f"{module} {kind}"
    for module in ("__builtin__", "builtins")
    for kind in ("bool", "bytes", "dict", "float", "int", "list", "long", "set", "str", "tuple", "unicode")
}
#: Objects that training programs save beside the tensors: scores, paths, dates, options, random states; also dropped.
NOTES = {
    "_codecs encode",
    "argparse Namespace",
    "datetime datetime",
    "numpy dtype",
    "numpy ndarray",
    *(f"numpy.{core}.multiarray {name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"{module} {kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
    "torch Size",
    "torch device",
    "torch.torch_version TorchVersion",
}
KNOWN_NAMES = {TENSOR, PARAMETER, PARAMETER_WITH_STATE, *STORAGES, *DICTIONARIES, *SETTINGS, *MENTIONED, *NOTES}

#: Names that are not supported, and what to do about a file that holds them.
REFUSED_NAMES = {
    "torch._utils _rebuild_meta_tensor_no_storage": "tensors on the meta device, which have no values; save the model "
    "after its weights are loaded",
    "torch._utils _rebuild_qtensor": "quantised tensors; save the weights before quantisation",
    "torch._utils _rebuild_sparse_tensor": "sparse tensors; save them dense, as tensor.to_dense()",
    "torch._tensor _rebuild_from_type_v2": "tensors of a subclass; save plain tensors, as "
    "tensor.detach().as_subclass(torch.Tensor)",
    **dict.fromkeys(
        ("torch._utils _rebuild_device_tensor_from_numpy", "torch._utils _rebuild_device_tensor_from_cpu_tensor"),
        "tensors in the format of a special device; save them from the CPU, as tensor.cpu()",
    ),
}


class RefusedError(Exception):
    """The content that makes a file unacceptable, in a few words. `torch_files.py` turns it into an InputError."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that the pickle names; it is only the name and cannot be called."""

    text: str


class Dropped:
    """An object among the hyperparameters, without its content."""


DROPPED = Dropped()
MARK = Dropped()


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of `numel` numbers in the archive's member `data/KEY`."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage with checked bounds; the storage is read later."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def shown(text: str) -> str:
    """A name from a file, escaped and shortened for an error message."""
    return f"{text.replace(' ', '.', 1)!r:.100}"


def _whole_model(name: str) -> str:
    """What to do if a file names a model's class."""
    is_model = name.startswith(("torch.nn.", "hyena.", "__main__ ", "src.", "standalone_hyenadna "))
    return " (a whole model? save model.state_dict() instead)" if is_model else ""


def natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def stored_tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """The arguments of `torch._utils._rebuild_tensor_v2`: storage, offset, size, stride, requires_grad, hooks."""
    if len(arguments) not in (6, 7):
        raise RefusedError(f"a tensor of {len(arguments)} arguments")
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(stride) is not tuple:
        raise RefusedError("a tensor without storage or shape")
    if not natural(offset) or not len(shape) == len(stride) <= 8 or not all(map(natural, shape + stride)):
        raise RefusedError("a tensor with a negative or malformed shape")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    elements = math.prod(shape)
    if elements and (last >= storage.numel or elements > storage.numel):
        raise RefusedError(f"a tensor of shape {shape} that reaches beyond its {storage.numel} stored numbers")
    return StoredTensor(storage, offset, shape, stride)


class DataPickle:
    """The stack machine. `value(pickle)` is the data; raises RefusedError for whatever is not data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def value(self, pickle: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name not in INSTRUCTIONS:
                raise RefusedError(f"the pickle instruction {opcode.name}")
            INSTRUCTIONS[opcode.name](self, argument)
        raise RefusedError("a pickle without an end")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise RefusedError("a malformed pickle")
        return value

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not MARK:  # raises IndexError where there is none
            start -= 1
            if start < 0:
                raise RefusedError("a malformed pickle")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def push_pops(self, build: Callable[..., Any], count: int) -> None:
        values = [self.pop() for _ in range(count)][::-1]
        self.stack.append(build(*values))

    def name(self, text: str) -> None:
        if text in REFUSED_NAMES:
            raise RefusedError(REFUSED_NAMES[text])
        if text not in KNOWN_NAMES:
            raise RefusedError(f"the name {shown(text)}{_whole_model(text)}")
        self.stack.append(Name(text))

    def stack_name(self, _: None) -> None:
        member, module = self.pop(), self.pop()
        if type(member) is not str or type(module) is not str:
            raise RefusedError("a name that is not text")
        self.name(f"{module} {member}")

    def remember(self, index: int | None) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[len(self.memo) if index is None else index] = value

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise RefusedError("items for an object that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise RefusedError("items for an object that is not a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # No tuples: the hash of a deeply shared tuple takes exponential time.
            if not isinstance(key, str | int | float | bytes | None):
                raise RefusedError(f"a dictionary key of type {type(key).__name__}")
            target[key] = value

    def reduce(self, _: None) -> None:
        """Python would call the function; here, the name of a known function selects what to do."""
        arguments, function = self.pop(), self.pop()
        name = function.text if isinstance(function, Name) else type(function).__name__
        if type(arguments) is not tuple:
            raise RefusedError("a call without arguments")
        if name == TENSOR:
            self.stack.append(stored_tensor(arguments))
        elif name in (PARAMETER, PARAMETER_WITH_STATE) and arguments and isinstance(arguments[0], StoredTensor):
            self.stack.append(arguments[0])
        elif name in NOTES:
            self.stack.append(DROPPED)
        elif name in DICTIONARIES and all(isinstance(argument, Name) for argument in arguments):
            self.stack.append({})
        else:
            raise RefusedError(f"a call of {shown(name)}")

    def new_object(self, _: None) -> None:
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Name) or kind.text not in (*SETTINGS, *NOTES) or arguments != ():
            raise RefusedError("an object of an unknown class")
        self.stack.append(DROPPED)

    def build(self, _: None) -> None:
        """The state of an object is dropped: that of hyperparameters, and attributes of a state dict (`_metadata`)."""
        self.pop()
        if self.stack[-1] is not DROPPED and type(self.stack[-1]) is not dict:
            raise RefusedError(f"attributes for an object of type {type(self.stack[-1]).__name__}")

    def storage(self, _: None) -> None:
        """("storage", type, key, location, numel); the location, `cuda:0` in published files, is ignored."""
        match self.pop():
            case ("storage", Name(text=kind), str(key), str(), int(numel)) if kind in STORAGES and natural(numel):
                if not re.fullmatch(r"[0-9]+", key, flags=re.ASCII):
                    raise RefusedError(f"a storage named {shown(key)}")
                self.stack.append(Storage(key, STORAGES[kind], numel))
            case _:
                raise RefusedError("a reference to something other than a storage")


def _push(machine: DataPickle, argument: Any) -> None:
    machine.stack.append(argument)


INSTRUCTIONS: dict[str, Callable[[DataPickle, Any], None]] = {
    "PROTO": lambda machine, version: None,
    "FRAME": lambda machine, size: None,
    "MARK": lambda machine, _: machine.stack.append(MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), _push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push_pops(lambda *values: values, 1),
    "TUPLE2": lambda machine, _: machine.push_pops(lambda *values: values, 2),
    "TUPLE3": lambda machine, _: machine.push_pops(lambda *values: values, 3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), DataPickle.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.stack.append(machine.memo[index])),
    "GLOBAL": DataPickle.name,
    "STACK_GLOBAL": DataPickle.stack_name,
    "REDUCE": DataPickle.reduce,
    "NEWOBJ": DataPickle.new_object,
    "BUILD": DataPickle.build,
    "BINPERSID": DataPickle.storage,
}
