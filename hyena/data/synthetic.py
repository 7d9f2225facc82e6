"""A synthetic genome and labelled tasks in the same grammar, so that pretraining has something to learn.

The genome is a second-order Markov background that holds *enhancers* (clusters of motifs, each motif drawn from a
small library with occasional mutations) and *genes* (runs of codons with a biased usage, on either strand). The tasks
need what next-nucleotide prediction also needs:

    synthetic_enhancers   a cluster of the genome's motifs, against the same motifs spelt backwards
    synthetic_genes       an open reading frame, against the same codons with the frame broken every few codons

The classes have the same letters, but not the same short words. As the quickstart makes them, logistic regression on
the counts of 4-letter words solves synthetic_enhancers completely (test accuracy 1.000; on single letters 0.475) and
synthetic_genes hardly (0.565): `benchmarks/synthetic_composition.py`. So accuracy on synthetic_enhancers does not show
that a model uses the order of more than a few letters.

Genome and tasks are generated from a seed: two machines generate the same bytes, and nothing is downloaded. A benefit
of pretraining here shows that the program works; it says nothing about real genomes. Next: `training/pretraining.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.errors import InputError, nearest
from hyena.randomness import numpy_stream
from hyena.ranges import Range, Seed, require_ranges

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
MOTIF_LENGTH, MOTIFS, MOTIF_MUTATION = 10, 6, 0.05
CODONS, FRAME_BREAK_EVERY = 64, 6
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
        self.transition = self.rng.dirichlet(np.full(4, 8.0), size=(4, 4)).cumsum(axis=-1)
        self.motifs = self.rng.integers(0, 4, size=(MOTIFS, MOTIF_LENGTH))
        self.codon_usage = self.rng.dirichlet(np.full(CODONS, 0.3))

    def background(self, length: int) -> np.ndarray:
        """Second-order Markov sequence, [length]."""
        draws = self.rng.random(length)
        sequence = np.zeros(length, dtype=np.int64)
        for n in range(2, length):
            cumulative = self.transition[sequence[n - 2], sequence[n - 1]]
            sequence[n] = min(3, int(np.searchsorted(cumulative, draws[n])))
        return sequence

    def enhancer(self, length: int, backwards: bool = False) -> np.ndarray:
        """Motifs with short gaps of background; `backwards` reverses every motif: the same letters, but no motif."""
        pieces: list[np.ndarray] = []
        while sum(map(len, pieces)) < length:
            motif = self.motifs[self.rng.integers(MOTIFS)].copy()
            mutated = self.rng.random(MOTIF_LENGTH) < MOTIF_MUTATION
            motif[mutated] = self.rng.integers(0, 4, size=int(mutated.sum()))
            pieces += [self.background(int(self.rng.integers(4, 12))), motif[::-1] if backwards else motif]
        return np.concatenate(pieces)[:length]

    def gene(self, length: int, broken: bool = False) -> np.ndarray:
        """Codons of biased usage; `broken` deletes one letter every few codons, which shifts the frame."""
        codon = self.rng.choice(CODONS, size=length, p=self.codon_usage)
        letters = np.stack([codon // 16, codon // 4 % 4, codon % 4], axis=1).ravel()
        if broken:
            period = 3 * FRAME_BREAK_EVERY
            letters = np.delete(letters, np.arange(int(self.rng.integers(period)), len(letters), period))
        start = int(self.rng.integers(3))
        return letters[start : start + length]

    def sequence(self) -> bytes:
        """The unlabelled genome: background between enhancers and genes, half of which are on the other strand."""
        pieces: list[np.ndarray] = []
        bases = 0
        while bases < self.config.genome_bases:
            element = self.enhancer if self.rng.random() < 0.5 else self.gene
            piece = element(int(self.rng.integers(150, 450)))
            if self.rng.random() < 0.5:
                piece = 3 - piece[::-1]
            pieces += [self.background(int(self.rng.integers(30, 120))), piece]
            bases += len(pieces[-1]) + len(pieces[-2])
        return LETTERS[np.concatenate(pieces)[: self.config.genome_bases]].tobytes()


def synthetic_genome(config: SyntheticConfig) -> bytes:
    """The unlabelled genome, `genome_bases` letters of ACGT."""
    return Genome(config).sequence()


def synthetic_dataset(name: str, config: SyntheticConfig) -> Dataset:
    """A labelled task by name. Half of the sequences of each class are on the other strand.

    Raises InputError for an unknown name.
    """
    if name not in TASKS:
        raise InputError(f"unknown synthetic data set '{name}'; {nearest(name, list(TASKS))}")
    genome = Genome(config)
    genome.rng = numpy_stream(config.seed, "tasks")  # the grammar of the genome, but new sequences
    classes, draw = TASKS[name]

    def examples(count: int) -> list[tuple[bytes, int]]:
        made = []
        for n in range(count):
            piece = draw(genome, config.sequence_length, n % 2 == 1)
            piece = 3 - piece[::-1] if genome.rng.random() < 0.5 else piece
            made.append((LETTERS[piece].tobytes(), n % 2))
        return made

    return dataset_from_sequences(name, classes, examples(config.train_examples), examples(config.test_examples))


#: Tasks by name: class names in order, and how a sequence of class 0 (False) or 1 (True) is drawn.
TASKS: dict[str, tuple[tuple[str, str], Callable[[Genome, int, bool], np.ndarray]]] = {
    "synthetic_enhancers": (("decoy", "enhancer"), lambda genome, length, one: genome.enhancer(length, not one)),
    "synthetic_genes": (("broken", "gene"), lambda genome, length, one: genome.gene(length, not one)),
}
