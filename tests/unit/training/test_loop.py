"""Training: the schedule, the parameter groups, and runs that resume bit for bit in another process."""

import io
import math
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import hyena.training.loop
from hyena.data.batches import Batch
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.data.synthetic import SyntheticConfig, synthetic_dataset
from hyena.data.tokenizer import PAD
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise, shuffle
from hyena.model.stacked import StackedClassifier
from hyena.randomness import numpy_stream
from hyena.training.cuda_graphs import CapturedSteps, recomputes_activations, stepper
from hyena.training.loop import PreparedData, Run
from hyena.training.optimisation import optimizer_for, predict
from hyena.training.recipe import TrainingConfig, learning_rate
from hyena.training.seed_state import TrainingError
from hyena.weights.checkpoint import load_backbone, save_weights

MODEL = HyenaConfig(d_model=8, n_layer=1, l_max=210)
CONFIG = TrainingConfig(epochs=3, batch_size=16, learning_rate=3e-3, validation_fraction=0.2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic_dataset(
        "synthetic_tracts", SyntheticConfig(sequence_length=40, train_examples=60, test_examples=20)
    )


def new_run(dataset: Dataset, seed: int = 1, config: TrainingConfig = CONFIG) -> Run:
    torch.set_num_threads(1)
    model = Classifier(MODEL, 2, config.pooling, config.padding)
    initialise(model, seed)
    return Run(model, PreparedData.of(dataset, config, 0, CPU), config, seed)


def finished(run: Run) -> Run:
    while not run.finished:
        run.advance()
    return run


def losses(run: Run) -> list[float]:
    return [record.train_loss for record in run.history]


def test_schedule_warms_up_linearly_and_falls_as_a_cosine() -> None:
    config = TrainingConfig(epochs=1)
    assert learning_rate(0, 1000, config) == 1e-6
    assert learning_rate(5, 1000, config) == pytest.approx((1e-6 + 6e-4) / 2)
    assert learning_rate(10, 1000, config) == 6e-4
    assert learning_rate(505, 1000, config) == pytest.approx((6e-4 + 6e-5) / 2)
    assert learning_rate(999, 1000, config) == pytest.approx(6e-5, rel=1e-3)
    assert learning_rate(0, 50, config) == 6e-4  # 1 % of 50 steps is none


def test_weight_decay_spares_the_implicit_filter_alone() -> None:
    decay = {}
    model = Classifier(MODEL, 2)
    for group in optimizer_for(model, CONFIG).param_groups:
        decay |= {id(p): group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.0 if "filter_fn" in name else 0.1), name


def test_a_run_learns_and_records_every_epoch() -> None:
    examples = [(b"ATTA" * 10, 0), (b"GCCG" * 10, 1)] * 10
    easy = dataset_from_sequences("easy", ("at", "gc"), examples, examples)
    run = finished(new_run(easy, config=TrainingConfig(epochs=12, batch_size=4, learning_rate=1e-2)))
    assert [record.epoch for record in run.history] == list(range(1, 13))
    assert run.history[-1].train_loss < 0.2 < run.history[0].train_loss
    result = run.result()
    assert result.test.accuracy == 1.0
    assert result.test.accuracy == pytest.approx(run.history[-1].test_accuracy)
    assert result.test.loss == pytest.approx(run.history[-1].test_loss, rel=1e-5)
    assert sum(map(sum, result.test.confusion)) == 20


def test_the_best_epoch_is_chosen_on_validation(dataset: Dataset) -> None:
    run = finished(new_run(dataset))
    result = run.result()
    by_validation = [record.validation_accuracy for record in run.history]
    assert result.best_epoch == by_validation.index(max(by_validation)) + 1
    assert result.best_epoch_test_accuracy == run.history[result.best_epoch - 1].test_accuracy


def test_without_validation_nothing_is_chosen(dataset: Dataset) -> None:
    run = finished(new_run(dataset, config=TrainingConfig(epochs=1, validation_fraction=0)))
    assert run.result().validation is None
    assert run.result().best_epoch is None


def batches_of(run: Run) -> list[Batch]:
    """The batches of the next epoch."""
    return list(run._batches(run._begin()))


@pytest.fixture(scope="module")
def uneven() -> Dataset:
    """Sequences of 1 to 200 letters."""
    rng = numpy_stream(1, "tasks")
    made = [(bytes(rng.choice(list(b"ACGTN"), n).tolist()), n % 2) for n in rng.integers(1, 201, 90)]
    return dataset_from_sequences("uneven", ("even", "odd"), made[:60], made[60:])


LIKE_LENGTH = TrainingConfig(epochs=3, batch_size=8, learning_rate=3e-3, batching="like_length")


@pytest.mark.parametrize(("interrupted_after", "batching"), [(1, "shuffled"), (2, "shuffled"), (1, "like_length")])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    dataset: Dataset, interrupted_after: int, batching: str
) -> None:
    config = replace(CONFIG, batching=batching)  # type: ignore[arg-type]
    whole = finished(new_run(dataset, config=config))
    first = new_run(dataset, config=config)
    for _ in range(interrupted_after):
        first.advance()
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    second = new_run(dataset, seed=99, config=config)  # the streams of another seed, which the state replaces
    second.resume(torch.load(buffer, weights_only=True))
    finished(second)
    assert losses(second) == losses(whole)
    assert (second.result().test_logits == whole.result().test_logits).all()


@pytest.mark.parametrize("batching", ["shuffled", "like_length"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(dataset: Dataset, steps: int, batching: str) -> None:
    config = replace(CONFIG, batching=batching)  # type: ignore[arg-type]
    whole = finished(new_run(dataset, config=config))
    run, epochs = new_run(dataset, config=config), 0
    while not run.finished:
        taken = count(1)
        run.pause = lambda taken=taken: next(taken) == steps  # type: ignore[misc]
        run.train_and_evaluate()
        epochs += run.under_way is None
        buffer = io.BytesIO()
        torch.save(run.state(), buffer)
        buffer.seek(0)
        run = new_run(dataset, seed=99, config=config)
        run.resume(torch.load(buffer, weights_only=True))
    assert epochs == config.epochs
    assert losses(run) == losses(whole)
    assert (run.result().test_logits == whole.result().test_logits).all()


def test_states_saved_before_fields_were_renamed_can_be_resumed(dataset: Dataset) -> None:
    """Their names are those of the first release, whatever the fields are called."""
    run = new_run(dataset)
    run.pause = lambda: True
    run.train_and_evaluate()
    state = run.state()
    assert set(state) == {"model", "optimizer", "streams", "history", "under_way"}
    assert set(state["streams"]) == {"order", "augmentation", "dropout"}
    assert set(state["under_way"]) == {"order", "flipped", "loss", "correct", "steps", "train_s"}
    again = new_run(dataset, seed=99)
    again.resume(state)
    assert torch.equal(again.under_way.reverse_complemented, run.under_way.reverse_complemented)


def test_a_run_resumes_on_a_device_that_cannot_continue_its_dropout_stream(dataset: Dataset) -> None:
    """A CPU's generator refuses the 16-byte state of a GPU's: the dropout stream changes, and nothing else."""
    first = new_run(dataset)
    first.advance()
    states = []
    for position in (0, 1):
        state = first.state()
        of_gpu = torch.tensor([7] * 8 + [position] + [0] * 7, dtype=torch.uint8)
        states.append({**state, "streams": {**state["streams"], "dropout": of_gpu}})
    draws, orders = [], []
    for state in (states[0], states[0], states[1]):
        run = new_run(dataset, seed=99)
        run.resume(state)
        orders.append(run.streams["order"].get_state())
        draws.append(torch.rand(4, generator=run.streams["dropout"]))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert all(torch.equal(order, first.streams["order"].get_state()) for order in orders)
    assert finished(run).history[:1] == first.history


def test_a_state_holds_the_learning_rate_as_a_number(dataset: Dataset) -> None:
    """Captured steps read it from a tensor, which would tie a saved state to their device."""
    run = new_run(dataset)
    run.advance()
    for group in run.optimizer.param_groups:
        group["lr"] = torch.tensor(0.25)
    groups = run.state()["optimizer"]["param_groups"]
    assert [(type(group["lr"]), group["lr"]) for group in groups] == [(float, 0.25)] * 2
    assert all(torch.is_tensor(group["lr"]) for group in run.optimizer.param_groups)


@pytest.mark.parametrize("init", ["pretrained", "shuffled", "frozen"])
def test_an_arm_differs_from_scratch_in_its_backbone_alone(dataset: Dataset, init: str, tmp_path: Path) -> None:
    pretrained = Classifier(MODEL, 2)
    initialise(pretrained, 9)
    save_weights(pretrained.backbone, MODEL, tmp_path)
    scratch: Any = new_run(dataset)
    arm: Any = new_run(dataset)
    load_backbone(arm.model.backbone, tmp_path)
    if init == "shuffled":
        shuffle(arm.model.backbone, 1)
    arm.model.backbone.requires_grad_(init != "frozen")
    arm = Run(arm.model, arm.data, CONFIG, 1)

    for one, other in zip(batches_of(scratch), batches_of(arm), strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.labels, other.labels)
    for one, other in zip(scratch.model.head.parameters(), arm.model.head.parameters(), strict=True):
        assert torch.equal(one, other)
    table = [run.model.backbone.embeddings.word_embeddings.weight for run in (scratch, arm)]
    assert not torch.equal(table[0], table[1])
    draws = [torch.rand(3, generator=run.streams["dropout"]).tolist() for run in (scratch, arm)]
    assert draws[0] == draws[1]
    with torch.no_grad():
        for run in (scratch, arm):
            run.model(run.data.train.tokens, run.data.train.lengths, run.streams["dropout"])
    after = [run.streams["dropout"].get_state() for run in (scratch, arm)]
    assert torch.equal(*after)


def test_every_training_sequence_is_seen_once_an_epoch_on_one_strand_or_the_other(dataset: Dataset) -> None:
    run = new_run(dataset)
    complement = torch.tensor([0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7])
    expected = sorted(min(t, complement[torch.tensor(t)].flip(0).tolist()) for t in run.data.train.tokens.tolist())
    batches = batches_of(run)
    seen = [t for batch in batches for t in batch.tokens.tolist()]
    assert sorted(min(t, complement[torch.tensor(t)].flip(0).tolist()) for t in seen) == expected
    originals = {tuple(t) for t in run.data.train.tokens.tolist()}
    reverse_complemented = sum(tuple(t) not in originals for t in seen)
    assert 0 < reverse_complemented < len(seen)


def test_batches_of_like_length_are_cut_to_their_width_and_hold_every_sequence_once(uneven: Dataset) -> None:
    run = new_run(uneven, config=replace(LIKE_LENGTH, reverse_complement=0.0))
    batches = batches_of(run)
    assert sum(batch.tokens.numel() for batch in batches) < 0.75 * run.data.train.tokens.numel()
    for batch in batches:
        assert batch.tokens.shape[1] == min(-(-int(batch.lengths.max()) // 64) * 64, run.data.train.tokens.shape[1])
    longest = run.data.train.tokens.shape[1]
    seen = [t + [PAD] * (longest - len(t)) for batch in batches for t in batch.tokens.tolist()]
    assert sorted(seen) == sorted(run.data.train.tokens.tolist())
    again = [batch.lengths.tolist() for batch in batches_of(run)]
    assert again != [batch.lengths.tolist() for batch in batches]


def test_evaluation_in_batches_of_like_length_gives_the_same_logits_in_the_same_order(uneven: Dataset) -> None:
    run = new_run(uneven, config=LIKE_LENGTH)
    test, config = run.data.test, run.config
    with torch.no_grad():
        one_by_one = torch.cat([run.model(t[None], n[None]) for t, n, _ in zip(*test, strict=True)])
    assert torch.allclose(predict(run.model, test, config), one_by_one, rtol=0, atol=1e-5)
    left = new_run(uneven, config=replace(config, batching="shuffled", padding="left"))
    with torch.no_grad():
        one_by_one = torch.cat([left.model(t[None], n[None]) for t, n, _ in zip(*left.data.test, strict=True)])
    assert torch.allclose(predict(left.model, left.data.test, left.config), one_by_one, rtol=0, atol=1e-5)


class ReadValues(TorchDispatchMode):
    """Counts how often a tensor's value is read into Python, which on a GPU waits for it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(dataset: Dataset) -> None:
    counts = []
    for batch_size in (24, 4):
        run = new_run(dataset, config=replace(CONFIG, batch_size=batch_size))
        with ReadValues() as values:
            run._train()
            float(torch.ones(()))  # shows that a read is counted
        counts.append(values.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(("padding", "pooling"), [("left", "real"), ("right", "all"), ("left", "all")])
def test_batches_of_like_length_are_refused_where_padding_shows_in_the_result(padding: str, pooling: str) -> None:
    with pytest.raises(InputError, match='needs padding = "right" and pooling = "real"'):
        TrainingConfig(epochs=1, batching="like_length", padding=padding, pooling=pooling)  # type: ignore[arg-type]


def test_a_loss_that_is_not_a_number_ends_the_run(dataset: Dataset) -> None:
    run = new_run(dataset)
    with torch.no_grad():
        run.model.head.output_transform.bias.fill_(math.inf)
    with pytest.raises(TrainingError, match="nan in epoch 1 of 3"):
        run.advance()
    assert run.history == []


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"warmup_fraction": 2},
        {"validation_fraction": 1},
        {"train_fraction": 0},
        {"max_length": 0},
    ],
)
def test_impossible_values_are_refused_by_name(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        TrainingConfig(**{"epochs": 1, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("padding", "pooling", "max_length", "expected"),
    [("right", "real", None, 120), ("right", "real", 500, 120), ("right", "real", 60, 60), ("left", "real", 500, 500),
     ("right", "all", 500, 500), ("left", "all", None, 120)],
)  # fmt: skip
def test_only_padding_that_changes_the_result_is_added(
    padding: str, pooling: str, max_length: int | None, expected: int
) -> None:
    config = TrainingConfig(epochs=1, padding=padding, pooling=pooling, max_length=max_length)  # type: ignore[arg-type]
    assert config.input_length(120) == expected


def test_a_fraction_of_the_training_split_does_not_change_the_other_splits(dataset: Dataset) -> None:
    whole, third = (
        PreparedData.of(dataset, TrainingConfig(epochs=1, train_fraction=share), 0, CPU) for share in (1.0, 1 / 3)
    )
    assert len(third.train.labels) == len(whole.train.labels) / 3
    assert {tuple(t) for t in third.train.tokens.tolist()} < {tuple(t) for t in whole.train.tokens.tolist()}
    assert torch.equal(third.test.tokens, whole.test.tokens)
    assert third.validation is not None
    assert whole.validation is not None
    assert torch.equal(third.validation.tokens, whole.validation.tokens)


def test_a_regrouped_split_puts_twins_on_one_side() -> None:
    letters = numpy_stream(0, "tasks").integers(0, 4, size=(40, 80))
    sequences = [bytes(b"ACGT"[n] for n in row) for row in letters]
    twins = dataset_from_sequences(
        "twins",
        ("a", "b"),
        [(s, n % 2) for n, s in enumerate(sequences)],
        [(s, n % 2) for n, s in enumerate(sequences)],
    )
    official, regrouped = (
        PreparedData.of(twins, TrainingConfig(epochs=1, split=rule, validation_fraction=0), 0, CPU)  # type: ignore[arg-type]
        for rule in ("official", "regroup")
    )

    def shared(data: PreparedData) -> int:
        return len({tuple(t) for t in data.train.tokens.tolist()} & {tuple(t) for t in data.test.tokens.tolist()})

    assert shared(official) == 40
    assert shared(regrouped) == 0


def test_a_frozen_backbone_stays_as_it_is_and_the_head_learns(dataset: Dataset) -> None:
    model = Classifier(MODEL, 2, CONFIG.pooling, CONFIG.padding)
    initialise(model, 1)
    model.backbone.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    finished(Run(model, PreparedData.of(dataset, CONFIG, 0, CPU), CONFIG, 1))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"head.output_transform.weight", "head.output_transform.bias"}


def test_training_time_ends_when_the_device_is_done(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU still works after the last step was launched; without a wait, only the launches are timed."""
    waited: list[torch.device] = []

    def work_left(device: torch.device) -> None:
        waited.append(device)
        time.sleep(0.3)

    monkeypatch.setattr(hyena.training.loop, "wait_for", work_left)
    record = new_run(dataset).advance()
    assert waited == [torch.device("cpu")]
    assert record.train_s > 0.3
    assert record.evaluate_s < 0.3


def test_steps_that_recompute_activations_are_not_captured() -> None:
    for recomputed in (False, True):
        models = [Classifier(replace(MODEL, checkpoint_activations=recomputed), 2) for _ in range(2)]
        for model in (models[0], StackedClassifier(models)):
            assert recomputes_activations(model) == recomputed
            config = TrainingConfig(epochs=1)
            if recomputed:
                assert not isinstance(stepper(model, optimizer_for(model, config), config, (), True), CapturedSteps)
            else:
                with pytest.raises(ValueError, match="captured only on CUDA, not on cpu"):
                    stepper(model, optimizer_for(model, config), config, (), True)
