"""The records of a FASTA file as tokens, in pieces of a few megabytes, checked to be DNA. Next: `corpus.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena.data.fasta import CHUNK_BYTES, fasta_pieces
from hyena.data.sequences import AMBIGUOUS_FRACTION, ambiguity
from hyena.data.tokenizer import UNK, LetterError, encode
from hyena.errors import InputError


class TokenPiece(NamedTuple):
    """At most a few megabytes of a record: its name, whether it begins here, and the tokens."""

    name: str
    begins: bool
    tokens: NDArray[np.uint8]


def token_pieces(path: Path, ambiguous_fraction: float = AMBIGUOUS_FRACTION) -> Iterator[TokenPiece]:
    """The records of a FASTA file in pieces; records without letters are skipped.

    Raises InputError that names the file, and the record or line: a file that is not FASTA of DNA or has no letters.
    """
    record = _Record("", 0)
    begun = False
    try:
        for piece in fasta_pieces(path, CHUNK_BYTES):
            if piece.begins:
                record.refuse_ambiguous(path, ambiguous_fraction)
                words = piece.header.decode("utf-8", "replace").split()
                record = _Record(words[0] if words else "", piece.line)
            if piece.letters:
                begins = record.letters == 0
                yield TokenPiece(record.name, begins, record.encoded(piece.letters, path))
                begun = True
        record.refuse_ambiguous(path, ambiguous_fraction)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not begun:
        what = "the file is empty; expected a FASTA file" if not record.line else "the file holds no sequence"
        raise InputError(f"{path}: {what}")


@dataclass
class _Record:
    """What has been read of a record so far; `line` is 0 before the first record."""

    name: str
    line: int
    letters: int = 0
    unknown: int = 0
    uracils: int = 0

    def encoded(self, letters: bytes, path: Path) -> NDArray[np.uint8]:
        """Tokens of the next letters, which are counted."""
        try:
            tokens = encode(letters)
        except LetterError as error:
            place = f"line {self.line}, record '{self.name}', position {self.letters + error.position + 1}"
            raise InputError(f"{path}, {place}: {error.fault}") from None
        self.letters += len(letters)
        if unknown := int(np.count_nonzero(tokens == UNK)):
            self.unknown += unknown
            self.uracils += letters.count(b"U") + letters.count(b"u")
        return tokens

    def refuse_ambiguous(self, path: Path, most: float) -> None:
        if self.unknown > most * self.letters:
            fault = ambiguity(self.unknown, self.uracils, self.letters)
            raise InputError(f"{path}, line {self.line}, record '{self.name}': {fault}")
