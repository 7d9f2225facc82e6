"""From files to data sets: layouts, order, the token cache, and errors of one line that name the file."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from hyena.data import datasets
from hyena.data.datasets import DatasetSource, is_present, load_dataset
from hyena.data.sequences import Dataset, Split
from hyena.data.tokenizer import decode
from hyena.errors import InputError
from sweep.toml_reader import build
from tests.support.places import ROOT

GENOMIC = DatasetSource("genomic_benchmarks")
FILES = {
    "train/b_class/1.txt": "ACGT",
    "train/b_class/2.txt": "AACC\n",
    "train/b_class/10.txt": "GGNN",
    "train/a_class/x10.txt": "TTTT",
    "train/a_class/x9.txt": "acgta",
    "test/a_class/3.txt": "CCC",
    "test/b_class/4.txt": "GG",
}
ROWS = {"train": "sequence,label\nACGT,1\nGG,0\nTTA,1\n", "test": "sequence,label\nAC,0\nCA,1\n"}


def write_folder(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name in random.Random(len(files)).sample(sorted(files), len(files)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = files[name]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def write_archive(path: Path, files: dict[str, str], root: str = "mine/") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in random.Random(1).sample(sorted(files), len(files)):
            archive.writestr(f"{root}{name}", files[name])
    return path


def write_tables(folder: Path, tables: Mapping[str, str | bytes], suffix: str = "csv") -> Path:
    return write_folder(folder, {f"{name}.{suffix}": text for name, text in tables.items()})


def letters(split: Split) -> list[str]:
    return [decode(split.tokens[a:b]).decode() for a, b in pairwise(split.offsets)]


@pytest.fixture
def load(tmp_path):
    """Loads a path, with a cache of the test's own."""

    def load(path: Path, format: datasets.Format = "genomic_benchmarks", **columns: Any) -> Dataset:
        return load_dataset("mine", DatasetSource(format, path, **columns), cache_dir=tmp_path / "cache")

    return load


def test_folder_is_read_in_canonical_order(tmp_path, load):
    dataset = load(write_folder(tmp_path / "mine", FILES))
    assert dataset.name == "mine"
    assert dataset.classes == ("a_class", "b_class")
    assert letters(dataset.train) == ["ACGTA", "TTTT", "ACGT", "AACC", "GGNN"]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert letters(dataset.test) == ["CCC", "GG"]
    assert dataset.validation is None
    assert dataset.longest == 5


def test_archive_and_folder_are_the_same_data_set(tmp_path, load):
    folder = load(write_folder(tmp_path / "mine", FILES))
    for root in ("mine/", "another_name/", ""):
        archive = load(write_archive(tmp_path / f"{len(root)}.zip", FILES, root))
        assert archive.digest == folder.digest
        assert letters(archive.train) == letters(folder.train)


def test_files_of_operating_systems_are_ignored(tmp_path, load):
    clean = load(write_folder(tmp_path / "clean", FILES))
    litter = {"train/.DS_Store": "x", "train/a_class/._1.txt": "x", "README.md": "x", "__MACOSX/train/a/1.txt": "x"}
    assert load(write_folder(tmp_path / "mine", FILES | litter)).digest == clean.digest
    assert load(write_archive(tmp_path / "mine.zip", FILES | litter)).digest == clean.digest


def test_tables_are_read_in_their_order(tmp_path, load):
    tables = ROWS | {"dev": "sequence,label\nGGG,0\n"}
    dataset = load(write_tables(tmp_path / "mine", tables), "csv")
    assert dataset.classes == ("0", "1")
    assert letters(dataset.train) == ["ACGT", "GG", "TTA"]
    assert dataset.train.labels.tolist() == [1, 0, 1]
    assert letters(dataset.validation) == ["GGG"]


def test_equivalent_table_layouts(tmp_path, load):
    plain = load(write_tables(tmp_path / "plain", ROWS), "csv")
    windows = {name: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for name, text in ROWS.items()}
    assert load(write_tables(tmp_path / "windows", windows), "csv").digest == plain.digest
    quoted = {name: text.replace("GG", '"GG"').replace(",1", ", 1 ").rstrip() for name, text in ROWS.items()}
    assert load(write_tables(tmp_path / "quoted", quoted), "csv").digest == plain.digest
    columns = {name: text.replace("sequence,label", "seq,y") for name, text in ROWS.items()}
    named = load(write_tables(tmp_path / "named", columns), "csv", sequence_column="seq", label_column="y")
    assert named.digest == plain.digest


def test_integer_labels_are_sorted_as_numbers_and_others_as_text(tmp_path, load):
    numbers = {name: "sequence,label\n" + "".join(f"A,{label}\n" for label in (10, 9, -1)) for name in ROWS}
    assert load(write_tables(tmp_path / "numbers", numbers), "csv").classes == ("-1", "9", "10")
    words = {name: "sequence,label\n" + "".join(f"A,{label}\n" for label in (10, 9, "x")) for name in ROWS}
    assert load(write_tables(tmp_path / "words", words), "csv").classes == ("10", "9", "x")


def test_very_long_sequences_in_tables(tmp_path, load):
    rows = dict.fromkeys(ROWS, f"sequence,label\n{'ACGT' * 100000},0\nA,1\n")
    assert load(write_tables(tmp_path / "mine", rows), "csv").longest == 400_000


BAD_FOLDERS = {
    "a class in one split only": ({"train/c/1.txt": "A"}, (), r"class 'c' has no sequences in the test split"),
    "an empty file": ({"train/a_class/7.txt": ""}, (), r"train/a_class/7\.txt: the sequence is empty"),
    "white space only": ({"train/a_class/7.txt": " \n"}, (), r"train/a_class/7\.txt: the sequence is empty"),
    "not DNA": ({"test/a_class/7.txt": "MKLV"}, (), r"test/a_class/7\.txt: letter 'L' .*position 3"),
    "two lines": ({"test/a_class/7.txt": "AC\nGT"}, (), r"test/a_class/7\.txt: byte 0x0A .*position 3"),
    "not UTF-8": ({"test/a_class/7.txt": b"AC\xff"}, (), r"test/a_class/7\.txt: byte 0xFF .*position 3"),
    "another file": ({"test/a_class/7.csv": "AC"}, (), r"test/a_class/7\.csv: unexpected file"),
    "an id twice": ({"test/a_class/3.txt.gz": b""}, (), r"duplicate id '3'"),
    "no test split": ({}, ("test/a_class/3.txt", "test/b_class/4.txt"), r"no test; expected the folders"),
}


@pytest.mark.parametrize(("more", "fewer", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
@pytest.mark.parametrize("container", ["folder", "archive"])
def test_errors_of_unusable_folders_name_the_file(tmp_path, load, container, more, fewer, message):
    files = {name: text for name, text in (FILES | more).items() if name not in fewer}
    path = (
        write_folder(tmp_path / "mine", files) if container == "folder" else write_archive(tmp_path / "mine.zip", files)
    )
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_is_not_a_task(tmp_path, load):
    files = {name: text for name, text in FILES.items() if "a_class" in name}
    with pytest.raises(InputError, match=r"only one class \(a_class\)"):
        load(write_folder(tmp_path / "mine", files))


def test_a_folder_within_a_class_is_refused(tmp_path, load):
    with pytest.raises(InputError, match=r"unexpected file|found a folder"):
        load(write_folder(tmp_path / "mine", FILES | {"train/a_class/deeper/1.txt": "A"}))


BAD_TABLES = {
    "no label column": ("sequence,target\nACGT,1\n", r"train\.csv, line 1: no column 'label'; .*sequence, target"),
    "no rows": ("sequence,label\n", r"train\.csv: no sequences; expected"),
    "no header": ("", r"train\.csv, line 1: no column 'sequence'; found none"),
    "a short row": ("sequence,label\nACGT,1\nACGT\n", r"train\.csv, line 3: found 1 column, expected 2"),
    "an empty sequence": ("sequence,label\nACGT,1\n,0\n", r"train\.csv, line 3: the sequence is empty"),
    "an empty label": ("sequence,label\nACGT,1\nAC,\n", r"train\.csv, line 3: the label is empty"),
    "not DNA": ("sequence,label\nACGT,1\nAC,0\nAPP,0\n", r"train\.csv, line 4: letter 'P' .*position 2"),
    "not UTF-8": (b"sequence,label\nACGT,1\nA\xe9,0\n", r"train\.csv, line 3: not UTF-8 text \(byte 0xE9\)"),
    "an open quote": (
        'sequence,label\nACGT,1\n"AC,0\nAC,1\nAC,1\n',
        r"train\.csv, line 3: not a table row",
    ),
    "an open quote that another closes": (
        'sequence,label\n\n"AC,0\nAC,"1\nG,1\n',
        r"train\.csv, line 3: not a table row",
    ),
    "two lines": ('sequence,label\nA,1\n"AC\nGT",0\nC,1\n', r"train\.csv, line 3: byte 0x0A .* at position 3"),
    "a row after two lines": (
        'sequence,label\r\n"A\r\nC",1\r\nC,1,2\r\n',
        r"train\.csv, line 4: found 3 columns, expected 2",
    ),
    "tabs": (
        "sequence\tlabel\nA\t1\n",
        r'line 1: the columns sequence, label are separated by tabs; .*format = "tsv"',
    ),
    "semicolons": ("sequence;label\nA;1\n", r"line 1: the columns sequence, label are separated by semicolons"),
    "a NUL byte": ("sequence,label\nA,1\nC\0,0\n", r"train\.csv, line 3: found a NUL byte"),
    "UTF-16": ("sequence,label\nA,1\n".encode("utf-16"), r"train\.csv: UTF-16 text: save it as UTF-8"),
    "an HTML page": ("<!DOCTYPE html>\n<html>", r"train\.csv: an HTML page"),
    "one class in train": ("sequence,label\nACGT,1\n", r"class '0' has no sequences in the train split"),
}


@pytest.mark.parametrize(("train", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_errors_of_unusable_tables_name_file_and_line(tmp_path, load, train, message):
    with pytest.raises(InputError, match=message) as caught:
        load(write_tables(tmp_path / "mine", ROWS | {"train": train}), "csv")
    assert str(tmp_path / "mine") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_of_the_validation_split_only_is_refused(tmp_path, load):
    with pytest.raises(InputError, match="class '2' has no sequences in the train split"):
        load(write_tables(tmp_path / "mine", ROWS | {"dev": "sequence,label\nA,2\n"}), "csv")


def test_two_validation_tables_are_refused(tmp_path, load):
    with pytest.raises(
        InputError, match=r"valid\.csv: a second file for the validation split, beside dev\.csv; keep one"
    ):
        load(write_tables(tmp_path / "mine", ROWS | {"dev": ROWS["test"], "valid": ROWS["test"]}), "csv")


def test_broken_archives_are_refused(tmp_path, load):
    whole = write_archive(tmp_path / "whole.zip", FILES).read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"ACGT") if b"ACGT" in whole else 60] ^= 0xFF
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "rubbish": b"rubbish",
        "empty": b"",
        "flipped": flipped,
    }.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.zip: not a whole zip archive") as caught:
            load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("member", ["../evil.txt", "/train/a_class/1.txt", "train/../../x.txt", "C:/train/a/1.txt"])
def test_unsafe_archives_are_refused_and_nothing_is_written(tmp_path, load, member):
    with zipfile.ZipFile(write_archive(tmp_path / "deep" / "mine.zip", FILES), "a") as archive:
        archive.writestr(member, "ACGT")
    with pytest.raises(InputError, match="unsafe member name"):
        load(tmp_path / "deep" / "mine.zip")
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_of_two_data_sets_is_refused(tmp_path, load):
    write_archive(tmp_path / "mine.zip", FILES, "one/")
    with zipfile.ZipFile(tmp_path / "mine.zip", "a") as archive:
        archive.writestr("two/train/a_class/1.txt", "A")
    with pytest.raises(InputError, match="several data sets"):
        load(tmp_path / "mine.zip")


def test_missing_and_unreadable_files_are_named(tmp_path, load):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^/dev/null: not a directory"):
        load(Path("/dev/null"), "csv")
    write_folder(tmp_path / "mine", FILES)
    (tmp_path / "mine" / "test" / "a_class" / "9.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"test/a_class/9\.txt: no such file or folder"):
        load(tmp_path / "mine")


def test_an_empty_class_folder_is_an_error_that_names_it(tmp_path, load):
    write_folder(tmp_path / "mine", FILES)
    (tmp_path / "mine" / "train" / "c_class").mkdir()
    with pytest.raises(InputError, match=r"train/c_class: no sequence in this class folder"):
        load(tmp_path / "mine")
    archive = write_archive(tmp_path / "mine.zip", FILES)
    with zipfile.ZipFile(archive, "a") as file:
        file.mkdir("mine/train/c_class")
    with pytest.raises(InputError, match=r"mine\.zip: mine/train/c_class: no sequence in this class folder"):
        load(archive)


def test_splits_without_sequences_are_refused(tmp_path, load):
    for split in ("train", "test"):
        (tmp_path / "mine" / split).mkdir(parents=True)
    with pytest.raises(InputError, match=r"mine: no sequences; expected at least two classes"):
        load(tmp_path / "mine")


@pytest.mark.parametrize("header", ["ACGT" * 10_000, "\x07\x01\x02" * 500, ",".join("abcdefghijkl")])
def test_errors_shorten_what_is_not_a_header(tmp_path, load, header):
    with pytest.raises(InputError, match=r"line 1: no column 'sequence'; found") as caught:
        load(write_tables(tmp_path / "mine", ROWS | {"train": header + "\n"}), "csv")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_errors_of_unknown_names_suggest_the_nearest(tmp_path):
    with pytest.raises(
        InputError, match=r"human_enhancer_cohn': no official data set; did you mean 'human_enhancers_cohn'\?"
    ):
        load_dataset("human_enhancer_cohn", None, tmp_path)
    with pytest.raises(InputError, match="'zzz': no official data set; known: demo_coding"):
        is_present("zzz", None, tmp_path)
    with pytest.raises(InputError, match="no official data set"):
        is_present("human_enhancer_cohn", None, tmp_path)


def test_sources_are_checked():
    with pytest.raises(InputError, match="must be one of genomic_benchmarks, csv, tsv, parquet, fasta"):
        DatasetSource("fastq")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="named twice"):
        DatasetSource("csv", label_column="sequence")
    assert DatasetSource("csv", Path("~/x")).path == Path.home() / "x"
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"ambiguous_fraction = .*: it must be from 0 to 1"):
            DatasetSource("csv", ambiguous_fraction=fraction)
    with pytest.raises(InputError, match='where: format = "genomic_benchmarks" has no columns'):
        DatasetSource("genomic_benchmarks", where={"task": "a"})
    with pytest.raises(InputError, match="where: 'sequence' is the sequence or id column"):
        DatasetSource("csv", where={"sequence": "A"})


def test_sources_are_values(tmp_path):
    source = DatasetSource("csv", tmp_path, where={"task": "a", "fold": "1"})
    assert source.where == (("fold", "1"), ("task", "a"))
    assert hash(source) == hash(DatasetSource("csv", tmp_path, where=source.where))
    assert pickle.loads(pickle.dumps(source)) == source == dataclasses.replace(source)


def test_a_study_file_may_name_the_rows_to_read():
    source = build(DatasetSource, {"format": "csv", "where": {"task": "enhancers"}}, "datasets.mine")
    assert source == DatasetSource("csv", where={"task": "enhancers"})
    assert json.loads(json.dumps(dataclasses.asdict(source)))["where"] == [["task", "enhancers"]]
    with pytest.raises(InputError, match=r"datasets\.mine\.where"):
        build(DatasetSource, {"format": "csv", "where": "enhancers"}, "datasets.mine")


def test_official_names_are_found_in_the_data_folder(tmp_path):
    name = "human_enhancers_cohn"
    data, cache = tmp_path / "data", tmp_path / "cache"
    assert not is_present(name, None, data)
    write_archive(data / f"{name}_v0.zip", FILES, f"{name}/")
    assert is_present(name, None, data)
    archive = load_dataset(name, None, data, cache)
    write_folder(data / name, FILES | {"train/a_class/77.txt": "A"})
    assert len(load_dataset(name, None, data, cache).train) == len(archive.train) + 1, "the folder goes first"


def test_sources_without_a_path_are_in_the_data_folder(tmp_path):
    source = DatasetSource("csv")
    assert not is_present("mine", source, tmp_path)
    write_tables(tmp_path / "mine", ROWS)
    assert is_present("mine", source, tmp_path)
    assert len(load_dataset("mine", source, tmp_path, tmp_path / "cache").train) == 3


def test_a_data_set_that_only_has_the_official_name_is_flagged(tmp_path):
    write_folder(tmp_path / "human_enhancers_cohn", FILES)
    dataset = load_dataset("human_enhancers_cohn", None, tmp_path, tmp_path / "cache")
    assert not dataset.official
    assert "not the official human_enhancers_cohn: classes a_class, b_class" in dataset.notes[0]


def test_the_documentation_names_every_format_and_every_key():
    text = (ROOT / "docs" / "data.md").read_text()
    for format in get_args(datasets.Format):
        assert f"`{format}`" in text
    table = tomllib.loads(text.split("```toml\n")[1].split("```")[0])["datasets"]["mine"]
    assert table.keys() == {field.name for field in dataclasses.fields(DatasetSource)}
    written = DatasetSource(**table)
    assert written == DatasetSource(written.format, written.path), "the values shown should be the defaults"


# --- the token cache ---


def cached_entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_the_second_load_reads_the_cache_and_maps_it(tmp_path, load, monkeypatch):
    path = write_folder(tmp_path / "mine", FILES)
    first = load(path)
    monkeypatch.setattr(datasets, "_read", lambda *_: pytest.fail("read again"))
    second = load(path)
    assert isinstance(second.train.tokens, np.memmap)
    assert (second.digest, second.classes, second.name) == (first.digest, first.classes, "mine")
    assert letters(second.train) == letters(first.train)


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_the_cache_follows_the_files(tmp_path, load, change):
    path = write_folder(tmp_path / "mine", FILES)
    before = load(path).digest
    file = path / "train" / "b_class" / "2.txt"
    if change == "edit":
        file.write_text("AACCA")
    elif change == "add":
        file.with_name("3.txt").write_text("A")
    elif change == "remove":
        file.unlink()
    else:
        file.rename(file.with_name("20.txt"))
    assert load(path).digest != before


def test_the_same_content_is_cached_once_wherever_it_came_from(tmp_path, load):
    folder = load(write_folder(tmp_path / "mine", FILES))
    elsewhere = load(write_folder(tmp_path / "copy" / "mine", FILES))
    [entry] = cached_entries(tmp_path / "cache")
    assert entry.name.startswith(folder.digest[:32])
    assert Path(folder.train.tokens.filename) == Path(elsewhere.train.tokens.filename) == entry / "train_tokens.npy"


def test_the_content_of_a_source_file_is_checked(tmp_path, load):
    path = write_folder(tmp_path / "mine", FILES)
    whole = load(path)
    [source] = (tmp_path / "cache").glob("*.source")
    for wrong in (b"", b"0" * 64, f"{whole.digest[:32]}{'f' * 32}".encode(), b"../../elsewhere", b"\xff\x00"):
        source.write_bytes(wrong)
        assert load(path).digest == whole.digest
        assert source.read_text() == whole.digest


def test_large_folders_are_fingerprinted_by_folder(tmp_path, load, monkeypatch):
    monkeypatch.setattr("hyena.data.fingerprint._STAT_LIMIT", 3)
    path = write_folder(tmp_path / "mine", FILES)
    before = load(path).digest
    assert load(path).digest == before
    assert len(cached_entries(tmp_path / "cache")) == 1
    (path / "train" / "b_class" / "3.txt").write_text("A")
    assert load(path).digest != before


def test_other_tokenizer_versions_are_not_read(tmp_path, load, monkeypatch):
    path = write_folder(tmp_path / "mine", FILES)
    load(path)
    monkeypatch.setattr("hyena.data.token_cache.TOKENIZER_VERSION", 999)
    load(path)
    assert len(cached_entries(tmp_path / "cache")) == 2


def damage_arrays(entry: Path) -> None:
    with (entry / "train_tokens.npy").open("r+b") as file:
        file.truncate(130)


def damage_description(entry: Path) -> None:
    (entry / "dataset.json").write_text('{"classes": ')


def damage_with_a_pickle(entry: Path) -> None:
    np.save(entry / "train_tokens.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def damage_offsets(entry: Path) -> None:
    np.save(entry / "test_offsets.npy", np.arange(3))


def damage_by_removal(entry: Path) -> None:
    (entry / "test_labels.npy").unlink()


@pytest.mark.parametrize(
    "damage", [damage_arrays, damage_description, damage_with_a_pickle, damage_offsets, damage_by_removal]
)
def test_a_damaged_cache_is_rebuilt(tmp_path, load, damage):
    path = write_folder(tmp_path / "mine", FILES)
    whole = load(path)
    expected = letters(whole.train)  # read before the file below it is damaged
    [entry] = cached_entries(tmp_path / "cache")
    damage(entry)
    again = load(path)
    assert letters(again.train) == expected
    assert again.digest == whole.digest
    assert cached_entries(tmp_path / "cache") == [entry]
    assert json.loads((entry / "dataset.json").read_text())["digest"] == whole.digest


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folders_can_be_read(tmp_path):
    data = write_folder(tmp_path / "data" / "mine", FILES)
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o500)
    data.chmod(0o500)
    assert len(load_dataset("mine", DatasetSource("genomic_benchmarks", data), cache_dir=cache).train) == 5


def test_without_a_cache_folder_data_sets_load_uncached(tmp_path, caplog):
    data = write_folder(tmp_path / "mine", FILES)
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    dataset = load_dataset("mine", DatasetSource("genomic_benchmarks", data), cache_dir=tmp_path / "cache")
    assert len(dataset.train) == 5
    assert "not cached" in caplog.text


def test_the_default_cache_folder_honours_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert datasets.default_cache_dir() == Path("/somewhere/hyenadna-sweep/tokens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.default_cache_dir() == Path.home() / ".cache" / "hyenadna-sweep" / "tokens"


def _load_at_once(path: Path, cache: Path, barrier, results) -> None:
    barrier.wait()
    built = []
    read = datasets._read
    datasets._read = lambda *arguments: built.append(1) or read(*arguments)
    dataset = load_dataset("mine", DatasetSource("genomic_benchmarks", path), cache_dir=cache)
    results.put((dataset.digest, letters(dataset.train), len(built)))


def test_many_processes_at_once_read_the_files_once(tmp_path):
    path = write_folder(tmp_path / "mine", FILES | {f"train/a_class/{i}.txt": "ACGT" for i in range(2_000)})
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(6), context.Queue()
    arguments = (path, tmp_path / "cache", barrier, results)
    processes = [context.Process(target=_load_at_once, args=arguments) for _ in range(6)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert len({digest for digest, _, _ in answers}) == 1
    assert all(sequences == answers[0][1] for _, sequences, _ in answers)
    assert sum(built for _, _, built in answers) == 1
    assert len(cached_entries(tmp_path / "cache")) == 1, "something temporary was left"


def test_files_that_change_while_they_are_read_are_refused(tmp_path, load, monkeypatch):
    path = write_folder(tmp_path / "mine", FILES)
    read_folder = datasets.read_folder

    def slow(folder: Path):
        examples = read_folder(folder)
        (folder / "train" / "a_class" / "late.txt").write_text("A")
        return examples

    monkeypatch.setattr(datasets, "read_folder", slow)
    with pytest.raises(InputError, match="changed while it was being read"):
        load(path)


# --- real data ---


def test_real_archives(shared_data, tmp_path):
    expected = {"human_enhancers_cohn": (5_212, 1_736, 500), "human_nontata_promoters": (6_777, 2_257, 251)}
    for name, (train, test, longest) in expected.items():
        dataset = load_dataset(name, None, shared_data / "genomic_benchmarks", tmp_path)
        assert (len(dataset.train), len(dataset.test), dataset.longest) == (train, test, longest)
        assert dataset.classes == ("negative", "positive")
        assert not dataset.official
        assert "are published" in dataset.notes[0]


def test_real_archive_and_its_unpacked_folder_are_the_same(shared_data, tmp_path):
    archive = shared_data / "genomic_benchmarks" / "human_enhancers_cohn_v0.zip"
    shutil.unpack_archive(archive, tmp_path)
    from_folder = load_dataset("human_enhancers_cohn", None, tmp_path, tmp_path / "cache")
    from_archive = load_dataset("human_enhancers_cohn", None, archive.parent, tmp_path / "cache")
    assert from_folder.digest == from_archive.digest


def test_real_tables_keep_their_official_splits(shared_data, tmp_path):
    source = DatasetSource("csv", shared_data / "gue" / "mouse_3")
    dataset = load_dataset("mouse_3", source, cache_dir=tmp_path)
    assert [len(split) for split in dataset.splits.values()] == [1_904, 239, 239]
    rows = (shared_data / "gue" / "mouse_3" / "test.csv").read_text().splitlines()[1:]
    assert letters(dataset.test) == [row.split(",")[0] for row in rows]
    assert dataset.test.labels.tolist() == [int(row.split(",")[1]) for row in rows]


def test_reading_needs_neither_the_download_package_nor_torch(tmp_path):
    write_folder(tmp_path / "mine", FILES)
    code = (
        "import sys; left_out = ('genomic_benchmarks', 'pandas', 'pydantic', 'ray', 'torch');"
        "sys.modules.update(dict.fromkeys(left_out));"
        "from pathlib import Path; from hyena.data.datasets import DatasetSource, load_dataset;"
        f"load_dataset('mine', DatasetSource('genomic_benchmarks', Path({str(tmp_path / 'mine')!r})),"
        f" cache_dir=Path({str(tmp_path / 'cache')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
