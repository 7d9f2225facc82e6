"""The one opener of text files: compression, byte-order marks, and what is no text at all. Next: `data/fasta.py`.

A compression is known by a file's first bytes, whatever its name: gzip (bgzip's many members, too), bzip2 and xz are
read; others are named. UTF-8 is read with or without a byte-order mark. Imports neither torch nor NumPy.
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

from hyena.errors import InputError, one_line

_BOM = b"\xef\xbb\xbf"
_PARQUET = b"PAR1"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
#: What servers send, and `curl` saves, in place of a file.
_REFUSALS = (b"entry not found", b"404: not found", b"repository not found", b"access to ", b"invalid username or")
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # of a file with and without content
#: First bytes of what is no text, and what to do about it.
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
    """What lies there in place of data or weights, and what to do about it; None where nothing like it is seen.

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
        return "a server's refusal, not the file: download the file itself again"
    if re.match(rb'\{\s*"|\[\s*\{', start):
        return "a JSON document (perhaps a server's error message), which is not read"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page: download the file itself again"
    if start.startswith(b"<?xml"):
        return "an XML document (perhaps a server's error message): download the file itself again"
    return None


@contextmanager
def opened(path: Path | str, content: bytes | None = None, binary: bytes = b"-") -> Iterator[BinaryIO]:
    """A text file as bytes: decompressed, its byte-order mark left out.

    Args:
        path: the file; with `content`, what names it in errors.
        content: what the file holds, where it was read before.
        binary: how a file begins that is read although it is no text.

    Raises InputError where it is no text, or where its compression breaks off, even within the `with` block.
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
            fault = one_line(error)
            raise InputError(f"{path}: not a whole {kind} file ({fault}); copy or fetch it again") from None


def _compression(first: bytes) -> str:
    """Which of the compressions that can be read begins with these bytes; empty for none."""
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
    """What a file is that begins with these bytes, where it is no text."""
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
    """Raise InputError for a link to what is not there, and for a pipe or device, whose reading might never end.

    Pipes without a name are read, as a shell makes them for `<(zcat genome.fa.gz)`.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        if path.is_symlink():
            raise InputError(f"{path}: a link to {path.readlink()}, which cannot be followed; fetch that") from None
        return  # whoever opens it says why it cannot be read
    is_special = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    if is_special and path.resolve().exists():
        raise InputError(f"{path}: a named pipe or a device; expected a file")


def read_bytes(path: Path | str, content: bytes | None = None) -> bytes:
    """The whole of a text file; the arguments are those of `opened`."""
    with opened(path, content) as stream:
        return stream.read()


def read_text(path: Path) -> str:
    """A UTF-8 text file as text, its lines ending as they do."""
    content = read_bytes(path)
    refuse_nul(content, path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, f"{path}, line {line_at(content, error.start)}") from None


def not_utf8(error: UnicodeDecodeError, place: str) -> InputError:
    """The error for bytes that are no UTF-8; `place` says where they stand."""
    byte = error.object[error.start]
    return InputError(f"{place}: not UTF-8 text (byte 0x{byte:02X}); convert the file to UTF-8")


def refuse_nul(content: bytes, path: Path | str, first_line: int = 1) -> None:
    """Raise InputError where a text holds a NUL byte, which neither DNA nor UTF-8 tables have.

    Args:
        first_line: number of the line with which `content` begins.
    """
    if (at := content.find(0)) >= 0:
        line = first_line - 1 + line_at(content, at)
        raise InputError(f"{path}, line {line}: a NUL byte; no text in UTF-8 (UTF-16, or a damaged file?)")


def line_at(content: bytes, position: int) -> int:
    """The number of the line that holds a position, as an editor counts: LF, CRLF and CR each end one."""
    before = content[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
