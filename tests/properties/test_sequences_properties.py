"""Invariants of tokens, padding and strands, for any sequences."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena.data.batches import padded, reverse_complement
from hyena.data.sequences import dataset_from_sequences, pack
from hyena.data.subsets import training_subset, with_validation
from hyena.data.tokenizer import decode, encode

nucleotides = st.text(alphabet="ACGTN", min_size=1, max_size=40).map(str.encode)
sequence_lists = st.lists(nucleotides, min_size=1, max_size=20)
sides = st.sampled_from(["left", "right"])


@given(nucleotides)
def test_decoding_undoes_encoding(sequence):
    assert decode(encode(sequence)) == sequence
    assert np.array_equal(encode(sequence.lower()), encode(sequence))


@given(sequence_lists, st.integers(1, 50), sides)
def test_padding_keeps_what_fits_and_nothing_else(sequences, length, side):
    tokens, lengths = padded(pack(sequences, [0] * len(sequences), str), length, side)
    for row, real, sequence in zip(tokens.numpy(), lengths.tolist(), sequences, strict=True):
        assert real == min(len(sequence), length)
        kept, padding = (row[:real], row[real:]) if side == "right" else (row[length - real :], row[: length - real])
        assert decode(kept) == sequence[:length]
        assert (padding == 4).all()


@given(sequence_lists, st.integers(1, 50), sides)
def test_the_other_strand_of_the_other_strand_is_the_sequence(sequences, length, side):
    tokens, lengths = padded(pack(sequences, [0] * len(sequences), str), length, side)
    once = reverse_complement(tokens, lengths, side)
    assert torch.equal(reverse_complement(once, lengths, side), tokens)
    assert torch.equal(once == 4, tokens == 4)


@given(sequence_lists, sides)
def test_the_other_strand_is_what_it_says(sequences, side):
    tokens, lengths = padded(pack(sequences, [0] * len(sequences), str), 40, side)
    there = reverse_complement(tokens, lengths, side)
    complement = bytes.maketrans(b"ACGTN", b"TGCAN")
    for row, sequence in zip(there.numpy(), sequences, strict=True):
        assert decode(row).replace(b".", b"") == sequence.translate(complement)[::-1]


@settings(max_examples=50)
@given(
    st.lists(st.integers(2, 30), min_size=2, max_size=4),
    st.floats(0.01, 0.5),
    st.floats(0.5, 1.0),
    st.integers(0, 1_000),
)
def test_cuts_are_partitions_and_nested(counts, small, large, seed):
    numbers = iter(range(10**6))
    letters = str.maketrans("0123", "ACGT")

    def sequence() -> bytes:  # every one different: its number in base 4
        return np.base_repr(next(numbers), 4).translate(letters).encode()

    examples = [(sequence(), label) for label, count in enumerate(counts) for _ in range(count)]
    dataset = dataset_from_sequences("d", [f"c{i}" for i in range(len(counts))], examples, examples)

    def content(split) -> set[bytes]:
        return {decode(split.tokens[a:b]) for a, b in pairwise(split.offsets)}

    cut = with_validation(dataset, small * 0.5, seed)
    assert content(cut.train) | content(cut.validation) == content(dataset.train)
    assert not content(cut.train) & content(cut.validation)
    assert content(training_subset(cut, small, seed).train) <= content(training_subset(cut, large, seed).train)
