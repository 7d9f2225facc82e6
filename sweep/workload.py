"""The workload of a run and of a pretraining: how many batches of which shapes. Next: `forecast.py`, their time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyena.cost.flops import BatchWork, Kind
from hyena.data.batches import WIDTH_MULTIPLE
from hyena.model.config import HyenaConfig
from hyena.training.pretraining import PretrainingConfig
from hyena.training.recipe import Precision
from sweep.trials import RunSpec

#: Number of batches of each kind and shape.
Batches = Mapping[BatchWork, float]
#: Number of validations of a pretraining: one after each tenth of its steps.
VALIDATIONS = 10


@dataclass(frozen=True)
class Splits:
    """Number of sequences in each split of a run."""

    train: int
    validation: int
    test: int


def splits_of(run: RunSpec) -> Splits:
    """Sizes after `hyena.data.subsets` has cut the validation split and reduced the training split, class by class.

    With `split = "regroup"` the sizes are about the same.
    """
    facts, training = run.facts, run.training
    counts, validation = list(facts.class_counts), facts.validation_examples
    if not validation and training.validation_fraction:
        cut = [max(1, round(training.validation_fraction * count)) for count in counts]
        counts, validation = [count - part for count, part in zip(counts, cut, strict=True)], sum(cut)
    if training.train_fraction < 1:
        counts = [max(1, round(training.train_fraction * count)) for count in counts]
    return Splits(max(1, sum(counts)), validation, facts.test_examples)


def run_batches(run: RunSpec, lengths_bp: tuple[int, ...]) -> Batches:
    """All batches of a run: in each epoch the training split, then validation and test.

    Args:
        lengths_bp: deciles of the lengths of the data set's sequences.
    """
    training, splits = run.training, splits_of(run)
    longest = training.max_length or run.facts.longest
    in_order = training.padding_leaves_no_trace
    passes: list[tuple[Kind, int, bool]] = [
        ("frozen" if run.init.startswith("frozen") else "train", splits.train, training.batching == "like_length"),
        ("evaluate", splits.validation, in_order),
        ("evaluate", splits.test, in_order),
    ]
    found: Counter[BatchWork] = Counter()
    for kind, examples, by_length in passes:
        for (batch, width), number in _shapes(examples, training.batch_size, longest, lengths_bp, by_length).items():
            shape = (run.config, batch, width, run.facts.num_classes, training.pooling, training.precision)
            found[BatchWork(kind, *shape)] += number * training.epochs
    return found


def _shapes(
    examples: int, size: int, longest: int, lengths_bp: tuple[int, ...], by_length: bool
) -> Counter[tuple[int, int]]:
    """Number of batches of each shape (sequences, positions) in a split.

    Args:
        by_length: whether sequences are sorted by length, and each batch is padded to its longest, a multiple of 64.
    """
    number = math.ceil(examples / size)
    sizes = np.minimum(size, examples - size * np.arange(number))
    widths = np.full(number, longest)
    if by_length and number:
        last = np.cumsum(sizes) / examples
        reached = np.interp(last, np.linspace(0, 1, len(lengths_bp)), lengths_bp)
        widths = np.minimum(longest, np.ceil(reached / WIDTH_MULTIPLE) * WIDTH_MULTIPLE).astype(int)
    return Counter(zip(sizes.tolist(), widths.tolist(), strict=True))


def pretraining_batches(
    config: HyenaConfig, pretraining: PretrainingConfig, corpus_bases: int, precision: Precision
) -> Batches:
    """All batches of the pretraining of a size: its steps, and the held-out windows after each tenth of them.

    Args:
        corpus_bases: number of bases of the whole corpus.
    """
    held_out = pretraining.validation_bases
    if not pretraining.hold_out:
        held_out = min(held_out, int(corpus_bases * pretraining.validation_fraction))
    windows, size = held_out // pretraining.length, pretraining.batch_size
    step = BatchWork("pretrain", config, size, pretraining.length, precision=precision)
    found: dict[BatchWork, float] = {step: pretraining.steps}
    if windows:
        work = BatchWork("evaluate", config, min(size, windows), pretraining.length, precision=precision)
        found[work] = min(VALIDATIONS, pretraining.steps) * windows / min(size, windows)
    return found


def state_bytes(run: RunSpec) -> int:
    """Size of the checkpoint of an unfinished run: parameters, AdamW's two moments, and the order of an epoch."""
    copies = 1 if run.init.startswith("frozen") else 3  # the moments of the head alone are negligible
    return 4 * copies * run.trainable_parameters + 9 * splits_of(run).train
