"""The published HyenaDNA vocabulary, one token per letter, as look-up tables. Next: `sequences.py`.

Source: the published `CharacterTokenizer(characters=["A", "C", "G", "T", "N"])`, whose seven special tokens come first.

Deviation from it: lower case (soft-masked) letters count as upper case, where the published tokenizer makes them
[UNK]. The official GenomicBenchmarks sequences are upper case throughout, so no published number is affected. IUPAC
letters other than A, C, G, T and N (R Y S W K M B D H V, and U) are [UNK], as published; any other byte is an error.
"""

import numpy as np
from numpy.typing import NDArray

from hyena.errors import InputError

CLS, SEP, BOS, MASK, PAD, RESERVED, UNK, A, C, G, T, N = range(12)
VOCABULARY_SIZE = 12
EMBEDDING_ROWS = 16  # the published embedding is padded to a multiple of 8
TOKENIZER_VERSION = 1  # increase when `encode` changes: cached tokens of other versions are not read

AMBIGUOUS = b"RYSWKMBDHVU"
_FAULT = 255


def _token_of_byte() -> NDArray[np.uint8]:
    table = np.full(256, _FAULT, np.uint8)
    for token, letter in zip((A, C, G, T, N), b"ACGTN", strict=True):
        table[[letter, letter | 0x20]] = token
    for letter in AMBIGUOUS:
        table[[letter, letter | 0x20]] = UNK
    table.flags.writeable = False
    return table


def _complement() -> NDArray[np.uint8]:
    table = np.arange(EMBEDDING_ROWS, dtype=np.uint8)
    table[[A, C, G, T]] = T, G, C, A
    table.flags.writeable = False
    return table


_TOKEN_OF_BYTE = _token_of_byte()
_LETTER_OF_TOKEN = np.frombuffer(b"????.??ACGTN", np.uint8)
COMPLEMENT = _complement()
"""uint8 [16]: token → token of the complementary letter; tokens other than A, C, G and T map to themselves."""


class LetterError(InputError):
    """A byte that is not a nucleotide letter.

    Attributes:
        position: position in the sequence, counted from 0.
        fault: the letter found and what is expected, without the position.
    """

    def __init__(self, byte: int, position: int):
        shown = f"letter {chr(byte)!r}" if 0x20 < byte < 0x7F else f"byte 0x{byte:02X}"
        self.position = position
        self.fault = f"{shown} is not a nucleotide; expected A, C, G, T, N or another IUPAC letter"
        super().__init__(f"position {position + 1}: {self.fault}")


def encode(sequence: bytes) -> NDArray[np.uint8]:
    """Tokens of a DNA sequence, one per letter, as uint8 [L]; lower case counts as upper case.

    >>> encode(b"ACGTNacgtnR").tolist()
    [7, 8, 9, 10, 11, 7, 8, 9, 10, 11, 6]

    Raises:
        LetterError: for the first byte that is not an IUPAC nucleotide letter (white space included).
    """
    letters = np.frombuffer(sequence, np.uint8)
    tokens = _TOKEN_OF_BYTE[letters]
    if tokens.size and tokens.max() == _FAULT:
        position = int(np.argmax(tokens == _FAULT))
        raise LetterError(sequence[position], position)
    return tokens


def decode(tokens: NDArray[np.uint8]) -> bytes:
    """Upper-case letters of tokens; `.` for padding and `?` for any other special token, [UNK] included.

    >>> decode(np.array([PAD, A, C, G, T, N, UNK]))
    b'.ACGTN?'
    """
    return _LETTER_OF_TOKEN[tokens].tobytes()
