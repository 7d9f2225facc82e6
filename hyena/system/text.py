"""Reading of text files: compression, byte-order marks, and errors for what is not text. Next: `data/fasta.py`.

A file's first bytes, not its name, determine its compression: gzip (also with many members, as of bgzip), bzip2 and xz
are read, others are an error that names them. UTF-8 is read with or without a byte-order mark. Imports neither torch
nor NumPy.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hyena.errors import InputError, first_line

_BOM = b"\xef\xbb\xbf"
_PARQUET = b"PAR1"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
#: Error messages of servers, which `curl` saves in place of a file.
_REFUSALS = (b"entry not found", b"404: not found", b"repository not found", b"access to ", b"invalid username or")
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # of a file with and a file without content
#: First bytes of files that are not text, and what to do about them.
_NO_TEXT = {
    b"\xff\xfe\x00\x00": "UTF-32 text: save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32 text: save it as UTF-8",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: decompress it first (`zstd -d`)",
    b"\x04\x22\x4d\x18": "compressed with lz4: decompress it first (`lz4 -d`)",
    b"\x1f\x9d": "compressed with `compress`: decompress it first (`uncompress`)",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"Rar!\x1a\x07": "a RAR archive: unpack it first",
    b"\x43\x27\x41\x1a": "a 2bit file: convert it to FASTA (`twoBitToFa`)",
    b"\x1a\x41\x27\x43": "a 2bit file: convert it to FASTA (`twoBitToFa`)",
    b"BAM\x01": "a BAM file: convert it to FASTA (`samtools fasta`)",
    b"CRAM": "a CRAM file: convert it to FASTA (`samtools fasta`)",
    _PARQUET: "a Parquet table, not text",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"\xd0\xcf\x11\xe0": "an Excel or Word document: export it as CSV",
    b"\x89HDF": "an HDF5 file: write it as Parquet or CSV",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database: export it as CSV",
}


def what_it_is(first_bytes: bytes) -> str | None:
    """What a file is that was downloaded in place of data or weights, and what to do about it; None if it seems fine.

    Args:
        first_bytes: the beginning of the file; 512 bytes are enough.

    Returns:
        The end of an error message, as in f"{path}: {what_it_is(first)}".
    """
    start = first_bytes.removeprefix(_BOM).lstrip()[:512].lower()
    if start.startswith(_LFS_POINTER):
        return "a git-lfs pointer: run `git lfs pull`"
    if start.startswith(b"# xet version"):
        return "a pointer to a file of the Hub's Xet storage: download the file itself"
    if b"/annex/objects/" in start.split(b"\n")[0]:
        return "a git-annex pointer: run `git annex get`"
    if start.startswith(_REFUSALS):
        return "an error message of a server, not the file: download the file itself again"
    if re.match(rb'\{\s*"|\[\s*\{', start):
        return "a JSON document (perhaps a server's error message), which is not supported"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page: download the file itself again"
    if start.startswith(b"<?xml"):
        return "an XML document (perhaps a server's error message): download the file itself again"
    return None


@contextmanager
def opened(path: Path | str, content: bytes | None = None, binary: bytes = b"-") -> Iterator[BinaryIO]:
    """A text file as bytes: decompressed and without byte-order mark.

    Args:
        path: the file; if `content` is given, only its name in error messages.
        content: the content of the file, if it has been read before.
        binary: first bytes of a file that is accepted although it is not text.

    Raises InputError if the file is not text, or, also within the `with` block, if compressed data are incomplete.
    """
    if content is None:
        refuse_unreadable_kind(Path(path))
    with Path(path).open("rb") if content is None else io.BufferedReader(io.BytesIO(content)) as file:
        first = file.peek(512)[:512]
        kind = _compression(first)
        plain: Any = io.BufferedReader(_decompressor(kind, file), 1 << 18) if kind else file
        try:
            if kind:
                first = plain.peek(512)[:512]
            if not first.startswith(binary) and (fault := _no_text(first)):
                raise InputError(f"{path}: {fault}")
            if first.startswith(_BOM):
                plain.read(len(_BOM))
            yield plain
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if not kind or (isinstance(error, OSError) and error.errno is not None):
                raise
            fault = first_line(error)
            raise InputError(f"{path}: not a complete {kind} file ({fault}); copy or download it again") from None


def _compression(first: bytes) -> str:
    """The supported compression that begins with these bytes; empty if none does."""
    if first.startswith(b"\x1f\x8b"):
        return "gzip"
    if first.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return "bzip2" if first.startswith(b"BZh") and first[4:10] in _BZIP2_BLOCKS else ""


def _decompressor(kind: str, file: Any) -> Any:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if kind == "bzip2" else lzma.LZMAFile(file)


def _no_text(first: bytes) -> str | None:
    """What a file that begins with these bytes is, if it is not text; None if it may be text."""
    if fault := what_it_is(first):
        return fault
    if kind := _compression(first):
        return f"compressed twice: decompress it once ({kind})"
    if first[257:262] == b"ustar":
        return "a tar archive: unpack it first (`tar -xf`)"
    if first.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in first:
        return "an Excel or Word document: export it as CSV"
    return next((fault for magic, fault in _NO_TEXT.items() if first.startswith(magic)), None)


def refuse_unreadable_kind(path: Path) -> None:
    """Raise InputError for a broken link, and for a named pipe or device, from which reading might never end.

    Anonymous pipes are accepted, as a shell makes them for `<(zcat genome.fa.gz)`.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        if path.is_symlink():
            raise InputError(f"{path}: a broken link to {path.readlink()}; expected a file") from None
        return  # opening the file raises the error
    is_special = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    if is_special and path.resolve().exists():
        raise InputError(f"{path}: a named pipe or a device; expected a file")


def read_bytes(path: Path | str, content: bytes | None = None) -> bytes:
    """The content of a text file; the arguments are those of `opened`."""
    with opened(path, content) as stream:
        return stream.read()


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, with its line ends unchanged."""
    content = read_bytes(path)
    refuse_nul(content, path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, f"{path}, line {line_at(content, error.start)}") from None


def not_utf8(error: UnicodeDecodeError, place: str) -> InputError:
    """The error for bytes that are not UTF-8; `place` is their location."""
    byte = error.object[error.start]
    return InputError(f"{place}: not UTF-8 text (byte 0x{byte:02X}); convert the file to UTF-8")


def refuse_nul(content: bytes, path: Path | str, first_line: int = 1) -> None:
    """Raise InputError if a text contains a NUL byte, which neither DNA nor UTF-8 tables do.

    Args:
        first_line: number of the first line of `content`.
    """
    if (at := content.find(0)) >= 0:
        line = first_line - 1 + line_at(content, at)
        raise InputError(f"{path}, line {line}: found a NUL byte; expected UTF-8 text (is the file UTF-16 or damaged?)")


def line_at(content: bytes, position: int) -> int:
    """The line number of a position, as in an editor: LF, CRLF and CR each end a line."""
    before = content[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
