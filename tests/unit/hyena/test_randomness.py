"""Random streams: what a stream's draws depend on, and that numbers of earlier releases stay."""

import itertools

import pytest
import torch

from hyena.randomness import STREAMS, numpy_stream, stream


def test_draws_without_a_salt_are_those_of_earlier_releases() -> None:
    assert stream(1, "order").initial_seed() == 16614022550725671185
    assert torch.randperm(8, generator=stream(1, "order")).tolist() == [2, 3, 4, 1, 0, 6, 5, 7]
    assert numpy_stream(1, "genome").integers(0, 1000, 3).tolist() == [361, 721, 281]


def test_seed_name_and_salt_each_give_another_stream() -> None:
    """Also where salt and seed, written one after the other, would be the same text."""
    streams = [stream(*which).initial_seed() for which in itertools.product((1, 11, 111), STREAMS)]
    salts = ("1", "11", "1/1", "a", "a/1")
    salted = [stream(seed, name, salt=salt) for seed, name, salt in itertools.product((1, 11, 111), STREAMS, salts)]
    everything = [*streams, *(one.initial_seed() for one in salted)]
    assert len(set(everything)) == len(everything) == 3 * len(STREAMS) * 6


def test_a_stream_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="no random stream 'ordre'; known: backbone, shuffle"):
        stream(1, "ordre")
