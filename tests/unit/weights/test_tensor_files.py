"""Which weights file is read, of what kind it is, and the names of its tensors."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Backbone, Classifier, initialise
from hyena.weights.checkpoint import load_backbone, named_tensors, save_weights, tensors_digest
from hyena.weights.tensor_files import normalised, read_tensors, weights_file

SIZE = HyenaConfig(d_model=8, n_layer=2, l_max=34, filter_order=4)
BIAS = "backbone.ln_f.bias"

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def model() -> Classifier:
    model = Classifier(SIZE, 2)
    initialise(model, 3)
    return model


@pytest.fixture
def tensors(model: Classifier) -> Tensors:
    return {name: tensor.clone() for name, tensor in named_tensors(model.backbone).items()}


def digest_of(path: Path) -> str:
    """Of the weights as a model takes them."""
    return load_backbone(Backbone(SIZE), path)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_backbone(Backbone(SIZE), path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}")
    return str(caught.value)


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "prefix",
    [
        "", "backbone.", "module.backbone.", "_orig_mod.backbone.", "_orig_mod.module.backbone.", "model.backbone.",
        "model.hyena.backbone.", "hyena.backbone.", "module.module.model.hyena.backbone.", "net.backbone.",
        "model.model.backbone.", "dna_model.backbone.", "lightning.encoder.hyena.backbone.",
    ],
)  # fmt: skip
def test_any_prefix_of_the_backbone_is_ignored(prefix: str, tensors: Tensors, tmp_path: Path) -> None:
    renamed = {name.replace("backbone.", prefix, 1): tensor for name, tensor in tensors.items()}
    torch.save(renamed, tmp_path / "x.pt")
    assert digest_of(tmp_path / "x.pt") == tensors_digest(tensors)


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"])
def test_wrappers_of_single_layers_are_ignored(wrapper: str, tensors: Tensors, tmp_path: Path) -> None:
    renamed = {re.sub(r"(layers\.\d+)\.", rf"\1.{wrapper}.", name): tensor for name, tensor in tensors.items()}
    assert f"backbone.layers.0.{wrapper}.norm1.bias" in renamed
    torch.save(renamed, tmp_path / "x.pt")
    assert digest_of(tmp_path / "x.pt") == tensors_digest(tensors)


def test_other_names_are_unchanged() -> None:
    same = ["lm_head.weight", "score.weight", "train_torchmetrics.num_tokens.count", "optimizer.backbone.lr", "module"]
    assert [normalised(name) for name in same] == same
    assert normalised("module.model.classifier.weight") == "classifier.weight"


def test_two_models_in_one_file_are_an_error(tensors: Tensors, tmp_path: Path) -> None:
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in tensors.items()}
    torch.save(both, tmp_path / "x.pt")
    first = next(iter(tensors))
    assert refusal(tmp_path / "x.pt").endswith(f"duplicate tensor {first}, the second as teacher.{first}")


HEADS = ["classifier", "classifier.0", "classifier.dense", "classification_head", "fc", "head", "score", "decoder.0.x"]


@pytest.mark.parametrize("head", HEADS)
def test_a_classification_head_is_ignored(head: str, tensors: Tensors, tmp_path: Path) -> None:
    for prefix in ("", "model."):
        with_head = {**tensors, f"{prefix}{head}.weight": torch.ones(2, 8), f"{prefix}{head}.bias": torch.ones(2)}
        torch.save(with_head, tmp_path / "x.pt")
        assert digest_of(tmp_path / "x.pt") == tensors_digest(tensors)


def test_a_tensor_of_an_unknown_name_is_an_error(tensors: Tensors, tmp_path: Path) -> None:
    torch.save({**tensors, "adapter.weight": torch.ones(2)}, tmp_path / "x.pt")
    assert refusal(tmp_path / "x.pt").endswith("not the weights of this model: adapter.weight is unexpected")


# ------------------------------------------------------------------------------------------------------- kinds of file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; copy or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "an HTML"),
        (b"\xef\xbb\xbf\n<html>", "an HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip; decompress it first"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not weights of torch"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "weights.ckpt", "pytorch_model.bin"])
def test_errors_say_what_a_file_is_that_is_not_weights(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: {message}")
    assert refusal(tmp_path).startswith(f"{tmp_path / name}: {message}")


def test_the_first_bytes_determine_the_kind(tensors: Tensors, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "by_torch.safetensors")
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "other.bin")
    for name in ("by_torch.safetensors", "other.bin"):
        assert digest_of(tmp_path / name) == tensors_digest(tensors)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_of_torch_before_1_6_is_named_with_what_to_do(tensors: Tensors, tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    assert "written by torch before 1.6" in refusal(path)
    assert "torch.load(FILE, weights_only=True) and save it again with torch.save" in refusal(path)
    if protocol == 2:  # what it says does help, where torch itself can read the file
        torch.save(torch.load(path, weights_only=True), path)
        assert digest_of(path) == tensors_digest(tensors)


# -------------------------------------------------------------------------------------------------------------- shards


def write_shards(tensors: Tensors, folder: Path, kind: str = "model.safetensors") -> dict[str, str]:
    """Two files and their index, as transformers writes them."""
    stem, ending = kind.split(".")
    names = [f"{stem}-0000{n}-of-00002.{ending}" for n in (1, 2)]
    listed = {f"hyena.{tensor}": names[n % 2] for n, tensor in enumerate(tensors)}
    for name in names:
        part = {key: tensors[key.removeprefix("hyena.")].clone() for key, file in listed.items() if file == name}
        if ending == "safetensors":
            safetensors.torch.save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
    (folder / f"{kind}.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))
    return listed


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_shards_are_read_by_their_index(kind: str, tensors: Tensors, tmp_path: Path) -> None:
    write_shards(tensors, tmp_path, kind)
    assert weights_file(tmp_path).name == f"{kind}.index.json"
    assert digest_of(tmp_path) == digest_of(tmp_path / f"{kind}.index.json") == tensors_digest(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "lists model-00002-of-00002.safe"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "not an index of weights"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "not an index of weights"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../x.bin"}}'),
            "'weight_map' must map tensors to file names",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"x": "model-00001-of-00002.safetensors"}}'
            ),
            "x is not in model-00001-of-00002.safetensors",
        ),
    ],
)  # fmt: skip
def test_incomplete_shards_are_errors(
    change: Callable[[Path], object], message: str, tensors: Tensors, tmp_path: Path
) -> None:
    write_shards(tensors, tmp_path)
    change(tmp_path)
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / 'model.safetensors.index.json'}: ")
    assert message in said


def test_shards_without_an_index_are_several_files(tensors: Tensors, tmp_path: Path) -> None:
    write_shards(tensors, tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert "several weights files (model-00001-of-00002.safetensors, model-00002-of-00002" in refusal(tmp_path)


# -------------------------------------------------------------------------------------------------------------- sizes


def test_the_error_of_different_sizes_names_both(model: Classifier, tmp_path: Path) -> None:
    save_weights(model.backbone, SIZE, tmp_path)
    other = Backbone(HyenaConfig(d_model=16, n_layer=2, l_max=66, filter_order=4))
    with pytest.raises(InputError) as caught:
        load_backbone(other, tmp_path)
    assert str(caught.value).endswith(
        "the weights have d_model = 8, l_max = 34, d_inner = 32, the model has d_model = 16, l_max = 66, d_inner = 64"
    )


def test_an_epsilon_that_no_tensor_shows_must_be_the_models(model: Classifier, tmp_path: Path) -> None:
    save_weights(model.backbone, SIZE, tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "layer_norm_epsilon": 1e-12}))
    said = refusal(tmp_path)
    assert (
        said
        == f"{tmp_path / 'config.json'}: layer_norm_epsilon = 1e-12; expected {1e-05}, the layer_norm_eps of the model"
    )
    for of_another_kind in ('{"model_type": "bert", "layer_norm_epsilon": 1e-12}', "{"):
        (tmp_path / "config.json").write_text(of_another_kind)
        assert digest_of(tmp_path) == tensors_digest(named_tensors(model.backbone))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(dtype: torch.dtype, tensors: Tensors, tmp_path: Path) -> None:
    half = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in half.items()}, tmp_path / "model.safetensors")
    assert digest_of(tmp_path) == tensors_digest({name: tensor.float() for name, tensor in half.items()})


def test_a_broken_link_is_not_a_weights_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    assert "holds no model.safetensors" in refusal(tmp_path)
    with pytest.raises(InputError, match="no such file or folder of weights"):
        read_tensors(tmp_path / "model.safetensors")


def test_eight_bit_floats_are_an_error(tensors: Tensors, tmp_path: Path) -> None:
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()}
    safetensors.torch.save_file(small, tmp_path / "model.safetensors")
    assert "is torch.float8_e4m3fn, which torch.float32 cannot represent exactly" in refusal(tmp_path)


def test_an_index_may_begin_with_a_byte_order_mark(tensors: Tensors, tmp_path: Path) -> None:
    write_shards(tensors, tmp_path)
    expected = digest_of(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert digest_of(tmp_path) == expected


def test_the_case_of_an_ending_does_not_matter(tensors: Tensors, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "Model.PT")
    assert weights_file(tmp_path) == tmp_path / "Model.PT"
