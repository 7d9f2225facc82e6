"""Tables and FASTA: TSV, Parquet, FASTA and gzip give the data set of CSV, and errors name file and line."""

import bz2
import gzip
import lzma
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena.data.datasets import DatasetSource, Format, load_dataset
from hyena.data.sequences import Dataset
from hyena.data.tokenizer import decode
from hyena.errors import InputError

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
    compress = {".gz": gzip.compress, ".bgz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path.write_bytes(compress.get(path.suffix.lower(), bytes)(content))


def parquet(path: Path, rows, **types) -> None:
    columns = zip(*rows, strict=True)
    arrays = {
        name: pa.array(values).cast(types.get(name, pa.string()))
        for name, values in zip(("sequence", "label", "id", "split"), columns, strict=False)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path)


def write_label(path: Path, labels: pa.Array) -> None:
    """A table of as many short sequences."""
    pq.write_table(pa.table({"sequence": ["ACGT"] * len(labels), "label": labels}), path)


@pytest.fixture
def load(tmp_path):
    def load(path: Path, format: Format, **columns: Any) -> Dataset:
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


@pytest.mark.parametrize(
    "name", ["{}.tsv", "{}.tsv.gz", "{}.csv.gz", "{}.CSV", "{}.csv.bz2", "{}.csv.xz", "{}.TSV.BGZ"]
)
def test_delimited_text_and_compressions(tmp_path, load, expected, name):
    format = name[3:6].lower()
    for split, rows in ROWS.items():
        write(tmp_path / "mine" / name.format(split), delimited(rows, "\t" if format == "tsv" else ","))
    assert load(tmp_path / "mine", format).digest == expected


TEXT_TYPES = (
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
    *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.binary())),
)


@pytest.mark.parametrize("type", TEXT_TYPES, ids=str)
def test_parquet(tmp_path, load, expected, type):
    for split, rows in ROWS.items():
        parquet(tmp_path / "mine" / f"{split}.parquet", rows, sequence=type, label=type, id=type)
    assert load(tmp_path / "mine", "parquet").digest == expected


def test_integer_labels_in_parquet(tmp_path, load):
    for split in ("train", "test"):
        parquet(tmp_path / "mine" / f"{split}.parquet", [("A", 10), ("C", 9)], label=pa.int16())
    assert load(tmp_path / "mine", "parquet").classes == ("9", "10")


@pytest.mark.parametrize("name", ["{}.fa", "{}.fasta.gz", "{}.fna", "{}.FA.GZ", "{}.fa.bgz"])
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
    "tsv a short row": ("tsv", "sequence\tlabel\nA\tb\nC\n", r"line 3: found 1 column, expected 2"),
    "csv an id twice": (
        "csv",
        delimited([*ROWS["train"], ("A", "a", "2")]),
        r"line 5: duplicate id '2' \(also line 3\)",
    ),
    "csv a column twice": ("csv", "sequence,label,label\nA,a,a\n", r"line 1: column 'label' exists twice"),
    "fasta without a label": ("fasta", ">r1 label=a\nA\n>r2\nC\n", r"line 3: no 'label=…' in the header"),
    "fasta without a header": ("fasta", "\nACGT\n", r"line 2: not a FASTA file"),
    "fasta an empty record": ("fasta", ">r1 label=a\n>r2 label=b\nC\n", r"line 1: the sequence is empty"),
    "fasta an id twice": ("fasta", ">r1 label=a\nA\n>r1 label=b\nC\n", r"line 3: duplicate id 'r1' .*\(also line 1\)"),
    "fasta not DNA": ("fasta", ">r1 label=a\nA\n>r2 label=b\nAC\nGE\n", r"line 3: letter 'E' .*position 4"),
    "fasta an empty label": ("fasta", ">r1 label=\nA\n", r"line 1: the label is empty"),
    "fasta not UTF-8": ("fasta", b">r1 label=a\nA\n>\xff\n", r"line 3: not UTF-8"),
    "fasta nothing": ("fasta", "\n", r"no sequences; expected"),
}


@pytest.mark.parametrize(("format", "content", "message"), TEXT_FAULTS.values(), ids=TEXT_FAULTS)
def test_errors_name_file_and_line(tmp_path, load, format, content, message):
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
    write_label(path, pa.array([["a"]]))
    with pytest.raises(InputError, match=r"train\.parquet, column 'label': type list<.*>; expected text"):
        load(tmp_path / "mine", "parquet")
    write_label(path, pa.array(["a", "\udce9".encode("utf-8", "surrogateescape")], pa.binary()))
    with pytest.raises(InputError, match=r"train\.parquet, column 'label', row 2: not UTF-8 text \(byte 0xE9\)"):
        load(tmp_path / "mine", "parquet")
    write_label(path, pa.array([1.0, float("nan")]))
    with pytest.raises(InputError, match=r"train\.parquet, column 'label', row 2: missing value"):
        load(tmp_path / "mine", "parquet")
    write_label(path, pa.array([1.0, 0.5]))
    with pytest.raises(
        InputError, match=r"train\.parquet, row 2: label '0\.5' is a number with a fraction; expected names"
    ):
        load(tmp_path / "mine", "parquet")
    parquet(path, [("A", "a"), ("C", None)])
    with pytest.raises(InputError, match=r"train\.parquet, column 'label', row 2: missing value"):
        load(tmp_path / "mine", "parquet")
    parquet(path, [("A", "a"), ("C", "b"), ("", "b")])
    with pytest.raises(InputError, match=r"train\.parquet, row 3: the sequence is empty"):
        load(tmp_path / "mine", "parquet")
    path.write_bytes(b"PAR1 rubbish")
    with pytest.raises(InputError, match=r"train\.parquet: not a readable Parquet table"):
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
    with pytest.raises(InputError, match=r"train\.csv\.gz: not a complete gzip file"):
        load(tmp_path / "mine", "csv")


# --- labels ---


@pytest.mark.parametrize("labels", [pa.float64(), pa.float32(), pa.decimal128(6, 2), pa.string()], ids=str)
def test_whole_number_floats_are_integers(tmp_path, load, labels):
    rows = [("A", "10"), ("C", "9"), ("G", "-1")]
    floats = [(sequence, f"{label}.0") for sequence, label in rows]
    for split in ("train", "test"):
        write(tmp_path / "integers" / f"{split}.csv", delimited(rows, header=("sequence", "label")))
        write(tmp_path / "floats" / f"{split}.csv", delimited(floats, header=("sequence", "label")))
        parquet(tmp_path / "mine" / f"{split}.parquet", floats, label=labels)
    integers = load(tmp_path / "integers", "csv")
    assert integers.classes == ("-1", "9", "10")
    assert load(tmp_path / "floats", "csv").digest == integers.digest
    assert load(tmp_path / "mine", "parquet").digest == integers.digest


def test_labels_that_are_missing(tmp_path, load):
    for label in ("NA", "NaN", "nan", "NULL", "None", "N/A", "<NA>", "null"):
        rows = [("A", "a"), ("C", label), ("G", "a")]
        for split in ("train", "test"):
            write(tmp_path / "mine" / f"{split}.csv", delimited(rows, header=("sequence", "label")))
            write(tmp_path / "fasta" / f"{split}.fa", fasta([(*row, i) for i, row in enumerate(rows)]))
            parquet(tmp_path / "table" / f"{split}.parquet", rows)
        fault = (
            rf"label '{re.escape(label)}' means a missing label \(for a class of that name, set na_is_a_class = true\)"
        )
        for folder, format, place in (
            ("mine", "csv", "line 3"),
            ("fasta", "fasta", "line 4"),
            ("table", "parquet", "row 2"),
        ):
            with pytest.raises(InputError, match=rf"train\.\w+, {place}: {fault}"):
                load(tmp_path / folder, format)
            assert set(load(tmp_path / folder, format, na_is_a_class=True).classes) == {"a", label}


def test_a_class_called_na_is_allowed_as_a_file_name(tmp_path, load):
    for split in ("train", "test"):
        for label in ("NA", "B"):
            write(tmp_path / "mine" / split / f"{label}.fa", ">r1\nACGT\n")
    assert load(tmp_path / "mine", "fasta").classes == ("B", "NA")


def test_labels_in_fasta_headers_are_read_whole_or_not_at_all(tmp_path, load):
    quoted = '>r1 label="type 1"\nA\n>r2 label="type 2"\nC\n>r3 label=other\nG\n'
    for split in ("train", "test"):
        write(tmp_path / "mine" / f"{split}.fa", quoted)
    assert load(tmp_path / "mine", "fasta").classes == ("other", "type 1", "type 2")
    write(tmp_path / "mine" / "train.fa", quoted.replace('"', ""))
    with pytest.raises(InputError, match=r"train\.fa, line 1: 'label=type 1' is ambiguous"):
        load(tmp_path / "mine", "fasta")


# --- which rows ---

TASKS = [("ACGT", "1", "x"), ("GG", "0", "x"), ("TT", "0", "y"), ("CC", "2", "y")]


@pytest.fixture(params=["csv", "tsv", "parquet", "fasta"])
def table_of_tasks(request, tmp_path):
    """A folder with the tasks x and y in each table, and its format."""
    folder = tmp_path / "tasks"
    for split in ("train", "test"):
        if request.param == "parquet":
            folder.mkdir(exist_ok=True)
            columns = zip(*TASKS, strict=True)
            arrays = dict(zip(("sequence", "label", "task"), columns, strict=True))
            pq.write_table(
                pa.table({name: list(values) for name, values in arrays.items()}), folder / f"{split}.parquet"
            )
        elif request.param == "fasta":
            records = "".join(f">{i} label={label} task={task}\n{s}\n" for i, (s, label, task) in enumerate(TASKS))
            write(folder / f"{split}.fa", records)
        else:
            delimiter = "\t" if request.param == "tsv" else ","
            write(folder / f"{split}.{request.param}", delimited(TASKS, delimiter, ("sequence", "label", "task")))
    return folder, request.param


def test_where_selects_one_task_of_a_table(tmp_path, load, table_of_tasks):
    for split in ("train", "test"):
        write(tmp_path / "x" / f"{split}.csv", delimited([row[:2] for row in TASKS[:2]], header=("sequence", "label")))
    only = load(*table_of_tasks, where={"task": "x"})
    assert only.digest == load(tmp_path / "x", "csv").digest
    assert only.notes == ()
    assert load(*table_of_tasks, where={"task": "y"}).classes == ("0", "2")


def test_the_error_of_where_names_the_values_found(load, table_of_tasks):
    with pytest.raises(InputError, match=r"train\.\w+: where: no row has task = 'z'; found x, y$"):
        load(*table_of_tasks, where={"task": "z"})
    with pytest.raises(InputError, match=r"train\.\w+.*: no (column 'kind'|'kind=…')"):
        load(*table_of_tasks, where={"kind": "z"})


def test_tasks_that_are_read_as_one_are_noted(load, table_of_tasks):
    everything = load(*table_of_tasks)
    assert len(everything.train) == 4
    assert everything.notes == ("2 tasks are read as one (x, y); where = { task = … } selects one",)
    assert load(*table_of_tasks).notes == everything.notes, "the cache forgets notes"


def test_notes_are_those_of_the_source_and_not_of_the_content(tmp_path, load, table_of_tasks):
    everything = load(*table_of_tasks)
    for split in ("train", "test"):
        write(tmp_path / "plain" / f"{split}.csv", delimited([row[:2] for row in TASKS], header=("sequence", "label")))
    plain = load(tmp_path / "plain", "csv")
    assert plain.digest == everything.digest
    assert (plain.notes, load(tmp_path / "plain", "csv").notes) == ((), ())
    assert load(*table_of_tasks).notes == everything.notes


def test_a_row_of_another_split_than_its_file_is_an_error(tmp_path, load):
    header = ("sequence", "label", "split")
    write(tmp_path / "mine" / "test.csv", delimited([("A", "a", "test"), ("C", "b", "test")], header=header))
    write(tmp_path / "mine" / "train.csv", delimited([("A", "a", "Train"), ("C", "b", "3rd")], header=header))
    assert len(load(tmp_path / "mine", "csv").train) == 2
    write(tmp_path / "mine" / "train.csv", delimited([("A", "a", "train"), ("C", "b", "test")], header=header))
    with pytest.raises(InputError, match=r"train\.csv, line 3: split is 'test' in the file of the train split"):
        load(tmp_path / "mine", "csv")
    assert len(load(tmp_path / "mine", "csv", split_column="part").train) == 2


# --- what is no DNA ---


def test_proteins_and_rna_are_errors(tmp_path, load):
    write(tmp_path / "mine" / "test.fa", ">r1 label=a\nACGT\n>r2 label=b\nACGT\n")
    write(tmp_path / "mine" / "train.fa", ">r1 label=a\nACGT\n>r2 label=b\nRVKDSBWNNYAG\n")
    message = r"train\.fa, line 3: 67 % of the letters are not A, C, G, T or N; is this a protein\? .*; or raise \w+$"
    with pytest.raises(InputError, match=message):
        load(tmp_path / "mine", "fasta")
    read = load(tmp_path / "mine", "fasta", ambiguous_fraction=1.0)
    assert read.notes == ("8 of 24 letters are ambiguous (or U) and are read as [UNK]",)
    write(tmp_path / "mine" / "train.fa", ">r1 label=a\nACGT\n>r2 label=b\nACGuACGU\n")
    with pytest.raises(
        InputError,
        match=r"train\.fa, line 3: 25 % of the letters are U or ambiguous; is this RNA\?",
    ):
        load(tmp_path / "mine", "fasta")
    write(tmp_path / "mine" / "train.fa", f">r1 label=a\nACGTNNNNN\n>r2 label=b\n{'ACGTACGTA' * 2}RY\n")
    assert len(load(tmp_path / "mine", "fasta").train) == 2, "a tenth is no more than a tenth"


@pytest.mark.parametrize(
    "text",
    [
        "\n  \nsequence,label\n\nACGT,0\n   \nGGT,1\n",
        'sequence, "label"\nACGT, "0"\nGGT,1\n',
        '"sequence", "label"\n"ACGT", "0"\n "GGT", "1"\n',
    ],
)
def test_blanks_around_cells_and_blank_lines_are_ignored(tmp_path, text):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.csv", text)
    dataset = load_dataset("mine", DatasetSource("csv", tmp_path), cache_dir=tmp_path / "cache")
    assert dataset.classes == ("0", "1")
    assert decode(dataset.train.tokens) == b"ACGTGGT"


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (
            '"sequence";"label"',
            "the columns sequence, label are separated by semicolons; write the table with commas",
        ),
        ("sequence|label", "the columns sequence, label are separated by vertical bars; write the table with commas"),
        ("sep=;", "'sep=;' is a separator line of Excel; remove it, so that the header comes first"),
        ("sep=,", "'sep=,' is a separator line of Excel; remove it, so that the header comes first"),
    ],
)
def test_errors_of_other_separators_say_what_to_do(tmp_path, header, fault):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.csv", f"\n{header}\nACGT,1\n")
    with pytest.raises(InputError) as caught:
        load_dataset("mine", DatasetSource("csv", tmp_path), cache_dir=tmp_path / "cache")
    assert str(caught.value).startswith(f"{tmp_path}/train.csv, line 2: {fault}")


@pytest.mark.parametrize("missing", ["nan", "NaN", "NA"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_missing_sequence_is_an_error(tmp_path, format, missing):
    rows = [("ACGT", "a"), (missing, "b"), ("NNNN", "b")]
    for split in ("train", "test"):
        if format == "csv":
            write(tmp_path / f"{split}.csv", delimited(rows, header=("sequence", "label")))
        else:
            parquet(tmp_path / f"{split}.parquet", rows)
    with pytest.raises(InputError) as caught:
        load_dataset("mine", DatasetSource(format, tmp_path), cache_dir=tmp_path / "cache")
    place = "line 3" if format == "csv" else "row 2"
    message = f"{place}: sequence {missing!r} means a missing sequence; remove the row"
    assert str(caught.value) == f"{tmp_path}/train.{format}, {message}"


@pytest.mark.parametrize("label", ["na", "NAN", "Null", "#VALUE!", "#DIV/0!", "1.#QNAN"])
def test_other_spellings_of_a_missing_label_are_errors(tmp_path, label):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.csv", f"sequence,label\nACGT,0\nACC,{label}\n")
    with pytest.raises(InputError, match=re.escape(f"line 3: label {label!r} means a missing label")):
        load_dataset("mine", DatasetSource("csv", tmp_path), cache_dir=tmp_path / "cache")


def test_a_parquet_table_may_be_compressed_as_a_whole(tmp_path):
    for split in ("train", "test"):
        parquet(tmp_path / "plain.pq", [("ACGT", "a"), ("GGT", "b")])
        write(tmp_path / "data" / f"{split}.parquet.gz", (tmp_path / "plain.pq").read_bytes())
    dataset = load_dataset("mine", DatasetSource("parquet", tmp_path / "data"), cache_dir=tmp_path / "cache")
    assert decode(dataset.train.tokens) == b"ACGTGGT"
