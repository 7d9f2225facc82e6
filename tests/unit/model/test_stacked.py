"""Seeds stacked into one model end where each would have ended alone, and cannot affect each other."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch

from hyena.data.batches import Batch
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.model.stacked import StackedClassifier
from hyena.randomness import numpy_stream, stream
from hyena.training.loop import PreparedData, Run, RunResult
from hyena.training.optimisation import optimisation_step, optimizer_for, predict
from hyena.training.recipe import TrainingConfig
from hyena.training.seed_state import TrainingError
from hyena.training.stacked_run import StackedRun

MODEL = HyenaConfig(d_model=8, n_layer=2, l_max=140, filter_order=16, resid_dropout=0.1)
SEEDS = (3, 1)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Sequences of 20 to 130 letters, one class richer in A: learned in a few epochs, but not in the first step."""
    rng = numpy_stream(0, "tasks")

    def examples(number: int) -> list[tuple[bytes, int]]:
        shares = ([0.25, 0.25, 0.25, 0.25], [0.4, 0.2, 0.2, 0.2])
        lengths = rng.integers(20, 131, number)
        letters = [bytes(rng.choice(list(b"ACGT"), n, p=shares[i % 2]).tolist()) for i, n in enumerate(lengths)]
        return [(sequence, i % 2) for i, sequence in enumerate(letters)]

    return dataset_from_sequences("rich", ("even", "rich"), examples(40), examples(20))


def config(**values: object) -> TrainingConfig:
    recipe = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "validation_fraction": 0.2, **values}
    return TrainingConfig(**recipe)  # type: ignore[arg-type]


def classifier(seed: int, recipe: TrainingConfig, frozen: bool = False) -> Classifier:
    model = Classifier(MODEL, 2, recipe.pooling, recipe.padding)
    initialise(model, seed)
    model.backbone.requires_grad_(not frozen)
    return model.to(torch.float32 if recipe.precision == "bfloat16" else torch.float64)


def prepared(dataset: Dataset, recipe: TrainingConfig) -> PreparedData:
    torch.set_num_threads(1)
    return PreparedData.of(dataset, recipe, 0, torch.device("cpu"))


def alone(dataset: Dataset, recipe: TrainingConfig, seed: int, frozen: bool = False) -> RunResult:
    run = Run(classifier(seed, recipe, frozen), prepared(dataset, recipe), recipe, seed)
    while not run.finished:
        run.advance()
    return run.result()


def stack_of(
    dataset: Dataset, recipe: TrainingConfig, seeds: tuple[int, ...] = SEEDS, frozen: bool = False
) -> StackedRun:
    return StackedRun([classifier(s, recipe, frozen) for s in seeds], prepared(dataset, recipe), recipe, seeds)


def results(run: StackedRun) -> list[RunResult]:
    while not run.finished:
        run.advance()
    found = run.results()
    assert not any(isinstance(result, TrainingError) for result in found)
    return found  # type: ignore[return-value]


def results_of_the_others(run: StackedRun) -> list[RunResult]:
    """Results of the seeds that did not fail."""
    while not run.finished:
        run.advance()
    return [result for result in run.results() if isinstance(result, RunResult)]


def measures(result: RunResult) -> torch.Tensor:
    """Losses and accuracies of all epochs."""
    return torch.tensor(
        [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy, r.test_loss, r.test_accuracy)
         for r in result.epochs]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "frozen"),
    [
        ({}, False),
        ({"padding": "left", "pooling": "all", "max_length": 135, "gradient_clip": 0.01}, False),
        ({"padding": "left", "reverse_complement": 0.0}, False),
        ({"batching": "like_length"}, False),
        ({}, True),
    ],
)
def test_each_seed_ends_where_it_would_have_ended_alone(
    dataset: Dataset, values: dict[str, object], frozen: bool
) -> None:
    """In float64: AdamW's first steps are ±learning rate whatever a gradient's size, so rounding errors grow."""
    recipe = config(**values)
    together = results(stack_of(dataset, recipe, frozen=frozen))
    for seed, result in zip(SEEDS, together, strict=True):
        expected = alone(dataset, recipe, seed, frozen)
        assert torch.allclose(measures(result), measures(expected), rtol=0, atol=1e-6)
        assert abs(result.test_logits - expected.test_logits).max() < 1e-6
        assert (result.best_epoch, result.test.confusion) == (expected.best_epoch, expected.test.confusion)
    assert abs(together[0].test_logits - together[1].test_logits).max() > 1e-3


def test_a_salted_stack_trains_and_resumes_as_its_seeds_do_alone(dataset: Dataset) -> None:
    recipe = config(batching="like_length")
    data, models = prepared(dataset, recipe), [classifier(seed, recipe) for seed in SEEDS]
    salted, unsalted = (StackedRun(models, data, recipe, SEEDS, salt=salt) for salt in ("cell", ""))
    salted.advance()
    resumed = StackedRun(models, data, recipe, SEEDS, salt="cell")
    resumed.resume(salted.state())
    alone = Run(models[0], data, recipe, SEEDS[0], salt="cell")
    while not alone.finished:
        alone.advance()
    whole, again, other = (measures(results(run)[0]) for run in (salted, resumed, unsalted))
    assert torch.equal(again, whole)
    assert torch.allclose(measures(alone.result()), whole, rtol=0, atol=1e-6)
    assert not torch.allclose(other, whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_a_step_of_each_seed_is_its_step_alone(precision: str, within: float) -> None:
    recipe = config(precision=precision)
    models = [classifier(seed, recipe).float() for seed in SEEDS]
    stacked = StackedClassifier(models)
    draw = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randint(7, 11, (2, 6, 70), dtype=torch.uint8, generator=draw),
        torch.randint(1, 71, (2, 6), generator=draw),
        torch.randint(0, 2, (2, 6), generator=draw),
    )
    streams = [stream(seed, "dropout") for seed in SEEDS]
    loss, logits, norm = optimisation_step(stacked, optimizer_for(stacked, recipe), batch, 1e-3, recipe, streams)
    gradients = {name: parameter.grad for name, parameter in stacked.named_parameters()}
    for place, (seed, model) in enumerate(zip(SEEDS, models, strict=True)):
        own = Batch(*(tensor[place] for tensor in batch))
        expected = optimisation_step(model, optimizer_for(model, recipe), own, 1e-3, recipe, stream(seed, "dropout"))
        assert torch.allclose(loss[place], expected.loss, atol=within)
        assert torch.allclose(logits[place], expected.logits, atol=within)
        assert torch.allclose(norm[place], expected.gradient_norm, rtol=10 * within)
        for name, parameter in model.named_parameters():
            difference = torch.linalg.norm(gradients[name][place] - parameter.grad)
            assert difference <= 10 * within * torch.linalg.norm(parameter.grad) + 1e-6, name


def test_checkpointed_activations_change_no_number_and_keep_less() -> None:
    shape = HyenaConfig(d_model=16, n_layer=3, l_max=40, resid_dropout=0.3)
    tokens = torch.randint(7, 11, (2, 4, 33), generator=torch.Generator().manual_seed(0))
    found = []
    for size in (shape, dataclasses.replace(shape, checkpoint_activations=True)):
        models = [Classifier(size, 2) for _ in SEEDS]
        for seed, model in zip(SEEDS, models, strict=True):
            initialise(model, seed)
        stacked, streams, kept = StackedClassifier(models), [stream(seed, "dropout") for seed in SEEDS], []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[misc]
            logits = stacked(tokens, torch.full((2, 4), 33), streams)
            before_backward = sum(kept)
        logits.square().mean().backward()
        after = [torch.rand(5, generator=one) for one in streams]
        found.append((logits, *after, *(p.grad for p in stacked.parameters()), before_backward))
    *numbers, kept_by_all = found[0]
    *again, kept_by_checkpointed = found[1]
    assert all(torch.equal(one, other) for one, other in zip(numbers, again, strict=True))
    assert kept_by_checkpointed < kept_by_all / 3


def test_a_single_seed_is_a_run_bit_for_bit(dataset: Dataset) -> None:
    recipe = config(epochs=2)
    (one,), expected = results(stack_of(dataset, recipe, (3,))), alone(dataset, recipe, 3)
    assert torch.equal(measures(one), measures(expected))
    assert (one.test_logits == expected.test_logits).all()


def test_a_failed_seed_does_not_affect_the_others(dataset: Dataset) -> None:
    recipe = config()
    stack = stack_of(dataset, recipe, (5, *SEEDS))
    stack.advance()
    with torch.no_grad():
        stack.model.head.output_transform.bias[0] = math.inf
    outcomes = stack.advance()
    assert isinstance(outcomes[0], TrainingError)
    assert "nan in epoch 2 of 3" in str(outcomes[0])
    assert [getattr(outcome, "epoch", None) for outcome in outcomes[1:]] == [2, 2]
    outcomes = stack.advance()
    assert outcomes[0] is stack.progress[0].error
    assert stack.finished
    failed, *others = stack.results()
    assert failed is outcomes[0]
    for seed, result in zip(SEEDS, others, strict=True):
        assert isinstance(result, RunResult)
        assert torch.allclose(measures(result), measures(alone(dataset, recipe, seed)), rtol=0, atol=1e-6)


def test_a_stack_whose_seeds_all_failed_is_finished(dataset: Dataset) -> None:
    stack = stack_of(dataset, config())
    with torch.no_grad():
        stack.model.head.output_transform.bias.fill_(math.nan)
    assert all(isinstance(outcome, TrainingError) for outcome in stack.advance())
    assert stack.finished


def saved(state: object) -> object:
    """The state as read back from a file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_resumed_stack_equals_an_uninterrupted_one_bit_for_bit(dataset: Dataset) -> None:
    recipe = config(batching="like_length")
    first = stack_of(dataset, recipe, (5, *SEEDS))
    with torch.no_grad():
        first.model.head.output_transform.bias[0] = math.nan  # the state includes the failure
    first.advance()
    state = saved(first.state())
    second = stack_of(dataset, recipe, (7, 8, 9))  # the streams of other seeds, which the state replaces
    second.resume(state)  # type: ignore[arg-type]
    first.advance(), second.advance()
    first.advance(), second.advance()
    assert str(second.results()[0]) == str(first.results()[0])
    for one, other in zip(first.results()[1:], second.results()[1:], strict=True):
        assert isinstance(one, RunResult)
        assert isinstance(other, RunResult)
        assert torch.equal(measures(one), measures(other))
        assert (one.test_logits == other.test_logits).all()


def test_a_seed_can_continue_alone(dataset: Dataset) -> None:
    recipe = config()
    stack = stack_of(dataset, recipe)
    stack.advance()
    state = saved(stack.state())
    run = Run(classifier(9, recipe), prepared(dataset, recipe), recipe, 9)
    run.resume(state[1])  # type: ignore[index]
    while not run.finished:
        run.advance()
    expected = results(stack)[1]
    assert torch.allclose(measures(run.result()), measures(expected), rtol=0, atol=1e-6)


def test_each_seeds_model_can_be_taken_from_the_stack(dataset: Dataset) -> None:
    recipe = config(pooling="real", padding="right", epochs=2)
    models = [classifier(seed, recipe) for seed in (5, *SEEDS)]
    for model in models:
        next(model.buffers()).mul_(0.5)  # stored position features need not be the computed ones
    stack = StackedRun(models, prepared(dataset, recipe), recipe, (5, *SEEDS))
    with torch.no_grad():
        stack.model.head.output_transform.bias[0] = math.nan
    found = results_of_the_others(stack)
    taken: list[Any]
    failed, *taken = stack.classifiers()
    assert failed is stack.progress[0].error
    assert len(taken) == len(SEEDS)
    for place, own in enumerate(taken):
        assert isinstance(own, Classifier)
        for name, parameter in own.named_parameters():
            assert torch.equal(parameter, stack.model.get_parameter(name)[place]), name
        for name, buffer in own.named_buffers():
            assert torch.equal(buffer, stack.model.get_buffer(name)), name
        logits = predict(own, stack.data.test, recipe)
        assert abs(logits.numpy() - found[place].test_logits).max() < 1e-6
    before = taken[0].head.output_transform.bias.clone()
    with torch.no_grad():
        stack.model.head.output_transform.bias.zero_()
    assert torch.equal(taken[0].head.output_transform.bias, before)  # a copy


def test_a_single_seeds_model_is_the_one_that_was_trained(dataset: Dataset) -> None:
    stack = stack_of(dataset, config(epochs=1), (3,))
    stack.advance()
    assert list(stack.classifiers()) == [stack.model]


def test_models_and_states_that_do_not_match_are_refused(dataset: Dataset) -> None:
    recipe = config()
    with pytest.raises(ValueError, match="1 models for 2 seeds"):
        StackedRun([classifier(1, recipe)], prepared(dataset, recipe), recipe, (1, 2))
    with pytest.raises(ValueError, match="the same shape"):
        StackedClassifier([classifier(1, recipe), classifier(2, recipe, frozen=True)])
    other_features = classifier(2, recipe)
    next(other_features.buffers()).add_(1)
    with pytest.raises(ValueError, match="the same buffers"):
        StackedClassifier([classifier(1, recipe), other_features])
    stack, other = stack_of(dataset, recipe), stack_of(dataset, recipe)
    other.advance()
    with pytest.raises(ValueError, match="equally many steps"):
        stack.resume([stack.state()[0], other.state()[1]])
