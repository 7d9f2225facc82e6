"""FASTA as tools write it: complete records, line numbers as in an editor, and no value cut short silently."""

import gzip
from pathlib import Path

import pytest

from hyena.data import fasta
from hyena.data.fasta import Record, fasta_pieces, fasta_records
from hyena.errors import InputError

TEXT = b"\n  \n>one first\nACGT\n acg \n\n>two\n>three\tx\nNNN\nT"
EXPECTED = [(3, ["one", "first"], b"ACGTacg"), (7, ["two"], b""), (8, ["three", "x"], b"NNNT")]


def written(folder: Path, content: bytes) -> Path:
    (folder / "a.fa").write_bytes(content)
    return folder / "a.fa"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 2**20])
def test_records_are_the_same_however_they_are_written(tmp_path, end, mark, compress, chunk) -> None:
    path = written(tmp_path, compress(mark + TEXT.replace(b"\n", end)))
    found: list[list] = []
    for piece in fasta_pieces(path, chunk):
        if piece.begins:
            found.append([piece.line, piece.header.decode().split(), b""])
        assert found[-1][0] == piece.line
        found[-1][2] += piece.letters
    assert [tuple(record) for record in found] == EXPECTED


def test_records_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, TEXT)
    assert [(r.line, r.words, r.letters) for r in fasta_records(path)] == EXPECTED
    assert [r.place for r in fasta_records(path)] == [f"{path}, line {line}" for line, _, _ in EXPECTED]


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_blanks_within_a_line_are_kept_wherever_a_piece_ends(tmp_path: Path, chunk: int) -> None:
    path = written(tmp_path, b">a\n AC  GT \t\nA C")
    assert b"".join(piece.letters for piece in fasta_pieces(path, chunk)) == b"AC  GTA C"


def test_a_long_line_is_read_in_pieces(tmp_path: Path) -> None:
    path = written(tmp_path, b">a\n" + b"ACGTN" * 100_000 + b"\n>b\nA")
    pieces = list(fasta_pieces(path, 10_000))
    assert max(len(piece.letters) for piece in pieces) <= 20_000
    assert b"".join(piece.letters for piece in pieces if piece.line == 1) == b"ACGTN" * 100_000
    assert b"".join(piece.letters for piece in pieces if piece.line == 3) == b"A"
    assert [piece.line for piece in pieces if piece.begins] == [1, 3]


FAULTS = {
    "no header": (b"\n\nACGT\n", "line 3: not a FASTA file; expected a header line that starts with '>'"),
    "FASTQ": (b"@r1\nACGT\n+\nIIII\n", "line 1: not a FASTA file (a FASTQ file?); expected a header line"),
    "a NUL byte": (b">a\nACGT\n>b\nAC\x00\n", "line 4: found a NUL byte"),
    "no id": (b">a\nA\n> \nC\n", "line 3: the header has no id; expected '>ID …'"),
    "Latin-1": (b">a\nA\n>b \xe9\nC\n", "line 3: not UTF-8 text (byte 0xE9)"),
}


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_name_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        list(fasta_records(path))
    assert str(caught.value).startswith(f"{path}, {message}")


def test_a_header_without_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "HEADER_BYTES", 100)
    with pytest.raises(InputError, match="line 1: the header has more than 100 bytes; expected a FASTA file"):
        list(fasta_pieces(written(tmp_path, b">" + b"x" * 1000), 50))


def record(tmp_path: Path, header: str) -> Record:
    [found] = fasta_records(written(tmp_path, f"{header}\nA\n".encode()))
    return found


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (">r1 label=a", "a"),
        (">r1 some words label=a split=train", "a"),
        ('>r1 label="type 1" split=train', "type 1"),
        (">r1 label='type; 1'", "type; 1"),
        ('>r1 label=" a "', "a"),
        ('>r1 label="a" some words', "a"),
        (">r1 label=5'UTR", "5'UTR"),
        (">r1 label=a=b", "a=b"),
        (">r1 label=", ""),
        ('>r1 label=""', ""),
        ('>r1 note="label=b" label=a', "a"),
        (">r1 mylabel=b label=a", "a"),
        (">r1 Label=a", None),
        (">label=a", None),
        (">r1 words", None),
    ],
)
def test_a_value_is_read_whole(tmp_path: Path, header: str, value: str | None) -> None:
    assert record(tmp_path, header).value("label") == value


@pytest.mark.parametrize(
    "header",
    [
        ">r1 label=type 1",
        ">r1 label=type\t1 split=train",
        ">r1 label=type\u00a01",
        ">r1 label= type",
        ">r1 label=a; split=train",
        ">r1 label=a|split=train",
        ">r1 label=a,b",
        '>r1 label="type 1',
        '>r1 label="a"b',
        '>r1 label="a";',
        ">r1 label=a x",
    ],
)
def test_an_ambiguous_value_is_an_error(tmp_path: Path, header: str) -> None:
    with pytest.raises(
        InputError, match=r"a\.fa, line 1: .*label=.* is ambiguous; expected quotes .*: label=\"type 1\""
    ):
        record(tmp_path, header).value("label")


@pytest.mark.parametrize(
    "header",
    [
        ">r1 label=a label=b",
        ">r1 label=a label=a",
        ">r1 label=a note=x;label=b",
        ">label=b label=a",
        '>r label="a" label=b',
    ],
)
def test_two_values_are_an_error(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"a\.fa, line 1: 'label=' occurs twice in the header; keep one"):
        record(tmp_path, header).value("label")


def test_a_value_of_a_closed_set_ends_with_its_word(tmp_path: Path) -> None:
    assert record(tmp_path, ">r1 split=train some words").value("split", free=False) == "train"
