"""Fine-tuned models on disk: what is saved loads unchanged, head included, and other files are errors."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hyena.data.synthetic import SyntheticConfig, synthetic_dataset
from hyena.errors import InputError
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Backbone, Classifier, initialise
from hyena.training.loop import PreparedData, Run
from hyena.training.optimisation import predict
from hyena.training.recipe import TrainingConfig
from hyena.weights.checkpoint import load_backbone, named_tensors, tensors_digest
from hyena.weights.classifiers import classifier_bytes, load_classifier, save_classifier

SMALL = HyenaConfig(d_model=8, n_layer=2, l_max=50, emb_dim=7, filter_order=4, d_inner=12)


@pytest.fixture
def tuned() -> Classifier:
    model = Classifier(SMALL, 3, pooling="real", padding="right")
    initialise(model, 1)
    with torch.no_grad():
        model.head.output_transform.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    return model


def test_a_trained_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    dataset = synthetic_dataset(
        "synthetic_tracts", SyntheticConfig(train_examples=40, test_examples=20, sequence_length=50)
    )
    config = TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-2)
    model = Classifier(SMALL, 2, config.pooling, config.padding)
    initialise(model, 1)
    run = Run(model, PreparedData.of(dataset, config, 0, torch.device("cpu")), config, 1)
    run.advance()
    digest = save_classifier(model, dataset.classes, tmp_path)
    again, classes = load_classifier(tmp_path)
    assert (classes, again.backbone.config, again.pooling, again.padding) == (dataset.classes, SMALL, "real", "right")
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    assert torch.equal(predict(again, run.data.test, config), torch.from_numpy(run.result().test_logits))
    assert digest == tensors_digest(named_tensors(again.backbone)) == load_backbone(Backbone(SMALL), tmp_path)


def test_the_folder_has_the_layout_of_the_hub(tuned: Classifier, tmp_path: Path) -> None:
    save_classifier(tuned, ("a", "b", "c"), tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert set(stored) == {f"hyena.{name}" for name in named_tensors(tuned.backbone)} | {"score.weight", "score.bias"}
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["architectures"] == ["HyenaDNAForSequenceClassification"]
    assert described["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert (described["max_seq_len"], described["emb_dim"], described["num_labels"]) == (50, 7, 3)


@pytest.mark.parametrize("config", [SMALL, PUBLISHED["hyenadna-tiny-1k-seqlen"]])
def test_the_size_on_disk_is_known_beforehand(config: HyenaConfig, tmp_path: Path) -> None:
    save_classifier(Classifier(config, 2), ("a", "b"), tmp_path)
    on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert classifier_bytes(config, 2) == pytest.approx(on_disk, rel=0.05)


def test_files_of_the_published_code_get_the_published_pooling_and_padding(tuned: Classifier, tmp_path: Path) -> None:
    torch.save(tuned.state_dict(), tmp_path / "fine-tuned.pt")
    again, classes = load_classifier(tmp_path / "fine-tuned.pt")
    assert (classes, again.pooling, again.padding) == (("0", "1", "2"), "all", "left")
    for name, tensor in tuned.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_head_without_bias_has_a_bias_of_zero(tuned: Classifier, tmp_path: Path) -> None:
    save_classifier(tuned, ("a", "b", "c"), tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del stored["score.bias"]
    safetensors.torch.save_file(stored, tmp_path / "model.safetensors")
    assert not load_classifier(tmp_path)[0].head.output_transform.bias.any()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t.pop("score.weight"), "no classification head"),
        (lambda t: t.update({"score.weight": torch.ones(3)}), "no classification head"),
        (lambda t: t.update({"score.weight": torch.ones(3, 9)}), r"score\.weight has shape \(3, 9\)"),
        (
            lambda t: t.update({"score.bias": torch.tensor([1, float("nan"), 1])}),
            r"score\.bias has values that are not",
        ),
        (lambda t: t.pop("hyena.backbone.layers.0.mlp.fc1.weight"), "not a HyenaDNA model"),
        (lambda t: t.pop("hyena.backbone.layers.0.mlp.fc1.bias"), "fc1.bias is missing"),
        (lambda t: t.update({"hyena.backbone.layers.0.mlp.fc1.weight": torch.ones(3)}), "not a HyenaDNA model"),
    ],
)
def test_a_file_that_is_not_a_classifier_is_an_error(tuned: Classifier, tmp_path: Path, change, fault: str) -> None:
    save_classifier(tuned, ("a", "b", "c"), tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    change(stored)
    safetensors.torch.save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=fault):
        load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "unreadable"),
        ("[]", "not the description"),
        ('{"pooling": "last"}', "pooling = 'last': must be one of all, real"),
    ],
)
def test_an_invalid_description_is_an_error(tuned: Classifier, tmp_path: Path, text: str, fault: str) -> None:
    save_classifier(tuned, ("a", "b", "c"), tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=fault):
        load_classifier(tmp_path)


def test_a_head_has_as_many_outputs_as_classes(tuned: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 class names for a head of 3 outputs"):
        save_classifier(tuned, ("a", "b"), tmp_path)
