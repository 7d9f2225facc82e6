"""DNA to test with: random sequences, data sets of them, the other strand, and the letters of a split."""

from itertools import pairwise

import numpy as np

from hyena.data.sequences import Dataset, Split, dataset_from_sequences
from hyena.data.tokenizer import decode

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def other_strand(sequence: bytes) -> bytes:
    return sequence.translate(COMPLEMENT)[::-1]


def random_dna(rng: np.random.Generator, length: int) -> bytes:
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, length)].tobytes()


def letters_of(split: Split) -> list[bytes]:
    return [decode(split.tokens[a:b]) for a, b in pairwise(split.offsets)]


def random_dataset(counts: tuple[int, ...] = (60, 40), seed: int = 0) -> Dataset:
    """So many short sequences of each of two classes in train, a quarter of them in test."""
    rng = np.random.default_rng(seed)

    def examples(scale: int) -> list[tuple[bytes, int]]:
        return [
            (random_dna(rng, int(rng.integers(1, 30))), label)
            for label, count in enumerate(counts)
            for _ in range(count // scale)
        ]

    return dataset_from_sequences("made", ("negative", "positive"), examples(1), examples(4))
