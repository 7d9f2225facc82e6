"""Whatever the names and contents of a user's files: all of it is read, or an error of one line names the file."""

import bz2
import csv
import gzip
import io
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena.data.corpus import read_corpus
from hyena.data.datasets import DatasetSource, Format, load_dataset
from hyena.data.fasta import fasta_records
from hyena.data.sequences import Dataset
from hyena.data.split_files import COMPRESSIONS, SPLIT_OF_WORD
from hyena.data.tokenizer import decode, encode
from hyena.errors import InputError

Rows = list[tuple[str, str]]  # sequence and label
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bgz": lambda content: b"".join(gzip.compress(content[at : at + 9]) for at in range(0, len(content) + 1, 9)),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
#: What says that a sequence is missing is refused in tables and FASTA.
sequences = st.text("ACGTNacgtn", min_size=1, max_size=12).filter(lambda text: text.lower() not in ("na", "nan"))
plain_labels = st.sampled_from(["a", "b", "0", "1", "10", "2", "type 1", "type 2", "Pos", "pos", "non-coding"])
odd_labels = st.one_of(
    st.sampled_from(
        ["0.0", "1.0", "10.0", "0.5", "1e0", "+1", "01", "NA", "nan", "None", "", " a", "b\u00a0", "é", "e\u0301"]
    ),
    st.sampled_from(["a;b", "a|b", "a,b", '"a"', "it's", "a\u200b", "a\tb", "a\nb", "a=b", "label=a", "9" * 5000]),
    st.text(max_size=6),
)
vocabularies = st.one_of(
    st.lists(plain_labels, min_size=2, max_size=4, unique=True),
    st.lists(st.one_of(plain_labels, odd_labels), min_size=2, max_size=4, unique=True),
    st.sampled_from([["0.0", "1.0", "10.0"], ["0", "1.0", "1"], ["01", "1"], ["NA", "None"]]),
)
words = st.sampled_from(list(SPLIT_OF_WORD)).flatmap(lambda word: st.sampled_from([word, word.upper(), word.title()]))
validation_words = words.filter(lambda word: SPLIT_OF_WORD[word.lower()] == "validation")
rarely_a_word = st.one_of(st.just([]), st.just([]), st.just([]), st.just([]), words.map(lambda word: [word]))
encodings = st.sampled_from(["utf-8"] * 9 + ["utf-8-sig"] * 3 + ["latin-1", "utf-16", "utf-16-le"])
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def tables(draw: st.DrawFn, vocabulary: list[str]) -> Rows:
    """Rows of every class, so that most data sets are sound."""
    chosen = vocabulary + draw(st.lists(st.sampled_from(vocabulary), max_size=3))
    return [(draw(sequences), label) for label in draw(st.permutations(chosen))]


def delimited(rows: Rows, separator: str, end: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([("sequence", "label"), *rows])
    return text.getvalue()


def headers(rows: Rows, end: str, mark: str) -> str:
    """FASTA, each sequence on two lines, labels in quotation marks or without any."""
    return "".join(
        f">r{i} label={mark}{label}{mark}{end}{sequence[:3]}{end}{sequence[3:]}{end}"
        for i, (sequence, label) in enumerate(rows)
    )


def encoded(text: str, encoding: str) -> bytes:
    """Text in an encoding; UTF-8 where it lacks a letter, or where its bytes would be other text in UTF-8."""
    try:
        content = text.encode(encoding)
        if encoding == "latin-1" and content.decode() != text:
            return text.encode()
    except UnicodeEncodeError:
        return text.encode()
    except UnicodeDecodeError:
        pass
    return content


def letters(dataset: Dataset, split: str) -> Rows:
    held = dataset.splits[split]
    texts = [decode(held.tokens[a:b]).decode() for a, b in pairwise(held.offsets)]
    return [(text, dataset.classes[label]) for text, label in zip(texts, held.labels.tolist(), strict=True)]


def is_same_label(read: str, written: str) -> bool:
    """Whether a class is what was written, but for white space around it and a whole number written as a float."""
    written = written.strip()
    return read == written or (written.replace(".", "", 1).lstrip("+-").isdecimal() and float(written) == int(read))


def loaded(source: DatasetSource, cache: Path) -> tuple[Dataset | None, str]:
    """The data set, or None and the one line that says why not."""
    try:
        return load_dataset("mine", source, cache_dir=cache), ""
    except InputError as error:
        return None, str(error)


def check(folder: Path, source: DatasetSource, written: dict[str, Rows]) -> None:
    """All rows are read, each under its label, and no two labels under one; or one line names the place."""
    dataset, message = loaded(source, folder / "cache")
    if dataset is None:
        assert message.isprintable(), message
        assert str(source.path) in message
        return
    assert dataset.splits.keys() == written.keys()
    for split, rows in written.items():
        found = letters(dataset, split)
        assert [sequence for sequence, _ in found] == [sequence.upper() for sequence, _ in rows]
        for (_, read), (_, label) in zip(found, rows, strict=True):
            assert is_same_label(read, label), (read, label)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_tables_and_fasta_files_are_read_whole_or_refused(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["csv", "tsv", "fasta"]))
    ending = {"csv": "csv", "tsv": "tsv", "fasta": "fa"}[format]
    vocabulary, mark = data.draw(vocabularies), data.draw(st.sampled_from(['"', "'", ""]))
    if not mark:  # marks of a label's own would be taken for quotation marks
        vocabulary = [label for label in vocabulary if label[:1] not in "'\""] or ["a", "b"]
    written: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "mine").mkdir()
        for word in ["train", "Test", *data.draw(st.lists(validation_words, max_size=1)), *data.draw(rarely_a_word)]:
            rows = data.draw(tables(vocabulary))
            end = data.draw(line_ends)
            text = headers(rows, end, mark) if format == "fasta" else ""
            text = text or delimited(rows, "\t" if format == "tsv" else ",", end)
            compression = data.draw(st.sampled_from(sorted(COMPRESS)))
            content = COMPRESS[compression](encoded(text, data.draw(encodings)))
            name = f"{word}.{data.draw(st.sampled_from([ending, ending.upper()]))}"
            named = data.draw(st.sampled_from([compression, *COMPRESSIONS]))  # the ending may be wrong
            (folder / "mine" / (f"{name}.{named}" if named else name)).write_bytes(content)
            written[SPLIT_OF_WORD[word.lower()]] = rows
        check(
            folder,
            DatasetSource(cast(Format, format), folder / "mine", na_is_a_class=data.draw(st.booleans())),
            written,
        )


EXTRA = st.sampled_from(
    ["val2", "val_old", "Valid", "dev (1)", "DEV", "eval", "test2", "more", "train-00000-of-00001", "README", "x"]
).flatmap(
    lambda stem: st.sampled_from([".csv", ".CSV", ".tsv", ".csv.gz", ".csv.bz2", ".fa", ".md", "", ".parquet"]).map(
        lambda e: stem + e
    )
)


@settings(max_examples=100, deadline=None)
@given(EXTRA)
def test_a_table_beside_the_others_is_read_or_refused(name: str) -> None:
    rows = [("ACGT", "a"), ("GG", "b")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "mine"
        folder.mkdir()
        for own in ("train.csv", "test.csv", name):
            (folder / own).write_text(delimited(rows, ",", "\n"))
        dataset, refused = loaded(DatasetSource("csv", folder), Path(temporary) / "cache")
        if dataset is None:
            assert name in refused or "train.csv" in refused
        else:
            is_read = dataset.validation is not None
            assert is_read == (name.split(".")[0].lower() in SPLIT_OF_WORD and ".csv" in name.lower())
            assert is_read or name in ("README", "x", "more") or name.endswith(".md")


names = st.text(min_size=1, max_size=5).filter(lambda text: not set(text) & set("/\x00") and text not in (".", ".."))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_folders_and_archives_are_read_whole_or_refused(data: st.DataObject) -> None:
    is_archive = data.draw(st.booleans())
    class_names = data.draw(st.lists(st.one_of(names, plain_labels), min_size=2, max_size=3, unique=True))
    files: dict[str, str] = {}
    count: dict[str, int] = {}
    for word in ["train", data.draw(words), "test"]:
        for label in class_names:
            for i in range(data.draw(st.integers(1, 2))):
                path = f"{word}/{label}/{data.draw(st.sampled_from(['', 'x', '9' * 200]))}{i}.txt"
                if path not in files:
                    files[path] = data.draw(sequences)
                    count[SPLIT_OF_WORD[word.lower()]] = count.get(SPLIT_OF_WORD[word.lower()], 0) + 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "mine"
        try:
            if is_archive:
                with zipfile.ZipFile(folder, "w") as archive:
                    for path, content in files.items():
                        archive.writestr(f"root/{path}", content)
            else:
                for path, content in files.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_text(content)
        except (UnicodeEncodeError, OSError):
            return  # no such name on this file system
        dataset, message = loaded(DatasetSource("genomic_benchmarks", folder), Path(temporary) / "cache")
        if dataset is None:
            assert message.isprintable()
            assert str(folder) in message
            return
        hidden = [label for label in class_names if label.startswith(".")]
        if not hidden:
            assert {name: len(split) for name, split in dataset.splits.items()} == count
            assert len(dataset.classes) == len(class_names)


lines = st.lists(st.text("ACGTN acgt\t", max_size=8), max_size=4)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.text("abc12|", min_size=1, max_size=4), lines), min_size=1, max_size=5),
    st.sampled_from(["", "\n", " \n\n", "ACGT\n"]),
    line_ends,
    st.sampled_from(sorted(COMPRESS)),
    st.booleans(),
    st.sampled_from(["a.fa", "a.fa.gz", "a", "A.FNA.BGZ"]),
)
def test_corpora_and_data_sets_read_the_same_records(records, before, end, compression, mark, name) -> None:
    text = before + "".join(f">{id} words\n" + "".join(f"{line}\n" for line in body) for id, body in records)
    content = (b"\xef\xbb\xbf" if mark else b"") + text.replace("\n", end).encode()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        path.write_bytes(COMPRESS[compression](content))
        try:
            found = [(record.words[0], encode(record.letters).tolist()) for record in fasta_records(path)]
        except InputError:  # a blank within a line, or letters before the first header
            with pytest.raises(InputError) as caught:
                read_corpus([path], Path(temporary) / "cache")
            assert str(path) in str(caught.value)
            return
        expected = [("".join(line.strip() for line in body)) for _, body in records]
        assert [tokens for _, tokens in found] == [encode(letters.encode()).tolist() for letters in expected]
        if any(expected):
            corpus = read_corpus([path], Path(temporary) / "cache")
            tokens = [corpus.tokens[a:b].tolist() for a, b in pairwise(corpus.offsets.tolist())]
            assert list(zip(corpus.names, tokens, strict=True)) == [record for record in found if record[1]]
