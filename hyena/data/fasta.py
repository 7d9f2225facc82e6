"""The parser of FASTA files, for corpora and data sets alike: records in pieces of at most a few megabytes.

Next: `fasta_tokens.py` for corpora, `fasta_datasets.py` for labelled sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hyena.errors import InputError
from hyena.system.text import not_utf8, opened, refuse_nul

CHUNK_BYTES = 2**20
HEADER_BYTES = 2**20  # a file with a longer header is not FASTA
_WHITE = b" \t\x0b\x0c"
_QUOTED = re.compile(r"""(?<!\S)[^\s=]+=("[^"]*"|'[^']*')(?!\S)""")


class Piece(NamedTuple):
    """Some or all letters of a record; the pieces of a long record follow each other.

    Attributes:
        line: line number of the header, counted from 1 as in an editor.
        header: the text after its ">".
        begins: whether this is the first piece of the record. A record without letters is one piece without letters.
        letters: without white space at the beginnings and ends of lines.
    """

    line: int
    header: bytes
    begins: bool
    letters: bytes


def fasta_pieces(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
    """The records of a FASTA file, plain or compressed, a long one in pieces of about `chunk_bytes` letters.

    Lines may end in LF, CRLF or CR; blank lines are ignored.

    Raises InputError that names file and line: letters before the first header, a NUL byte, a file that is not text.
    """
    with opened(path) as stream:
        record: tuple[int, bytes] | None = None
        for line, text, within_line in _whole_lines(stream, path, chunk_bytes):
            refuse_nul(text, path, line)
            lead, *records = (text if within_line else b"\n" + text).split(b"\n>")
            letters = _letters(lead, within_line)
            if record is not None and letters:
                yield Piece(*record, False, letters)
            elif letters:
                raise _no_header(path, line, text)
            line += lead.count(b"\n") + within_line
            for content in records:
                header, _, body = content.partition(b"\n")
                record = line, header
                yield Piece(*record, True, _letters(body))
                line += content.count(b"\n") + 1


def _no_header(path: Path, line: int, text: bytes) -> InputError:
    blank = text[: len(text) - len(text.lstrip())]
    hint = " (a FASTQ file?)" if text.lstrip().startswith(b"@") else ""
    line += blank.count(b"\n")
    return InputError(f"{path}, line {line}: not a FASTA file{hint}; expected a header line that starts with '>'")


def _letters(lines: bytes, within_line: bool = False) -> bytes:
    """Lines joined without the white space around each; with `within_line`, the first one begins within a line."""
    joined = lines.replace(b"\n", b"")
    if len(joined.translate(None, _WHITE)) == len(joined):  # the usual case, several times faster
        return joined
    first, *rest = lines.split(b"\n")
    return b"".join([first.rstrip() if within_line else first.strip(), *(line.strip() for line in rest)])


def _whole_lines(stream: BinaryIO, path: Path, chunk_bytes: int) -> Iterator[tuple[int, bytes, bool]]:
    """A text in blocks of whole lines, or of parts of a very long line that is not a header; lines end in LF.

    Yields the number of a block's first line, the block, and whether it begins within a line. A block that ends within
    a line never ends in white space, which distinguishes white space between letters from that at the end of a line.
    """
    number, within_line, held = 1, False, b""
    while True:
        block = _read_block(stream, chunk_bytes)
        text = held + block
        end = text.rfind(b"\n") + 1 if block else len(text)
        if block and not end and (within_line or not text.startswith(b">")):
            end = len(text.rstrip(_WHITE))
        if not end and len(text) > HEADER_BYTES and text.startswith(b">"):
            raise InputError(
                f"{path}, line {number}: the header has more than {HEADER_BYTES:,} bytes; expected a FASTA file"
            )
        if end:
            yield number, text[:end], within_line
            number += text.count(b"\n", 0, end)
            within_line = not text.endswith(b"\n", 0, end)
        if not block:
            return
        held = text[end:]


def _read_block(stream: BinaryIO, chunk_bytes: int) -> bytes:
    """The next bytes with line ends as LF; after a final CR one more byte is read, which may be its LF."""
    block = stream.read(chunk_bytes)
    while block.endswith(b"\r") and (more := stream.read(1)):
        block += more
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


class Record(NamedTuple):
    """A record of a data set, with its header decoded.

    Attributes:
        place: "FILE, line N" of the header, for error messages.
        line: N.
        words: the words of the header, the id first. A word KEY="VALUE" may hold white space.
    """

    place: str
    line: int
    words: list[str]
    letters: bytes

    def value(self, key: str, free: bool = True) -> str | None:
        """The VALUE of the word KEY=VALUE, without quotes around it; None if there is no such word.

        Args:
            free: whether any text may be a value, so that its end must be unambiguous.

        Raises InputError if the end is ambiguous, or if KEY= occurs twice.
        """
        prefix = f"{key}="
        if sum(word.count(prefix) for word in self.words) > 1:
            self._refuse_second(prefix)
        at = next((i for i, word in enumerate(self.words) if i and word.startswith(prefix)), None)
        if at is None:
            return None
        word, value = self.words[at], self.words[at][len(prefix) :]
        if _QUOTED.fullmatch(word):
            return value[1:-1].strip()
        if free:
            following = self.words[at + 1] if at + 1 < len(self.words) else None
            if following is not None and not re.match("[^=]+=", following):
                word = f"{word} {following}"
            elif value[:1] not in ("'", '"') and not any(mark in value for mark in ";,|"):
                return value
            raise InputError(
                f"{self.place}: {word!r} is ambiguous; expected quotes around a value of several "
                f'words or with one of ; , | in it: {key}="type 1"'
            )
        return value

    def _refuse_second(self, prefix: str) -> None:
        """Raise InputError if several words, or parts of words, begin with `prefix`; a quoted value counts as one."""
        plain = (word[: len(prefix)] if _QUOTED.fullmatch(word) else word for word in self.words)
        if sum(len(re.findall(rf"(?<![^;,|]){re.escape(prefix)}", word)) for word in plain) > 1:
            raise InputError(f"{self.place}: '{prefix}' occurs twice in the header; keep one")


def fasta_records(path: Path) -> Iterator[Record]:
    """The records of a FASTA file, each as a whole.

    Raises InputError as `fasta_pieces` does, and for a header that is not UTF-8 or has no id.
    """
    header: Piece | None = None
    letters: list[bytes] = []
    for piece in fasta_pieces(path):
        if piece.begins:
            if header is not None:
                yield _record(path, header, letters)
            header, letters = piece, []
        letters.append(piece.letters)
    if header is not None:
        yield _record(path, header, letters)


def _record(path: Path, piece: Piece, letters: list[bytes]) -> Record:
    place = f"{path}, line {piece.line}"
    try:
        header = piece.header.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, place) from None
    words = header.split()
    if '"' in header or "'" in header:
        words, at = [], 0
        for quoted in _QUOTED.finditer(header):
            words += [*header[at : quoted.start()].split(), quoted[0]]
            at = quoted.end()
        words += header[at:].split()
    if not words:
        raise InputError(f"{place}: the header has no id; expected '>ID …'")
    return Record(place, piece.line, words, b"".join(letters))
