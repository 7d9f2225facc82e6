"""A synthetic genome and labelled tasks in the same grammar, so that pretraining has something to learn.

The genome holds *elements* between random letters. An element repeats a period of two halves, each of which draws its
letters from one half of the alphabet with preferences that are fixed for each position:

    helix     5 weak letters (A, T) and 5 strong ones (C, G), as along a nucleosome
    tracts    6 purines (A, G) and 6 pyrimidines (C, T)
    ketos     7 letters with an amino group (A, C) and 7 with a keto group (G, T)

After every two or three periods, one period of random letters interrupts an element; the rhythm goes on behind it as if
it had not been there. To predict the letters behind an interruption, a model must carry the phase across it. Half of
the elements are on the other strand.

The tasks ask for the same: are the tracts on both sides of an interruption *in phase*, or *shifted* by half a period,
because the interruption is half a period shorter or longer? The tasks differ in how far they are from the genome:

    synthetic_tracts            5 % of the letters were drawn anew
    synthetic_diverged_tracts   10 %

An interruption is at least as long as the words that are counted (up to 6 letters), so no count of words compares the
phases on its two sides. What counting, and a model trained from scratch, can learn is a hint: interruptions hold more C
and G in one class and fewer in the other. As the quickstart makes the tasks, logistic regression on the counts of words
reaches 0.87 and 0.86 of accuracy with it (`benchmarks/synthetic_composition.py`); both arms: docs/log.md.

Genome and tasks are generated from a seed: two machines generate the same bytes, and nothing is downloaded. A benefit
of pretraining here shows that the program works; it says nothing about real genomes. Next: `training/pretraining.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.errors import InputError, nearest
from hyena.randomness import numpy_stream
from hyena.ranges import Range, Seed, require_ranges

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
#: Letters of both halves of an element's period, as integers, and the letters of a half.
ELEMENTS = {"helix": (((0, 3), (1, 2)), 5), "tracts": (((0, 2), (1, 3)), 6), "ketos": (((0, 1), (2, 3)), 7)}
#: Lengths of runs and of interruptions, drawn alike, in halves of a period; an odd interruption shifts the phase.
RUNS, INTERRUPTIONS, SHIFTING_INTERRUPTIONS = (4, 4, 6), (2, 2), (1, 3)
#: Substituted share of each task's letters, and its classes.
TASKS = {"synthetic_tracts": 0.05, "synthetic_diverged_tracts": 0.1}
CLASSES = ("shifted", "phased")
#: The share of C and G in an interruption is a half in the genome, and this much more or less in the two classes.
HINT = 0.15
#: Largest number of letters of a task, whose sequences are drawn one by one in Python and held in memory.
MOST_TASK_BASES = 1_000_000_000


@dataclass(frozen=True)
class SyntheticConfig:
    """The genome and its tasks.

    Attributes:
        seed: of the genome and of the tasks' sequences; independent of the seeds of training.
        genome_bases: length of the unlabelled genome.
        sequence_length: length of every labelled sequence.
        train_examples, test_examples: labelled sequences of each task, half of them in each class.
    """

    seed: Seed = 0
    genome_bases: Annotated[int, Range(ge=10_000, le=100_000_000)] = 400_000
    sequence_length: Annotated[int, Range(ge=40, le=1_000_000)] = 120
    train_examples: Annotated[int, Range(ge=4, le=1_000_000)] = 400
    test_examples: Annotated[int, Range(ge=4, le=1_000_000)] = 400

    def __post_init__(self) -> None:
        require_ranges(self)
        bases = (self.train_examples + self.test_examples) * self.sequence_length
        if bases > MOST_TASK_BASES:
            raise InputError(
                f"train_examples, test_examples and sequence_length: a task would have {bases} nucleotides; "
                f"must be at most {MOST_TASK_BASES}, because tasks are generated in memory"
            )


class Genome:
    """The grammar that genome and tasks share, drawn from the configuration's seed. Letters are the integers 0 to 3."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.rng = numpy_stream(config.seed, "genome")
        #: Probability of the first of the two letters at each position of a period.
        self.preferences = {name: self.rng.beta(3.0, 3.0, size=2 * half) for name, (_, half) in ELEMENTS.items()}

    def background(self, length: int, gc: float = 0.5) -> np.ndarray:
        """Random letters, [length], of which a share `gc` is C or G."""
        strong, first = self.rng.random(length) < gc, self.rng.random(length) < 0.5
        return np.where(strong, np.where(first, 1, 2), np.where(first, 0, 3))

    def rhythm(self, name: str, length: int) -> np.ndarray:
        """Whole periods of an element without interruptions, of at least `length` letters."""
        halves, half = ELEMENTS[name]
        periods = -(-length // (2 * half))
        letters = np.repeat(np.array(halves), half, axis=0)  # [period, 2]
        first = self.rng.random((periods, 2 * half)) < self.preferences[name]
        return np.where(first, letters[:, 0], letters[:, 1]).ravel()

    def element(self, name: str, length: int, shifted: bool = False, gc: float = 0.5) -> np.ndarray:
        """An element with its interruptions, [length]; `shifted`, they change the phase by half a period each."""
        half = ELEMENTS[name][1]
        rhythm = self.rhythm(name, length + 2 * half)
        pieces, taken = [], 0
        while taken < len(rhythm):
            run = int(self.rng.choice(RUNS)) * half
            interruption = int(self.rng.choice(SHIFTING_INTERRUPTIONS if shifted else INTERRUPTIONS)) * half
            pieces += [rhythm[taken : taken + run], self.background(interruption, gc)]
            taken += run
        start = int(self.rng.integers(2 * half))
        return np.concatenate(pieces)[start : start + length]

    def either_strand(self, piece: np.ndarray) -> np.ndarray:
        return 3 - piece[::-1] if self.rng.random() < 0.5 else piece

    def sequence(self) -> bytes:
        """The unlabelled genome: random letters between elements of all kinds."""
        pieces: list[np.ndarray] = []
        bases = 0
        while bases < self.config.genome_bases:
            name = tuple(ELEMENTS)[self.rng.integers(len(ELEMENTS))]
            piece = self.either_strand(self.element(name, int(self.rng.integers(150, 450))))
            pieces += [self.background(int(self.rng.integers(20, 60))), piece]
            bases += len(pieces[-1]) + len(pieces[-2])
        return LETTERS[np.concatenate(pieces)[: self.config.genome_bases]].tobytes()

    def example(self, label: int, substituted: float) -> bytes:
        """A labelled sequence of tracts, label 0 or 1 of CLASSES, with a share of its letters drawn anew."""
        gc = 0.5 + HINT if label else 0.5 - HINT
        piece = self.element("tracts", self.config.sequence_length, shifted=not label, gc=gc)
        anew = self.rng.random(len(piece)) < substituted
        piece[anew] = self.rng.integers(0, 4, size=int(anew.sum()))
        return LETTERS[self.either_strand(piece)].tobytes()


def synthetic_genome(config: SyntheticConfig) -> bytes:
    """The unlabelled genome, `genome_bases` letters of ACGT."""
    return Genome(config).sequence()


def synthetic_dataset(name: str, config: SyntheticConfig) -> Dataset:
    """A labelled task by name. Half of the sequences, within a class at random, are on the other strand.

    Raises InputError for an unknown name.
    """
    if name not in TASKS:
        raise InputError(f"unknown synthetic data set '{name}'; {nearest(name, list(TASKS))}")
    genome = Genome(config)
    genome.rng = numpy_stream(config.seed, "tasks")  # the grammar of the genome, but new sequences

    def examples(count: int) -> list[tuple[bytes, int]]:
        return [(genome.example(n % 2, TASKS[name]), n % 2) for n in range(count)]

    return dataset_from_sequences(name, CLASSES, examples(config.train_examples), examples(config.test_examples))
