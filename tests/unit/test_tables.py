"""Data of one's own: TSV, Parquet, FASTA and gzip give what CSV gives, and faults are told by file and line."""

import gzip
import re
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena.datasets import Dataset, DatasetSource, load_dataset
from hyena.errors import InputError
from hyena.tokenizer import decode

ROWS = {
    "train": [("ACGT", "b", "1"), ("GGN", "a", "2"), ("TTA", "b", "3")],
    "dev": [("CCC", "a", "1")],
    "test": [("AC", "a", "1"), ("CA", "b", "2")],
}


def delimited(rows, delimiter=",", header=("sequence", "label", "id")) -> str:
    return "".join(delimiter.join(cells) + "\n" for cells in (header, *rows))


def fasta(rows, with_label=True, split="") -> str:
    """Records of which each sequence stands on two lines."""
    return "".join(
        f">r{i} some words{f' label={label}' if with_label else ''}{split and f' split={split}'}\n"
        f"{sequence[:2]}\n{sequence[2:]}\n"
        for sequence, label, i in rows
    )


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def parquet(path: Path, rows, **types) -> None:
    columns = zip(*rows, strict=True)
    arrays = {
        name: pa.array(values).cast(types.get(name, pa.string()))
        for name, values in zip(("sequence", "label", "id", "split"), columns, strict=False)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path)


@pytest.fixture
def load(tmp_path):
    def load(path: Path, format: str, **columns: str) -> Dataset:
        return load_dataset("mine", DatasetSource(format, path, **columns), cache_dir=tmp_path / "cache")

    return load


@pytest.fixture
def expected(tmp_path, load) -> str:
    """The digest of the rows above, read from CSV."""
    for split, rows in ROWS.items():
        write(tmp_path / "expected" / f"{split}.csv", delimited(rows))
    dataset = load(tmp_path / "expected", "csv")
    tokens, offsets = dataset.train.tokens, dataset.train.offsets
    assert [decode(tokens[a:b]) for a, b in pairwise(offsets)] == [b"ACGT", b"GGN", b"TTA"]
    assert dataset.classes == ("a", "b")
    return dataset.digest


@pytest.mark.parametrize("name", ["{}.tsv", "{}.tsv.gz", "{}.csv.gz"])
def test_delimited_text_and_gzip(tmp_path, load, expected, name):
    format = name[3:6]
    for split, rows in ROWS.items():
        write(tmp_path / "mine" / name.format(split), delimited(rows, "\t" if format == "tsv" else ","))
    assert load(tmp_path / "mine", format).digest == expected


@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path, load, expected, type):
    for split, rows in ROWS.items():
        parquet(tmp_path / "mine" / f"{split}.parquet", rows, label=type)
    assert load(tmp_path / "mine", "parquet").digest == expected


def test_integer_labels_in_parquet(tmp_path, load):
    for split in ("train", "test"):
        parquet(tmp_path / "mine" / f"{split}.parquet", [("A", 10), ("C", 9)], label=pa.int16())
    assert load(tmp_path / "mine", "parquet").classes == ("9", "10")


@pytest.mark.parametrize("name", ["{}.fa", "{}.fasta.gz", "{}.fna"])
def test_fasta_with_labels_in_the_headers(tmp_path, load, expected, name):
    for split, rows in ROWS.items():
        write(tmp_path / "mine" / name.format(split), fasta(rows))
    assert load(tmp_path / "mine", "fasta").digest == expected


def test_fasta_with_a_file_per_class(tmp_path, load):
    for split, rows in ROWS.items():
        write(tmp_path / "by_class" / "x.csv", "")
        in_order = sorted(rows, key=lambda row: row[1])
        write(tmp_path / "ordered" / f"{split}.csv", delimited(in_order))
        for label in {row[1] for row in rows}:
            records = fasta([row for row in rows if row[1] == label], with_label=False)
            write(tmp_path / "mine" / split / f"{label}.fa.gz", records)
    assert load(tmp_path / "mine", "fasta").digest == load(tmp_path / "ordered", "csv").digest


def test_one_file_with_a_split_column(tmp_path, load, expected):
    rows = [(*cells, split) for split in ("test", "train", "dev") for cells in ROWS[split]]
    write(tmp_path / "all.csv", delimited(rows, header=("sequence", "label", "id", "split")))
    write(tmp_path / "all.tsv", delimited(rows, "\t", ("s", "y", "n", "part")))
    parquet(tmp_path / "all.parquet", rows)
    write(tmp_path / "all.fa", "".join(fasta(ROWS[split], split=split) for split in ROWS))
    assert load(tmp_path / "all.csv", "csv").digest == expected
    names = {"sequence_column": "s", "label_column": "y", "id_column": "n", "split_column": "part"}
    assert load(tmp_path / "all.tsv", "tsv", **names).digest == expected
    assert load(tmp_path / "all.parquet", "parquet").digest == expected
    assert load(tmp_path / "all.fa", "fasta").digest == expected


def test_gzipped_folder_of_the_official_layout(tmp_path, load):
    for split in ("train", "test"):
        for label in ("a", "b"):
            write(tmp_path / "plain" / split / label / "1.txt", "ACGT")
            write(tmp_path / "zipped" / split / label / "1.txt.gz", "ACGT")
    zipped = load(tmp_path / "zipped", "genomic_benchmarks")
    assert zipped.digest == load(tmp_path / "plain", "genomic_benchmarks").digest


TEXT_FAULTS = {
    "tsv a short row": ("tsv", "sequence\tlabel\nA\tb\nC\n", r"line 3: 1 column where the header has 2"),
    "csv an id twice": ("csv", delimited([*ROWS["train"], ("A", "a", "2")]), r"line 5: id '2' .*\(also line 3\)"),
    "csv a column twice": ("csv", "sequence,label,label\nA,a,a\n", r"line 1: column 'label' is there twice"),
    "fasta without a label": ("fasta", ">r1 label=a\nA\n>r2\nC\n", r"line 3: no 'label=…' in the header"),
    "fasta without a header": ("fasta", "\nACGT\n", r"line 2: not a FASTA file"),
    "fasta an empty record": ("fasta", ">r1 label=a\n>r2 label=b\nC\n", r"line 1: the sequence is empty"),
    "fasta an id twice": ("fasta", ">r1 label=a\nA\n>r1 label=b\nC\n", r"line 3: id 'r1' .*\(also line 1\)"),
    "fasta not DNA": ("fasta", ">r1 label=a\nA\n>r2 label=b\nAC\nGE\n", r"line 3: letter 'E' .*position 4"),
    "fasta an empty label": ("fasta", ">r1 label=\nA\n", r"line 1: the label is empty"),
    "fasta not UTF-8": ("fasta", b">r1 label=a\nA\n>\xff\n", r"line 3: not UTF-8"),
    "fasta nothing": ("fasta", "\n", r"no sequences in it"),
}


@pytest.mark.parametrize(("format", "content", "message"), TEXT_FAULTS.values(), ids=TEXT_FAULTS)
def test_faults_are_told_by_file_and_line(tmp_path, load, format, content, message):
    suffix = {"fasta": "fa"}.get(format, format)
    write(tmp_path / "mine" / f"train.{suffix}", content)
    delimiter = "\t" if format == "tsv" else ","
    good = fasta(ROWS["test"]) if format == "fasta" else delimited(ROWS["test"], delimiter)
    write(tmp_path / "mine" / f"test.{suffix}", good)
    file = re.escape(str(tmp_path / "mine" / f"train.{suffix}"))
    with pytest.raises(InputError, match=rf"^{file}[,:] ?{message}") as caught:
        load(tmp_path / "mine", format)
    assert "\n" not in str(caught.value)


def test_faults_of_parquet_tables(tmp_path, load):
    path = tmp_path / "mine" / "train.parquet"
    parquet(tmp_path / "mine" / "test.parquet", ROWS["test"])
    parquet(path, [("A", 0.5)], label=pa.float64())
    with pytest.raises(InputError, match=r"train\.parquet, column 'label': type double; expected text"):
        load(tmp_path / "mine", "parquet")
    parquet(path, [("A", "a"), ("C", None)])
    with pytest.raises(InputError, match=r"train\.parquet, column 'label', row 2: the value is missing"):
        load(tmp_path / "mine", "parquet")
    parquet(path, [("A", "a"), ("C", "b"), ("", "b")])
    with pytest.raises(InputError, match=r"train\.parquet, row 3: the sequence is empty"):
        load(tmp_path / "mine", "parquet")
    path.write_bytes(b"PAR1 rubbish")
    with pytest.raises(InputError, match=r"train\.parquet: not a Parquet table"):
        load(tmp_path / "mine", "parquet")


def test_unknown_and_missing_splits(tmp_path, load):
    write(tmp_path / "all.csv", "sequence,label,split\nA,a,train\nC,b,holdout\n")
    with pytest.raises(InputError, match=r"all\.csv, line 3: split 'holdout' is unknown; expected one of train"):
        load(tmp_path / "all.csv", "csv")
    write(tmp_path / "all.csv", "sequence,label,split\nA,a,train\nC,b,train\n")
    with pytest.raises(InputError, match=r"all\.csv: no test; expected the splits train and test"):
        load(tmp_path / "all.csv", "csv")
    write(tmp_path / "empty" / "train.txt", "")
    with pytest.raises(InputError, match=r"no train\.tsv and no test\.tsv; expected the files"):
        load(tmp_path / "empty", "tsv")


def test_broken_gzip(tmp_path, load):
    write(tmp_path / "mine" / "test.csv", delimited(ROWS["test"]))
    (tmp_path / "mine" / "train.csv.gz").write_bytes(gzip.compress(delimited(ROWS["train"]).encode())[:-9])
    with pytest.raises(InputError, match=r"train\.csv\.gz: not a whole gzip file"):
        load(tmp_path / "mine", "csv")
