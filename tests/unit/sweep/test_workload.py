"""The workload of runs and pretrainings, compared with real training."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from hyena.cost.flops import BatchWork
from hyena.data.catalogue import deciles
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.loop import PreparedData, Run
from hyena.training.pretraining import Corpus, Pretraining, PretrainingConfig
from hyena.training.recipe import TrainingConfig
from sweep.run_times import flops_of, shares_of_work
from sweep.trials import RunSpec, facts_of
from sweep.workload import Splits, pretraining_batches, run_batches, splits_of, state_bytes
from tests.support.runs import RUN

CONFIG = HyenaConfig(d_model=8, n_layer=1, l_max=400)


def made(longest: int = 300, train: int = 90, test: int = 40) -> Dataset:
    """Sequences of lengths spread evenly up to the longest, of three classes of different size."""
    rng = np.random.default_rng(0)

    def some(number: int) -> list[tuple[bytes, int]]:
        lengths = np.linspace(1, longest, number).astype(int)
        labels = np.arange(number) % 5 % 3
        return [
            (rng.choice(np.frombuffer(b"ACGT", np.uint8), n).tobytes(), int(c))
            for n, c in zip(lengths, labels, strict=True)
        ]

    return dataset_from_sequences("made", ["a", "b", "c"], some(train), some(test))


def run_on(dataset: Dataset, init: str = "scratch", **training: Any) -> tuple[RunSpec, tuple[int, ...]]:
    """A planned run, and the deciles of its lengths."""
    facts = facts_of(dataset)
    config = TrainingConfig(**{"epochs": 2, "batch_size": 16, **training})
    config = dataclasses.replace(config, max_length=config.input_length(facts.longest))
    lengths = np.concatenate([split.lengths for split in dataset.splits.values()])
    return dataclasses.replace(RUN, config=CONFIG, facts=facts, init=init, training=config), deciles(lengths)


RECIPES: list[dict[str, Any]] = [
    {},
    {"validation_fraction": 0.0},
    {"train_fraction": 0.35},
    {"max_length": 200, "padding": "left", "pooling": "all"},
    {"max_length": 350, "padding": "left"},
    {"max_length": 130},
    {"batching": "like_length"},
]


@pytest.mark.parametrize("training", RECIPES)
def test_batches_are_those_of_real_training(training: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and sequences exactly; the positions of batches cut to their longest within a few per cent."""
    dataset = made()
    spec, lengths = run_on(dataset, **training)
    seen: dict[str, Counter[tuple[int, int]]] = {"train": Counter(), "evaluate": Counter()}
    forward = Classifier.forward

    def recorded(self: Classifier, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen["train" if torch.is_grad_enabled() else "evaluate"][tuple(tokens.shape)] += 1
        return forward(self, tokens, *rest)

    monkeypatch.setattr(Classifier, "forward", recorded)
    model = Classifier(CONFIG, 3, spec.training.pooling, spec.training.padding)
    initialise(model, 0)
    run = Run(model, PreparedData.of(dataset, spec.training, 0, torch.device("cpu")), spec.training, 0)
    for _ in range(spec.training.epochs):
        run.advance()
    predicted = {kind: Counter[tuple[int, int]]() for kind in seen}
    for work, number in run_batches(spec, lengths).items():
        predicted[work.kind][work.batch, work.length] += int(number)
    for kind, shapes in seen.items():
        assert predicted[kind].total() == shapes.total()
        assert sum(b * n for (b, _), n in predicted[kind].items()) == sum(b * n for (b, _), n in shapes.items())
        positions, expected = (sum(b * w * n for (b, w), n in counted.items()) for counted in (predicted[kind], shapes))
        assert positions == pytest.approx(expected, rel=0.08)
        if "batching" not in training and kind == "train":
            assert predicted[kind] == shapes


def test_splits_are_cut_class_by_class() -> None:
    spec, _ = run_on(made(train=90), validation_fraction=0.1, train_fraction=0.5)
    data = PreparedData.of(made(train=90), spec.training, 0, torch.device("cpu"))
    assert data.validation is not None
    counts = (len(part.labels) for part in (data.train, data.validation, data.test))
    assert splits_of(spec) == Splits(*counts)


def test_a_data_sets_own_validation_split_is_not_cut_again() -> None:
    facts = dataclasses.replace(RUN.facts, class_counts=(60, 40), validation_examples=7)
    assert splits_of(dataclasses.replace(RUN, facts=facts)) == Splits(100, 7, 50)


def test_a_frozen_run_trains_its_head_only() -> None:
    kinds = {work.kind for work in run_batches(*run_on(made(), init="frozen"))}
    assert kinds == {"frozen", "evaluate"}
    frozen, trained = (
        dataclasses.replace(RUN, init=init, trainable_parameters=1_000) for init in ("frozen", "scratch")
    )
    assert state_bytes(trained) - state_bytes(frozen) == 2 * 4 * 1_000


def test_a_pretraining_consists_of_steps_and_held_out_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus([np.full(20_000, 7, np.uint8)])
    config = PretrainingConfig(steps=30, length=50, batch_size=8, log_every=3)
    run = Pretraining(CONFIG, corpus, config, torch.device("cpu"))
    counted: Counter[tuple[str, int]] = Counter()
    real = run._loss
    monkeypatch.setattr(
        run, "_loss", lambda w, d: counted.update([("pretrain" if d else "evaluate", len(w))]) or real(w, d)
    )
    while not run.finished:
        run.advance()
    predicted = pretraining_batches(CONFIG, config, len(corpus.tokens), "float32")
    assert predicted[BatchWork("pretrain", CONFIG, 8, 50)] == counted["pretrain", 8] == 30
    windows = sum(size * number for (kind, size), number in counted.items() if kind == "evaluate")
    (evaluated,) = [(work, number) for work, number in predicted.items() if work.kind == "evaluate"]
    assert evaluated[0].batch * evaluated[1] == pytest.approx(windows, rel=0.06)


def test_what_is_probed_has_most_of_the_work_first() -> None:
    wide = dataclasses.replace(RUN, config=HyenaConfig(d_model=64, n_layer=2, l_max=400))
    batches = [run_batches(dataclasses.replace(run, training=RUN.training), (64,) * 11) for run in (RUN, wide)]
    batches.append({BatchWork("pretrain", CONFIG, 4, 70): 1.0, BatchWork("pretrain", CONFIG, 4, 60): 5.0})
    jobs = shares_of_work(batches, "cpu")
    assert [(work.kind, work.config.d_model, work.length) for work, _ in jobs] == [
        ("train", 64, 64), ("train", 8, 64), ("pretrain", 8, 60),
    ]  # fmt: skip
    assert jobs[2][1] == flops_of(batches[2], "cpu")
    assert {work.kind for work, _ in jobs} == {"train", "pretrain"}
