"""The vocabulary is the published one, and the error for any other byte names it and its position."""

import numpy as np
import pytest

from hyena.data import tokenizer
from hyena.data.tokenizer import COMPLEMENT, LetterError, decode, encode
from hyena.errors import InputError


def test_token_numbers_are_the_published_ones():
    assert encode(b"ACGTN").tolist() == [7, 8, 9, 10, 11]
    assert (tokenizer.CLS, tokenizer.SEP, tokenizer.MASK, tokenizer.PAD, tokenizer.UNK) == (0, 1, 3, 4, 6)
    assert tokenizer.VOCABULARY_SIZE == 12


def test_lower_case_is_upper_case():
    assert encode(b"acgtnryk").tolist() == encode(b"ACGTNRYK").tolist()


@pytest.mark.parametrize("letter", "RYSWKMBDHVU")
def test_ambiguity_codes_are_unknown(letter):
    assert encode(letter.encode()).tolist() == [6]


@pytest.mark.parametrize("letter", [b"J", b"x", b"-", b" ", b"\n", b"\x00", b"*", b"1", b"?"])
def test_any_other_byte_is_an_error_that_names_its_position(letter):
    with pytest.raises(LetterError) as caught:
        encode(b"ACG" + letter + b"T" + letter)
    assert caught.value.position == 3
    assert str(caught.value).startswith("position 4: ")
    assert "IUPAC" in str(caught.value)


def test_error_names_the_letter_or_the_byte():
    with pytest.raises(InputError, match="letter 'J'"):
        encode(b"AJ")
    with pytest.raises(InputError, match="byte 0xC3"):
        encode("AÄ".encode())


def test_every_byte_is_a_nucleotide_or_an_error():
    letters = set(b"ACGTNRYSWKMBDHVUacgtnryswkmbdhvu")
    for byte in range(256):
        if byte in letters:
            assert 6 <= encode(bytes([byte]))[0] <= 11
        else:
            with pytest.raises(LetterError):
                encode(bytes([byte]))


def test_tokens_are_writable_bytes():
    tokens = encode(b"ACGT")
    assert tokens.dtype == np.uint8
    assert tokens.flags.writeable
    assert encode(b"").shape == (0,)


def test_complement_pairs_the_bases_and_nothing_else():
    assert COMPLEMENT.shape == (16,)
    assert decode(COMPLEMENT[encode(b"ACGTNR")]) == b"TGCAN?"
    assert COMPLEMENT[COMPLEMENT].tolist() == list(range(16))
    assert COMPLEMENT[:7].tolist() == list(range(7))


def test_decode_shows_padding_and_special_tokens():
    assert decode(np.array([4, 4, 7, 6, 0], np.uint8)) == b"..A??"
