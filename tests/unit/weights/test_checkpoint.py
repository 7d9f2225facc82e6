"""Weights load bit for bit from every published format, and from nothing else."""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.weights.checkpoint import (
    load_backbone,
    named_tensors,
    save_weights,
    tensors_digest,
)
from hyena.weights.tensor_files import read_tensors, weights_file

SMALL = HyenaConfig(d_model=8, n_layer=2, l_max=34, filter_order=4)
FREQUENCY = "backbone.layers.0.mixer.filter_fn.implicit_filter.{}.freq"
POSITIONS = "backbone.layers.{}.mixer.filter_fn.pos_emb.z"

Tensors = dict[str, torch.Tensor]


def classifier(seed: int) -> Classifier:
    model = Classifier(SMALL, num_classes=2)
    initialise(model, seed)
    with torch.no_grad():
        for layer in model.backbone.layers:
            layer.mixer.filter_fn.implicit_filter[1].freq += torch.linspace(0, seed, 4)  # type: ignore[union-attr, operator]
    return model


@pytest.fixture(scope="module")
def trained() -> Classifier:
    return classifier(seed=1)


@pytest.fixture
def backbone_tensors(trained: Classifier) -> Tensors:
    return {name: tensor.clone() for name, tensor in named_tensors(trained.backbone).items()}


def checkpointing_names(name: str) -> str:
    """What gradient checkpointing makes of a name: the mixer and the MLP are wrapped."""
    return re.sub(r"\.(mixer|mlp)\.", r".\1.layer.", name)


def lightning(tensors: Tensors, rename: Callable[[str], str] = str) -> dict[str, Any]:
    """The content of LongSafari/NAME's weights.ckpt: Lightning 1.8.6, with its settings, counters and optimiser."""
    state = OrderedDict({f"model.{rename(name)}": tensor for name, tensor in tensors.items()})
    state["model.lm_head.weight"] = tensors["backbone.embeddings.word_embeddings.weight"]
    for split in ("train", "val", "test"):
        state[f"{split}_torchmetrics.num_tokens.count"] = torch.tensor(123456789)
    return {
        "epoch": 99,
        "global_step": 10000,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 100}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'test/loss'}": {"best_model_score": torch.tensor(1.16)}},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}}, "param_groups": []}
        ],
        "lr_schedulers": [{"_last_lr": [0.0006]}],
        "hparams_name": "config",
        "hyper_parameters": OmegaConf.create(
            {
                "model": {
                    "_name_": "lm",
                    "d_model": 128,
                    "layer": {"_name_": "hyena", "lr_pos_emb": 0.0, "bias": None},
                },
                "dataset": {"max_length": 1024, "splits": ["train", "val"]},
                "train": {"seed": 2222, "global_batch_size": "${dataset.max_length}"},
            }
        ),
    }


def write_lightning(tensors: Tensors, folder: Path) -> Path:
    torch.save(lightning(tensors), folder / "weights.ckpt")
    return folder / "weights.ckpt"


def write_lightning_checkpointing(tensors: Tensors, folder: Path) -> Path:
    torch.save(lightning(tensors, checkpointing_names), folder / "weights.ckpt")
    return folder


def hub_names(tensors: Tensors) -> Tensors:
    return {f"hyena.{name}": tensor for name, tensor in tensors.items()} | {"score.weight": torch.ones(2, 8)}


def write_hub_bin(tensors: Tensors, folder: Path) -> Path:
    torch.save(hub_names(tensors), folder / "pytorch_model.bin")
    return folder


def write_hub_safetensors(tensors: Tensors, folder: Path) -> Path:
    """As transformers writes it: of tensors that share memory, only one is kept."""
    kept = {name: tensor for name, tensor in hub_names(tensors).items() if not re.search(r"\.[35]\.freq$", name)}
    assert len(kept) == len(tensors) + 1 - 4
    safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_plain(tensors: Tensors, folder: Path) -> Path:
    head = {"head.output_transform.weight": torch.ones(2, 8), "head.output_transform.bias": torch.ones(2)}
    torch.save({**tensors, **head}, folder / "fine-tuned.pt")
    return folder / "fine-tuned.pt"


FORMATS = [write_lightning, write_lightning_checkpointing, write_hub_bin, write_hub_safetensors, write_plain]


# ------------------------------------------------------------------------------------------------------------ loading


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_loads_bit_for_bit_and_leaves_the_head(
    write: Callable[[Tensors, Path], Path],
    trained: Classifier,
    backbone_tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # published files say that
    path = write(backbone_tensors, tmp_path)
    model = classifier(seed=2)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    memory = {name: tensor.data_ptr() for name, tensor in named_tensors(model.backbone).items()}
    digest = load_backbone(model.backbone, path)
    assert digest == tensors_digest(backbone_tensors)
    for name, tensor in named_tensors(model.backbone).items():
        assert torch.equal(tensor, backbone_tensors[name]), name
        assert tensor.data_ptr() == memory[name], "loaded in place, so that what shares memory still does"
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())
    tokens = torch.randint(7, 11, (3, 20), generator=torch.Generator().manual_seed(1))
    assert torch.equal(model.backbone(tokens), trained.backbone(tokens))


def test_torch_itself_rejects_the_published_lightning_file(backbone_tensors: Tensors, tmp_path: Path) -> None:
    path = write_lightning(backbone_tensors, tmp_path)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    assert set(read_tensors(path)) - set(backbone_tensors) == {
        "lm_head.weight",
        *(f"{split}_torchmetrics.num_tokens.count" for split in ("train", "val", "test")),
    }


def test_the_stored_positions_and_window_are_used(backbone_tensors: Tensors, tmp_path: Path) -> None:
    for name, tensor in backbone_tensors.items():
        if "pos_emb" in name or "deltas" in name:
            tensor += 0.25
    model = classifier(seed=2)
    load_backbone(model.backbone, write_plain(backbone_tensors, tmp_path))
    assert torch.equal(named_tensors(model.backbone)[POSITIONS.format(1)], backbone_tensors[POSITIONS.format(1)])


def misfit(tensors: Tensors, change: Callable[[Tensors], Any], folder: Path) -> str:
    """The message of the refusal; the model is unchanged after it."""
    change(tensors)
    torch.save(tensors, folder / "x.pt")
    model = classifier(seed=2)
    before = tensors_digest(named_tensors(model.backbone))
    with pytest.raises(InputError) as caught:
        load_backbone(model.backbone, folder / "x.pt")
    assert tensors_digest(named_tensors(model.backbone)) == before
    message = str(caught.value)
    assert "\n" not in message
    return message.partition("not the weights of this model: ")[2]


BIAS = "backbone.ln_f.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(BIAS), f"{BIAS} is missing"),
        (
            lambda t: (t.pop(BIAS), t.pop("backbone.ln_f.weight")),
            "backbone.ln_f.weight and backbone.ln_f.bias are missing",
        ),
        (lambda t: t.update({"backbone.ln_f.gain": torch.ones(1)}), "backbone.ln_f.gain is unexpected"),
        (
            lambda t: t.update({"backbone.layers.2.norm1.bias": torch.ones(8)}),
            "backbone.layers.2.norm1.bias is unexpected",
        ),
        (lambda t: t.update({"lm_head.weight_mask": torch.ones(1)}), "lm_head.weight_mask is unexpected"),
        (lambda t: t.update({BIAS: torch.ones(9)}), f"{BIAS} has shape (9,), expected (8,)"),
        (lambda t: t.update({BIAS: torch.ones(1, 8)}), f"{BIAS} has shape (1, 8), expected (8,)"),
        (
            lambda t: t.update({BIAS: t[BIAS].double()}),
            f"{BIAS} is torch.float64, which torch.float32 cannot represent exactly",
        ),
        (
            lambda t: t.update({BIAS: t[BIAS].int()}),
            f"{BIAS} is torch.int32, which torch.float32 cannot represent exactly",
        ),
        (lambda t: t.update({BIAS: t[BIAS] + torch.nan}), f"{BIAS} has values that are not finite"),
        (lambda t: t.update({BIAS: t[BIAS] - torch.inf}), f"{BIAS} has values that are not finite"),
        (
            lambda t: t[FREQUENCY.format(5)].add_(1),
            f"{FREQUENCY.format(1)} and {FREQUENCY.format(5)} differ, but are one tensor in the model",
        ),
        (
            lambda t: t[POSITIONS.format(1)].add_(1),
            f"{POSITIONS.format(0)} and {POSITIONS.format(1)} differ, but are one tensor in the model",
        ),
        (lambda t: [t.pop(FREQUENCY.format(i)) for i in (1, 3, 5)], f"{FREQUENCY.format(1)} is missing"),
        (
            lambda t: [t.update({n: torch.ones(3)}) for n in list(t)],
            "backbone.embeddings.word_embeddings.weight has shape (3,), expected (16, 8)",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_loaded(
    change: Callable[[Tensors], Any], message: str, backbone_tensors: Tensors, tmp_path: Path
) -> None:
    said = misfit(backbone_tensors, change, tmp_path)
    assert said.split("; ")[0] == message
    assert len(said) < 1000


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_weights(classifier(1).backbone, SMALL, tmp_path)
    longer = Classifier(HyenaConfig(d_model=8, n_layer=2, l_max=66, filter_order=4), 2)
    with pytest.raises(InputError, match=r"pos_emb.z has shape \(1, 34, 5\), expected \(1, 66, 5\)"):
        load_backbone(longer.backbone, tmp_path)
    deeper = Classifier(HyenaConfig(d_model=8, n_layer=3, l_max=34, filter_order=4), 2)
    with pytest.raises(InputError, match=r"backbone.layers.2.mixer.in_proj.weight and 23 more are missing"):
        load_backbone(deeper.backbone, tmp_path)


def test_two_tensors_of_one_name_are_an_error(backbone_tensors: Tensors, tmp_path: Path) -> None:
    torch.save({**backbone_tensors, f"model.{BIAS}": torch.ones(8)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=f"duplicate tensor {BIAS}, the second as model.{BIAS}"):
        read_tensors(tmp_path / "x.pt")


def test_a_narrower_type_is_widened_exactly(backbone_tensors: Tensors, tmp_path: Path) -> None:
    narrow = {name: tensor.bfloat16() for name, tensor in backbone_tensors.items()}
    torch.save(narrow, tmp_path / "x.pt")
    model = classifier(seed=2)
    load_backbone(model.backbone, tmp_path / "x.pt")
    assert all(torch.equal(t, narrow[name].float()) for name, t in named_tensors(model.backbone).items())


@pytest.mark.parametrize("content", [b"\x00" * 100, b"\xff" * 8 + b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}x"])
@pytest.mark.parametrize("name", ["model.safetensors", "weights.ckpt"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: damaged, or not a") as caught:
        read_tensors(tmp_path)
    assert "\n" not in str(caught.value)


def test_which_file_of_a_folder_is_read(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as caught:
            weights_file(tmp_path)
        return str(caught.value)

    assert "holds no model.safetensors" in refusal()
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "notes.txt").touch()
    assert weights_file(tmp_path).name == "a.ckpt"
    (tmp_path / "b.pt").touch()
    assert "several weights files (a.ckpt, b.pt); name one" in refusal()
    for name in ("weights.ckpt", "pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).touch()
        assert weights_file(tmp_path).name == name, "each goes before those already there"
    with pytest.raises(InputError, match="no such file or folder of weights"):
        weights_file(tmp_path / "elsewhere")


# ------------------------------------------------------------------------------------------------------------- digest


def test_the_digest_sees_name_type_shape_and_every_bit_but_not_the_layout() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.arange(6.0).reshape(2, 3).T.contiguous().T}
    assert tensors_digest(same) == tensors_digest(base)
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": torch.zeros(2, dtype=torch.int32)},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"], "b": -base["b"]},  # minus zero
        {"a": base["a"]},
    ]
    digests = {tensors_digest(tensors) for tensors in [base, *others]}
    assert len(digests) == len(others) + 1
    assert tensors_digest({}) == hashlib.sha256().hexdigest()


# ------------------------------------------------------------------------------------------------------------- saving


def test_saved_weights_come_back_bit_for_bit(trained: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "weights"
    digest = save_weights(trained.backbone, SMALL, folder)
    model = classifier(seed=2)
    assert load_backbone(model.backbone, folder) == digest == tensors_digest(named_tensors(trained.backbone))
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    assert set(stored) == {f"hyena.{name}" for name in named_tensors(trained.backbone)}
    with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "hyenadna"
    fields = {"d_model": 8, "d_inner": 32, "n_layer": 2, "max_seq_len": 34, "emb_dim": 5, "filter_order": 4}
    assert {key: config[key] for key in fields} == fields


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_crash_while_saving_leaves_the_old_weights(
    call: str, trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = save_weights(trained.backbone, SMALL, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(classifier(2).backbone, SMALL, tmp_path)
    monkeypatch.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert load_backbone(classifier(3).backbone, tmp_path) == digest
