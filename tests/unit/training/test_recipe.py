"""The recipe: the declarations of its training values are complete and true."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.randomness import numpy_stream
from hyena.training.loop import PreparedData
from hyena.training.recipe import TRAINING_VALUES, TrainingConfig, values_affecting
from tests.support.runs import OTHER_VALUES


@pytest.fixture(scope="module")
def uneven() -> Dataset:
    """Sequences of 1 to 200 letters without shared 60-mers."""
    rng = numpy_stream(1, "tasks")
    made = [(bytes(rng.choice(list(b"ACGT"), n).tolist()), i % 2) for i, n in enumerate(rng.integers(1, 201, 90))]
    return dataset_from_sequences("uneven", ("even", "odd"), made[:60], made[60:])


def tensors(dataset: Dataset, **values: Any) -> list[torch.Tensor]:
    config = replace(TrainingConfig(epochs=1, max_length=150), **values)
    data = PreparedData.of(dataset, config, 0, torch.device("cpu"))
    return [tensor for batch in (data.train, *data.evaluated.values()) for tensor in batch]


def test_every_value_declares_its_meaning() -> None:
    assert list(TRAINING_VALUES) == [field.name for field in fields(TrainingConfig)]
    assert all(value.meaning for value in TRAINING_VALUES.values())
    assert OTHER_VALUES.keys() == TRAINING_VALUES.keys()


@pytest.mark.parametrize("name", list(TRAINING_VALUES))
def test_the_values_that_affect_the_data_are_those_that_change_a_tensor_of_it(uneven: Dataset, name: str) -> None:
    usual, other = tensors(uneven), tensors(uneven, **{name: OTHER_VALUES[name]})
    same = len(usual) == len(other) and all(map(torch.equal, usual, other))
    assert same == (name not in values_affecting("data"))
