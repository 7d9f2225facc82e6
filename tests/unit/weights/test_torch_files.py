"""A file of `torch.save` is read as data: good files are read exactly, malicious and damaged ones are errors.

A payload here is shown to be real where Python's own unpickler can show it: the control test runs it and sees the
canary; the test proper sees an InputError and no canary.
"""

import argparse
import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hyena.errors import InputError
from hyena.weights.data_pickle import KNOWN_NAMES
from hyena.weights.torch_files import read_state_dict


def archive(path: Path, pickled: bytes, *members: tuple[str, bytes], root: str = "weights") -> Path:
    """A zip archive in the layout of `torch.save`, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{root}/data.pkl", pickled)
        file.writestr(f"{root}/byteorder", b"little")
        for name, content in members:
            file.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("wrapped", [True, False])
def test_tensors_of_every_type_and_layout_come_back_equal(tmp_path: Path, protocol: int, wrapped: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    whole = torch.randn(4, 6, generator=generator)
    state = OrderedDict(
        {
            "whole": whole,
            "view": whole[1:3, ::2],
            "transposed": whole.T,
            "scalar": torch.tensor(2.5),
            "empty": torch.empty(0, 3),
            "parameter": torch.nn.Parameter(torch.randn(2, generator=generator)),
            "count": torch.tensor([1, 2**40]),
            **{str(t): torch.tensor([0, 1, 1]).to(t) for t in (torch.bool, torch.uint8, torch.bfloat16, torch.float64)},
        }
    )
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "x.pt", pickle_protocol=protocol)
    read = read_state_dict(tmp_path / "x.pt")
    assert list(read) == list(state)
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype, name
        assert torch.equal(read[name], tensor), name


def test_names_of_another_device_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save({"x": torch.arange(3.0)}, tmp_path / "x.pt")
    assert b"cuda:0" in (tmp_path / "x.pt").read_bytes()
    assert read_state_dict(tmp_path / "x.pt")["x"].tolist() == [0, 1, 2]


def test_hyperparameters_are_dropped_without_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_tree = OmegaConf.create(
        {"model": {"layer": {"l_max": 1026, "lr": 0.1, "none": None}, "widths": [1, "two", True, 2.5]}, "s": "${model}"}
    )
    content = {"hyper_parameters": settings_tree, "state_dict": {"x": torch.ones(2)}, "d": defaultdict(list)}
    torch.save(content, tmp_path / "x.ckpt")
    assert b"omegaconf.dictconfig" in (tmp_path / "x.ckpt").read_bytes()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.ckpt", weights_only=True)  # why a reader of our own is needed
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error from here on
    assert read_state_dict(tmp_path / "x.ckpt")["x"].tolist() == [1, 1]


# ---------------------------------------------------------------------------------------------------- malicious pickles


class Call:
    """Pickles as a call of `function`, which Python's unpickler runs."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


#: Name → (object to pickle, text of the error). Each creates the canary under Python's unpickler.
RUNNABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "os.system": (lambda c: Call(os.system, f"touch {c}"), "the name"),
    "subprocess": (lambda c: Call(subprocess.check_call, ["touch", str(c)]), ".check_call'"),
    "eval": (lambda c: Call(eval, touch(c)), "eval'"),
    "exec": (lambda c: Call(exec, touch(c)), "exec'"),
    "open": (lambda c: Call(open, str(c), "w"), "open'"),
    "os.mkdir": (lambda c: Call(os.mkdir, str(c)), "mkdir'"),
    "torch.save": (lambda c: Call(torch.save, {}, str(c)), "the name 'torch.serialization.save'"),
    "in the settings": (lambda c: {"hyper_parameters": [Call(eval, touch(c))]}, "eval'"),
    "as a key": (lambda c: {"state_dict": {Call(eval, f"{touch(c)} or 'x'"): 1}}, "eval'"),
    "as hooks of a tensor": (
        lambda c: Call(
            torch._utils._rebuild_tensor_v2, None, 0, (1,), (1,), False,
            Call(eval, f"{touch(c)} or __import__('collections').OrderedDict()"),
        ),
        "the name",
    ),
    "as the items of an OrderedDict": (lambda c: Call(OrderedDict, Call(eval, f"{touch(c)} or []")), "eval'"),
    "as the factory of a defaultdict": (lambda c: Call(defaultdict, Call(eval, f"{touch(c)} or list")), "eval'"),
    "a load inside": (lambda c: Call(pickle.loads, pickle.dumps(Call(eval, touch(c)))), "loads'"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_payload_does_not_run_and_is_named(name: str, protocol: int, tmp_path: Path) -> None:
    payload, message = RUNNABLE[name]
    canary = tmp_path / "canary"
    file = archive(tmp_path / "x.ckpt", pickle.dumps(payload(canary), protocol=protocol))
    assert message in refusal(file)
    assert not canary.exists()


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_payloads_run_in_the_unpickler_of_python(name: str, tmp_path: Path) -> None:
    payload, _ = RUNNABLE[name]
    canary = tmp_path / "canary"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(AttributeError, TypeError):  # what comes after the canary does not matter
            pickle.loads(pickle.dumps(payload(canary), protocol=2))
    assert canary.exists()


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def named(module: str, name: str) -> bytes:
    """STACK_GLOBAL, which takes any two strings."""
    return text(module) + text(name) + pickle.STACK_GLOBAL


ORDERED_DICT, ANY = b"ccollections\nOrderedDict\n", b"ctyping\nAny\n"
REBUILD, CONTAINER = b"ctorch._utils\n_rebuild_tensor_v2\n", b"comegaconf.dictconfig\nDictConfig\n"
#: Name → (pickle, text of the error).
CRAFTED: dict[str, tuple[bytes, str]] = {
    "dotted name": (b"\x80\x04" + named("collections", "OrderedDict.fromkeys") + b".", "OrderedDict.fromkeys'"),
    "name with spaces": (b"\x80\x04" + named("os system", "") + b".", "the name"),
    "name with a newline": (b"\x80\x04" + named("os", "system\nweights") + b".", r"os.system\nweights"),
    "a number as a name": (b"\x80\x04K\x01K\x02" + pickle.STACK_GLOBAL + b".", "a name that is not text"),
    "call of a harmless name": (b"\x80\x02" + ANY + b")R.", "a call of 'typing.Any'"),
    "call of a setting": (b"\x80\x02" + CONTAINER + b"}\x85R.", "a call of 'omegaconf.dictconfig.DictConfig'"),
    "call of a value": (b"\x80\x02" + ORDERED_DICT + b")R)R.", "a call of 'dict'"),
    "items through the constructor": (b"\x80\x02" + ORDERED_DICT + b"]\x85R.", "a call of 'collections.OrderedDict'"),
    "attributes of a class": (b"\x80\x02" + ORDERED_DICT + b"}b.", "attributes for an object of type Name"),
    "slots of a class": (b"\x80\x02" + CONTAINER + b"N}X\x01\x00\x00\x00aK\x01s\x86b.", "attributes for"),
    "attributes of a function": (b"\x80\x02" + REBUILD + b"N}\x86b.", "attributes for an object of type Name"),
    "object of a type": (b"\x80\x02c__builtin__\ndict\n)\x81.", "of an unknown class"),
    "object with arguments": (b"\x80\x02" + CONTAINER + b"K\x01\x85\x81.", "of an unknown class"),
    "INST": (b"(S'x'\nios\nsystem\n.", "the pickle instruction"),
    "OBJ": (b"(" + ANY + b"o.", "the pickle instruction OBJ"),
    "NEWOBJ_EX": (b"\x80\x04" + CONTAINER + b")}\x92.", "the pickle instruction NEWOBJ_EX"),
    "extension registry": (b"\x80\x02\x82\x01.", "the pickle instruction EXT1"),
    "buffer out of band": (b"\x80\x05\x97.", "the pickle instruction NEXT_BUFFER"),
    "reference as text": (b"Pstorage\n.", "the pickle instruction PERSID"),
    "reference to a module": (b"\x80\x02" + text("module") + text("os") + b"\x86Q.", "other than a storage"),
    "storage of a class": (
        b"\x80\x02(" + text("storage") + ANY + text("0") + text("cpu") + b"K\x01tQ.",
        "other than a storage",
    ),
    "tensor of nothing": (b"\x80\x02" + REBUILD + b"(NK\x00)K\x00\x89NtR.", "a tensor"),
    "items for a list": (b"\x80\x02]K\x01K\x02s.", "items for an object that is not a dictionary"),
    "items for a dictionary": (b"\x80\x02}K\x01a.", "items for an object that is not a list"),
    "items for a class": (b"\x80\x02" + ORDERED_DICT + b"K\x01K\x02s.", "items for an object that is not a dictionary"),
    "odd items": (b"\x80\x02}(K\x01u.", "items for an object that is not a dictionary"),
    "unknown memory": (b"\x80\x02h\x07.", "damaged"),
    "empty stack": (b"\x80\x020.", "damaged"),
    "mark as a value": (b"\x80\x02(.", "a malformed pickle"),
    "no mark": (b"\x80\x02K\x01t.", "a malformed pickle"),
    "no end": (b"\x80\x02}", "damaged"),
    "cut in a string": (b"\x80\x02X\xff\xff\x00\x00abc", "damaged"),
    "string of 2 EB": (b"\x80\x04\x8d" + struct.pack("<Q", 2**61) + b"x.", "damaged"),
    "bytes of 4 GB": (b"\x80\x03B\xff\xff\xff\xffx.", "damaged"),
    "number of a million digits": (b"I" + b"9" * 10**6 + b"\n.", "damaged"),
    "long number as a key": (b"\x80\x02}\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b"K\x01s.", ""),
    "nothing": (b"", "damaged"),
    "a list": (b"\x80\x02].", "no state dict"),
    "an empty dictionary": (b"\x80\x02}.", "no state dict"),
    "numbers for tensors": (b"\x80\x02}" + text("x") + b"K\x01s.", "'x', which is not a tensor"),
    "a list of 200,000 levels": (b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", "no state dict"),
    "a tuple of 200,000 levels": (b"\x80\x02)" + b"\x85" * 200_000 + b".", "no state dict"),
    "a dictionary that holds itself": (b"\x80\x02}q\x00" + text("state_dict") + b"h\x00s.", "'state_dict', which"),
    # each level twice the one before: the hash of the last takes 2⁶⁰ steps
    "a key of shared tuples": (b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", "a dictionary key of type tuple"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_pickle_is_refused(name: str, tmp_path: Path) -> None:
    pickled, message = CRAFTED[name]
    assert message in refusal(archive(tmp_path / "x.ckpt", pickled))


def test_no_known_name_leads_to_a_function_that_could_be_run() -> None:
    """The lists stay what they are: types of numbers, containers, settings and two rebuilders."""
    assert {
        name for name in KNOWN_NAMES if name.split()[0].startswith(("os", "sys", "sub", "posix", "pickle"))
    } == set()
    assert {name.split()[1] for name in KNOWN_NAMES if name.startswith("torch._utils")} == {
        "_rebuild_tensor_v2",
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
    }


# --------------------------------------------------------------------------------------------------- malicious tensors


def tensor_pickle(
    *,
    key: str = "0",
    kind: str = "FloatStorage",
    numel: int = 4,
    offset: int = 0,
    shape: Any = (4,),
    stride: Any = (1,),
) -> bytes:
    """{"x": a tensor}, with any numbers in it."""

    def number(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    reference = (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cuda:0") + number(numel) + b"tQ"
    )
    tensor = REBUILD + b"(" + reference + number(offset) + number(shape) + number(stride) + b"\x89" + b"NtR"
    return b"\x80\x02}" + text("x") + tensor + b"s."


FOUR = ("weights/data/0", struct.pack("<4f", 0, 1, 2, 3))


def test_a_correct_crafted_tensor_is_read(tmp_path: Path) -> None:
    read = read_state_dict(archive(tmp_path / "x.pt", tensor_pickle(shape=(2, 2), stride=(1, 2)), FOUR))
    assert read["x"].tolist() == [[0, 2], [1, 3]]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"shape": (5,)}, "reaches beyond its 4 stored numbers"),
        ({"offset": 1}, "reaches beyond"),
        ({"stride": (2,)}, "reaches beyond"),
        ({"shape": (2**39,), "stride": (0,)}, "reaches beyond"),  # 2 TB as soon as it is copied
        ({"shape": (3, 3), "stride": (0, 1)}, "reaches beyond"),
        ({"offset": -1}, "negative or malformed"),
        ({"shape": (-4,)}, "negative or malformed"),
        ({"stride": (-1,)}, "negative or malformed"),
        ({"shape": (2**62, 4), "stride": (1, 1)}, "negative or malformed"),
        ({"shape": (4,), "stride": (1, 1)}, "negative or malformed"),
        ({"shape": (1,) * 9, "stride": (1,) * 9}, "negative or malformed"),
        ({"shape": (True,)}, "negative or malformed"),
        ({"shape": [4]}, "without storage or shape"),
        ({"numel": -4}, "other than a storage"),
        ({"numel": True}, "other than a storage"),
        ({"numel": 2**62}, "other than a storage"),
        ({"numel": 5}, "no 20 bytes for the storage 0"),
        ({"numel": 3, "shape": (3,)}, "no 12 bytes"),
        ({"kind": "DoubleStorage"}, "no 32 bytes"),
        ({"kind": "UntypedStorage"}, "the name 'torch.UntypedStorage'"),
        ({"key": "1"}, "no 16 bytes for the storage 1"),
        ({"key": "../data.pkl"}, "a storage named '../data.pkl'"),
        ({"key": "/etc/passwd"}, "a storage named '/etc/passwd'"),
        ({"key": "٠"}, "a storage named"),
    ],
)
def test_a_tensor_out_of_bounds_is_refused(tmp_path: Path, numbers: dict[str, Any], message: str) -> None:
    assert message in refusal(archive(tmp_path / "x.pt", tensor_pickle(**numbers), FOUR))


# --------------------------------------------------------------------------------------------------- malicious archives


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../outside", "a member at the path '../outside'"),
        ("weights/../../outside", "a member at the path"),
        ("/outside", "a member at the path"),
        ("weights/./../x", "a member at the path"),
        ("weights\\..\\x", "a member at the path"),
        ("outside", "a member at the path"),
        ("weights/folder/", "a member at the path"),
        ("other/data.pkl", "no single folder"),
    ],
)
def test_members_at_odd_paths_are_refused(tmp_path: Path, member: str, message: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    file = archive(folder / "x.pt", tensor_pickle(), FOUR, (member, b"x"))
    assert message in refusal(file)
    assert sorted(tmp_path.rglob("*")) == [folder, file]


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = archive(tmp_path / "x.pt", tensor_pickle(), FOUR, FOUR)
    assert "two members named 'weights/data/0'" in refusal(file)


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.pt", tensor_pickle(numel=2**26, shape=(2**26,)))
    with zipfile.ZipFile(file, "a", compression=zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("weights/data/0", bytes(2**28))
    assert file.stat().st_size < 2**20
    assert "a compressed or encrypted member 'weights/data/0'" in refusal(file)


def test_members_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.pt", tensor_pickle(), FOUR)
    content = bytearray(file.read_bytes())
    entry = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4) + 4)
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**30, 2**30)
    file.write_bytes(content)
    assert "members larger than the file" in refusal(file)


def test_a_pickle_of_unusual_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = archive(tmp_path / "x.pt", tensor_pickle(), FOUR)
    monkeypatch.setattr("hyena.weights.torch_files.MAX_PICKLE_BYTES", len(tensor_pickle()))
    assert list(read_state_dict(file)) == ["x"]
    monkeypatch.setattr("hyena.weights.torch_files.MAX_PICKLE_BYTES", len(tensor_pickle()) - 1)
    assert "a pickle of more than" in refusal(file)


def test_big_endian_numbers_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("weights/data.pkl", tensor_pickle())
        file.writestr("weights/byteorder", b"big")
        file.writestr(*FOUR)
    assert "not little-endian" in refusal(tmp_path / "x.pt")


def test_a_flipped_bit_is_detected(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.pt", tensor_pickle(), FOUR)
    content = file.read_bytes()
    file.write_bytes(content.replace(FOUR[1], FOUR[1][:-1] + b"\x41"))
    assert "CRC" in refusal(file)


def test_a_cut_file_and_a_bare_pickle_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.pt", tensor_pickle(), FOUR)
    file.write_bytes(file.read_bytes()[:-30])
    assert "its end is missing; copy or download it again" in refusal(file)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"x": [1.0]}))
    assert "a pickle of another program" in refusal(tmp_path / "x.pkl")


def fuzz_seed() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(3), "b": torch.zeros(2, 2)}, "n": [1, "x", None, (2.5,)]}, buffer)
    with zipfile.ZipFile(buffer) as file:
        return file.read("archive/data.pkl")


SEED = fuzz_seed()


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # pickletools, over a damaged string
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_pickle_gives_tensors_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    pickled = bytearray(SEED)
    for place, value in changes:
        pickled[place] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.pt"
    archive(path, bytes(pickled), ("weights/data/0", bytes(12)), ("weights/data/1", bytes(16)))
    with contextlib.suppress(InputError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_state_dict(path).values())


# ------------------------------------------------------------------------------------------- what surrounds the tensors


STATE = {"x": torch.arange(3.0), "n": torch.tensor(7)}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "net", "ema", "my weights"])
def test_a_state_dict_beside_other_things_is_found(key: str, tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    beside = {
        "epoch": 3, "loss": torch.tensor(0.5), "optimizer_state_dict": optimizer.state_dict(), "empty": {},
        "rng": {"torch": torch.get_rng_state()}, "history": [0.1], "metrics": {"accuracy": 0.5},
    }  # fmt: skip
    torch.save({**beside, key: STATE}, tmp_path / "x.pt")
    read = read_state_dict(tmp_path / "x.pt")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {"x": [0, 1, 2], "n": 7}


def test_of_two_state_dicts_both_are_named(tmp_path: Path) -> None:
    torch.save({"model": STATE, "ema": STATE, "epoch": 3}, tmp_path / "x.pt")
    assert "holds 2 dictionaries of tensors, 'model' and 'ema'; save one of them" in refusal(tmp_path / "x.pt")
    lightning = {"state_dict": STATE, "ema": {"x": torch.ones(3)}, "pytorch-lightning_version": "2.0"}
    torch.save(lightning, tmp_path / "x.ckpt")
    assert read_state_dict(tmp_path / "x.ckpt")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "'epoch', which is not a tensor"),
        ({"state_dict": {}}, "'state_dict', which is not a state dict"),
        ({"a": {"model": STATE}}, "'a', which is not a state dict"),
        ({"model": {**STATE, "epoch": 3}}, "'model', which is not a state dict"),
        ({**STATE, "epoch": 3}, "'epoch', which is not a tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_an_error(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert message in refusal(tmp_path / "x.pt")


def test_other_entries_of_training_programs_are_dropped(tmp_path: Path) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("x")), "best": np.float64(0.5), "numpy": np.random.get_state(),
        "made": datetime.now(), "device": torch.device("cpu"), "shape": torch.Size([2]), "curve": np.arange(3),
    }  # fmt: skip
    torch.save({"model_state_dict": STATE, **beside}, tmp_path / "x.pt")
    assert list(read_state_dict(tmp_path / "x.pt")) == ["x", "n"]


def test_a_parameter_with_attributes_is_its_tensor(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    parameter._optim = {"weight_decay": 0.0}  # type: ignore[attr-defined]
    torch.save({"x": parameter}, tmp_path / "x.pt")
    assert b"_rebuild_parameter_with_state" in (tmp_path / "x.pt").read_bytes()
    assert read_state_dict(tmp_path / "x.pt")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: {"x": torch.empty(2, device="meta")}, "tensors on the meta device, which have no values"),
        (lambda: {"x": torch.ones(2).to_sparse()}, "sparse tensors; save them dense"),
        (lambda: torch.nn.Linear(2, 2), "'torch.nn.modules.linear.Linear' (a whole model? save model.state_dict()"),
    ],
)  # fmt: skip
def test_tensors_of_other_kinds_are_named_with_what_to_do(
    content: Callable[[], Any], message: str, tmp_path: Path
) -> None:
    torch.save(content(), tmp_path / "x.pt")
    assert message in refusal(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    assert "a TorchScript program; save the state_dict()" in refusal(tmp_path / "x.pt")
