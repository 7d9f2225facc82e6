"""Text is read under any supported compression, and the error for anything else says what it is and what to do."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest

from hyena.errors import InputError
from hyena.system.text import line_at, opened, read_bytes, read_text, what_it_is

TEXT = b"sequence,label\nACGT,1\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
COMPRESSED = {
    "plain": TEXT,
    "byte-order mark": b"\xef\xbb\xbf" + TEXT,
    "gzip": gzip.compress(TEXT),
    "gzip in many members": b"".join(gzip.compress(TEXT[at : at + 5]) for at in range(0, len(TEXT), 5)),
    "gzip of a byte-order mark": gzip.compress(b"\xef\xbb\xbf" + TEXT),
    "bzip2": bz2.compress(TEXT),
    "bzip2 of little": bz2.compress(TEXT, 1),
    "xz": lzma.compress(TEXT),
}


@pytest.mark.parametrize("content", COMPRESSED.values(), ids=COMPRESSED)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a"])
def test_the_first_bytes_determine_the_compression(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_text(tmp_path / name) == TEXT.decode()
    assert read_bytes("archive.zip: member", content) == TEXT


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_empty_files_are_empty_texts(tmp_path: Path, compress) -> None:
    (tmp_path / "a").write_bytes(compress(b""))
    assert read_text(tmp_path / "a") == ""


@pytest.mark.parametrize(
    ("compress", "kind"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_a_broken_compression_is_named(tmp_path: Path, compress, kind: str) -> None:
    path = tmp_path / "a.csv"
    whole = compress(TEXT * 1000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        InputError, match=rf"a\.csv: not a complete {kind} file \(.+\); copy or download it again"
    ) as caught:
        read_text(path)
    assert "\n" not in str(caught.value)


NO_TEXT = {
    "git-lfs": (POINTER, "a git-lfs pointer: run `git lfs pull`"),
    "git-lfs, compressed": (gzip.compress(POINTER), "a git-lfs pointer: run `git lfs pull`"),
    "HTML": (b"\n <!DOCTYPE HTML><html>", "an HTML page: download the file itself again"),
    "XML": (b"<?xml version='1.0'?><Error>", "an XML document (perhaps a server's error message)"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "UTF-16 big-endian": (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "UTF-16 text: save it as UTF-8"),
    "UTF-32": (TEXT.decode().encode("utf-32"), "UTF-32 text: save it as UTF-8"),
    "UTF-16 without a mark": (TEXT.decode().encode("utf-16-le"), ", line 1: found a NUL byte"),
    "zeros at the end": (TEXT + bytes(100), ", line 3: found a NUL byte"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "compressed with zstd: decompress it first (`zstd -d`)"),
    "zip": (b"PK\x03\x04\x14\x00", "a zip archive: unpack it first"),
    "Excel": (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "an Excel or Word document: export it as CSV"),
    "Parquet": (b"PAR1\x15\x04", "a Parquet table, not text"),
    "twice": (gzip.compress(gzip.compress(TEXT)), "compressed twice: decompress it once (gzip)"),
    "Latin-1": (b"a\r\nb\rc\n\xe9", ", line 4: not UTF-8 text (byte 0xE9); convert the file to UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), NO_TEXT.values(), ids=NO_TEXT)
def test_errors_say_what_a_file_is_that_is_not_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_text(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_and_weights_are_not_mistaken_for_something_else() -> None:
    assert what_it_is(POINTER) == "a git-lfs pointer: run `git lfs pull`"
    assert what_it_is(b"<html>") == "an HTML page: download the file itself again"
    for data in (b"", TEXT, b">chr1\nACGT", b"PK\x03\x04", b"PAR1", b"\x08\x00\x00\x00{}", b"\x80\x02}", b"VACGT"):
        assert what_it_is(data) is None


def test_lines_are_counted_as_an_editor_does() -> None:
    assert [line_at(b"a\nb\r\nc\rd", at) for at in (0, 1, 2, 5, 7)] == [1, 1, 2, 3, 4]


def test_a_missing_file_stays_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(tmp_path / "none"):
        pass


TAR = b"chr1.fa".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0") + b">chr1\nACGT\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (TAR, "a tar archive: unpack it first (`tar -xf`)"),
        (gzip.compress(TAR), "a tar archive: unpack it first (`tar -xf`)"),
        (b"\x43\x27\x41\x1a" + bytes(12), "a 2bit file: convert it to FASTA (`twoBitToFa`)"),
        (gzip.compress(b"BAM\x01" + bytes(40)), "a BAM file: convert it to FASTA (`samtools fasta`)"),
        (b"# xet version 0\n", "a pointer to a file of the Hub's Xet storage: download the file itself"),
        (b"/annex/objects/MD5E-s1--x.csv\n", "a git-annex pointer: run `git annex get`"),
        (b"Entry not found", "an error message of a server, not the file: download the file itself again"),
        (b'{"error": "x"}', "a JSON document (perhaps a server's error message), which is not supported"),
    ],
    ids=["tar", "tar.gz", "2bit", "BAM", "Xet", "annex", "refusal", "JSON"],  # gzip's bytes hold the time
)
def test_failed_downloads_are_errors_that_say_what_they_are(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "a.fa").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_bytes(tmp_path / "a.fa")
    assert str(caught.value) == f"{tmp_path}/a.fa: {fault}"


def test_an_anonymous_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, TEXT)
    os.close(writing)
    assert read_text(Path(f"/dev/fd/{reading}")) == TEXT.decode()
    os.close(reading)
