"""`python -m hyena.leakage`: its output and files, and its one line for a wrong request."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hyena.leakage.__main__ import main
from hyena.leakage.counts import SCHEMA


def write_tables(folder: Path, dna) -> Path:
    same = dna(80)
    folder.mkdir()
    (folder / "train.csv").write_text(f"sequence,label\n{same.decode()},0\n{dna(80).decode()},1\n")
    (folder / "test.csv").write_text(f"sequence,label\n{same.decode()},0\n{dna(80).decode()},1\n")
    return folder


def test_the_command_prints_and_writes_the_counts(tmp_path, dna, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    output = tmp_path / "deep" / "audit.parquet"
    sequences = tmp_path / "sequences.parquet"
    arguments = [str(write_tables(tmp_path / "mine", dna)), "-o", str(output), "--sequences", str(sequences)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "mine: 2 train, 2 test" in text
    assert "1 of 2" in text
    assert "train sequences with a partner in the same split\n  none by exact_duplicate, reverse_complement" in text
    rows = pq.read_table(sequences).to_pylist()
    assert [(row["split"], row["example"], row["label"], row["exact_duplicate"]) for row in rows] == [
        ("test", 0, 0, True),
        ("test", 1, 1, False),
    ]
    assert not any(row["shared_kmer_other_class"] for row in rows)
    assert pq.read_table(output).schema.equals(SCHEMA)
    metadata = pq.read_schema(output).field("count").metadata
    assert json.dumps({k.decode(): v.decode() for k, v in metadata.items() if k == b"unit"}) == '{"unit": "sequences"}'


@pytest.mark.parametrize("arguments", [["human_nontata"], ["human_ocr_ensembl", "--intervals-only"]])
def test_a_wrong_request_is_an_error_of_one_line(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_a_wrong_kmer_length_is_an_error_of_one_line(tmp_path, dna, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main([str(write_tables(tmp_path / "mine", dna)), "--kmer", "10"]) == 2
    assert "from 32 to 64" in capsys.readouterr().err
