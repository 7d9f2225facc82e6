"""Everything in a data folder is read, or is an error, or is known not to be data: no data are ignored silently."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from hyena.data.datasets import DatasetSource, Format, load_dataset, source_at
from hyena.data.sequences import Dataset
from hyena.data.split_files import SPLIT_OF_WORD, Name, find_splits
from hyena.errors import InputError

ENDING = {"csv": "csv", "tsv": "tsv", "fasta": "fa"}


def content(format: str, sequences: tuple[str, ...] = ("AC", "GT")) -> str:
    """A file of two classes."""
    if format == "fasta":
        return "".join(f">r{i} label={'ab'[i % 2]}\n{letters}\n" for i, letters in enumerate(sequences))
    separator = "\t" if format == "tsv" else ","
    rows = [("sequence", "label"), *((letters, "ab"[i % 2]) for i, letters in enumerate(sequences))]
    return "".join(separator.join(row) + "\n" for row in rows)


def fill(folder: Path, format: str, *names: str) -> Path:
    """A folder of good files by these names; one that ends in "/" is a folder of a split, of two classes."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(content(format))
        elif format == "genomic_benchmarks":
            for label in "ab":
                (path / label).mkdir()
                (path / label / "1.txt").write_text("ACGT")
        else:
            for label in "ab":
                (path / f"{label}.fa").write_text(">r1\nACGT\n")
    return folder


@pytest.fixture
def load(tmp_path):
    def load(path: Path, format: Format) -> Dataset:
        return load_dataset("mine", DatasetSource(format, path), cache_dir=tmp_path / "cache")

    return load


@pytest.mark.parametrize("word", [*SPLIT_OF_WORD, "VAL", "Train", "TEST", "Dev"])
def test_every_word_for_a_split_is_read_in_every_format(tmp_path, load, word):
    split = SPLIT_OF_WORD[word.lower()]
    others = [name for name in ("train", "test") if name != split]
    for format, ending in ENDING.items():
        folder = fill(tmp_path / format, format, *(f"{name}.{ending}" for name in (word, *others)))
        assert split in load(folder, format).splits
    for format in ("fasta", "genomic_benchmarks"):
        folder = fill(tmp_path / f"{format} in folders", format, *(f"{name}/" for name in (word, *others)))
        assert len(load(folder, format).splits[split]) == 2
        archive = shutil.make_archive(str(tmp_path / format), "zip", folder.parent, folder.name)
    assert split in load(Path(archive), "genomic_benchmarks").splits
    rows = [f"ACGT,{label},{name}\n" for name in (word, *others) for label in "ab"]
    (tmp_path / "all.csv").write_text("sequence,label,split\n" + "".join(rows))
    assert split in load(tmp_path / "all.csv", "csv").splits


LEFT_OUT = (
    *("dev.tsv", "val2.csv", "train_part2.csv", "test_old.csv", "train (1).csv", "train.csv.bak", "train.npz"),
    *(
        "val.json",
        "Test.txt",
        "train",
        "more.csv",
        "all.parquet",
        "human.fa",
        "devel.csv",
        "eval.csv.gz.old",
        "dev.csv~",
    ),
)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_data_that_would_be_ignored_is_an_error_that_names_it(tmp_path, load, name):
    folder = fill(tmp_path / "mine", "csv", "train.csv", "test.csv", name)
    with pytest.raises(InputError) as caught:
        load(folder, "csv")
    expected = f"{folder / name}: looks like data and is not read; read are test.csv, train.csv. Rename or convert it"
    assert str(caught.value).startswith(expected)


BESIDE = (
    *(
        "README.md",
        "LICENSE",
        "dataset_infos.json",
        ".gitattributes",
        ".git/train.csv",
        "__MACOSX/train.csv",
        "._train.csv",
    ),
    *(
        "train.csv.md5",
        "test.csv.sha256",
        "SHA256SUMS",
        "train.py",
        "test.ipynb",
        "eval.log",
        "notes.txt",
        "genome.2bit",
    ),
    *(
        "scripts/train.csv",
        "testimonials.md",
        "_SUCCESS",
        "train.fa.fai",
        "train.md",
        "metadata.yaml",
        "trainer_state.json",
    ),
)


def test_files_that_are_not_data_are_ignored(tmp_path, load):
    for format, names in {
        "csv": ("train.csv", "test.csv"),
        "fasta": ("train.fa", "test.fa"),
        "genomic_benchmarks": ("train/", "test/"),
    }.items():
        clean = load(fill(tmp_path / f"clean {format}", format, *names), format)
        folder = fill(tmp_path / format, format, *names, *BESIDE)
        assert load(folder, format).digest == clean.digest
        assert source_at(folder).format == format


BESIDE_A_FILE = [
    *("train.csv~", "train.csv.~1~", "~$train.csv", ".train.csv.swp", "train.csv.swp", "train.csv.dvc"),
    *("train.csv.license", "train.csv.lock", "train.csv:Zone.Identifier", "test.csv.torrent"),
]


@pytest.mark.parametrize("name", BESIDE_A_FILE)
def test_companions_of_a_file_are_ignored(tmp_path, load, name):
    fill(tmp_path, "csv", "train.csv", "test.csv", name)
    assert len(load(tmp_path, "csv").train) == 2


def test_the_pointer_to_a_split_that_was_not_downloaded_is_an_error(tmp_path, load):
    fill(tmp_path, "csv", "train.csv", "test.csv", "dev.csv.dvc")
    with pytest.raises(InputError, match=r"dev\.csv\.dvc: looks like data and is not read"):
        load(tmp_path, "csv")


def test_read_mes_beside_class_folders_are_ignored(tmp_path, load):
    fill(tmp_path, "genomic_benchmarks", "train/", "test/")
    (tmp_path / "train" / "metadata.yaml").write_text("classes: 2")
    assert len(load(tmp_path, "genomic_benchmarks").train) == 2


def test_broken_links_matter_only_if_they_name_a_split(tmp_path, load):
    fill(tmp_path, "csv", "train.csv", "test.csv", "notes/a.txt")
    for name in ("README.md", "notes/b.txt"):
        (tmp_path / name).symlink_to(".git/annex/objects/x")
    assert len(load(tmp_path, "csv").train) == 2
    (tmp_path / "dev.csv").symlink_to("../blobs/x")
    with pytest.raises(InputError) as caught:
        load(tmp_path, "csv")
    assert str(caught.value) == f"{tmp_path}/dev.csv: a broken link to ../blobs/x; expected a file"


def test_a_named_pipe_is_an_error_and_does_not_block(tmp_path, load):
    fill(tmp_path, "csv", "test.csv")
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(InputError) as caught:
        load(tmp_path, "csv")
    assert str(caught.value) == f"{tmp_path}/train.csv: a named pipe or a device; expected a file"
    fill(tmp_path / "official", "genomic_benchmarks", "train/", "test/")
    os.mkfifo(tmp_path / "official/train/a/2.txt")
    with pytest.raises(InputError, match=r"train/a/2\.txt: the sequence is empty"):
        load(tmp_path / "official", "genomic_benchmarks")


@pytest.mark.parametrize("name", ["val2/a/1.txt", "train.csv", "Test_old/a/1.txt", "more.fa"])
def test_data_in_an_archive_that_would_be_ignored_is_an_error(tmp_path, load, name):
    folder = fill(tmp_path / "mine", "genomic_benchmarks", "train/", "test/")
    archive = Path(shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path, "mine"))
    for root in ("mine/", ""):
        shutil.copy(archive, tmp_path / "other.zip")
        with zipfile.ZipFile(tmp_path / "other.zip", "a") as file:
            file.writestr(f"{root}{name}", "A")
        with pytest.raises(InputError) as caught:
            load(tmp_path / "other.zip", "genomic_benchmarks")
        first = f"{root}{name.split('/')[0]}"
        assert str(caught.value).startswith(
            f"{tmp_path / 'other.zip'}: {first}: looks like data and is not read; read are"
        )
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("A")
    with pytest.raises(
        InputError, match=rf"mine/{name.split('/')[0]}: looks like data and is not read; read are test, train"
    ):
        load(folder, "genomic_benchmarks")


def test_an_archive_may_have_the_name_of_a_split(tmp_path, load):
    fill(tmp_path / "Dev", "genomic_benchmarks", "train/", "test/")
    archive = shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path, "Dev")
    assert set(load(Path(archive), "genomic_benchmarks").splits) == {"train", "test"}


@pytest.mark.parametrize(
    ("format", "names", "message"),
    [
        ("csv", ("dev.csv", "val.csv"), "val.csv: a second file for the validation split, beside dev.csv; keep one"),
        ("csv", ("train.csv.gz",), "train.csv.gz: a second file for the train split, beside train.csv; keep one"),
        ("csv", ("Train.CSV",), "train.csv: a second file for the train split, beside Train.CSV; keep one"),
        ("csv", ("train-00000-of-00001.csv",), "train.csv: a second file for the train split, beside train-00000"),
        ("fasta", ("val/", "dev.fa"), "val: a second folder for the validation split, beside dev.fa; keep one"),
        ("genomic_benchmarks", ("val/", "VALID/"), "val: a second folder for the validation split, beside VALID"),
    ],
)
def test_a_split_under_two_names_is_an_error(tmp_path, load, format, names, message):
    own = (
        ("train/", "test/") if format == "genomic_benchmarks" else (f"train.{ENDING[format]}", f"test.{ENDING[format]}")
    )
    folder = fill(tmp_path / "mine", format, *own, *names)
    with pytest.raises(InputError) as caught:
        load(folder, format)
    assert str(caught.value).startswith(f"{folder}/{message}")


def test_the_error_of_a_missing_split_names_the_entries_found(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "train.csv", "Test_old.csv")
    with pytest.raises(InputError) as caught:
        load(folder, "csv")
    assert str(caught.value) == (
        f"{folder}: no test.csv; expected the files train.csv and test.csv (there is Test_old.csv)"
    )


# --- shards and parts ---


@pytest.mark.parametrize("under", ["", "data/"])
@pytest.mark.parametrize("format", ENDING)
def test_shards_are_read_in_their_order(tmp_path, load, format, under):
    whole, folder = tmp_path / "whole", tmp_path / "shards" / under
    whole.mkdir()
    folder.mkdir(parents=True)
    letters = [f"{'ACGT'[i % 4] * (i + 1)}" for i in range(24)]
    (whole / f"train.{ENDING[format]}").write_text(content(format, tuple(letters)).replace(">r", ">q"))
    (whole / f"test.{ENDING[format]}").write_text(content(format))
    (folder / f"test-00000-of-00001.{ENDING[format]}").write_text(content(format))
    for number in range(12):
        text = content(format, tuple(letters[2 * number : 2 * number + 2])).replace(">r", f">{number}")
        (folder / f"train-{number:05}-of-00012.{ENDING[format]}").write_text(text)
    assert load(tmp_path / "shards", format).digest == load(whole, format).digest
    assert source_at(tmp_path / "shards").format == format


def test_faults_in_shards_name_the_shard(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "test.csv", "train-00000-of-00002.csv", "train-00001-of-00002.csv")
    (folder / "train-00001-of-00002.csv").write_text("sequence,label\nAC,a\nAXC,b\n")
    with pytest.raises(InputError, match=r"train-00001-of-00002\.csv, line 3: letter 'X'"):
        load(folder, "csv")
    for i in range(2):
        (folder / f"train-0000{i}-of-00002.csv").write_text("sequence,label,id\nAC,a,1\nAC,b,2\n")
    with pytest.raises(
        InputError, match=r"train-00001-of-00002\.csv, line 2: duplicate id '1' \(also .*00000-of-00002\.csv, line 2\)"
    ):
        load(folder, "csv")


def test_shards_need_not_have_the_same_columns(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "test.csv", "train-00000-of-00002.csv")
    for more in ("id,label,sequence\n1,a,A\n2,b,C\n", "label,task,sequence,id\na,x,GG,3\n"):
        (folder / "train-00001-of-00002.csv").write_text(more)
        assert len(load(folder, "csv").train) == 2 + more.count("\n") - 1
        (folder / "train-00000-of-00002.csv").write_text(content("csv"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-00000-of-00003.csv", "train-00002-of-00003.csv"), "shards: number 1 of the train split is missing"),
        (("train-00001-of-00002.csv",), "shards: number 0 of the train split is missing"),
        (("train-00000-of-00002.csv", "train-00001-of-00003.csv"), "shards: number 2 of the train split is missing"),
        (
            ("train-00000-of-00001.csv", "train-00001-of-00001.csv"),
            "shards: the names of the train split state different counts",
        ),
        (("train-00000-of-00001.csv", "train-00000-of-00001-ab12.csv"), "duplicate shard 00000 of the train split"),
    ],
)
def test_a_missing_shard_is_named(tmp_path, load, names, message):
    folder = fill(tmp_path / "mine", "csv", "test.csv", *names)
    with pytest.raises(InputError) as caught:
        load(folder, "csv")
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


def test_folders_of_parts_are_read(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", *(f"train.csv/part-{i}.csv" for i in (0, 2, 10)), "test/0000.csv")
    for i, letters in ((0, "A"), (2, "CC"), (10, "GGG")):
        (folder / "train.csv" / f"part-{i}.csv").write_text(content("csv", (letters, "T")))
    for name in ("_SUCCESS", "_metadata", ".part-0.csv.crc", "part-0.csv.crc"):
        (folder / "train.csv" / name).write_text("")
    dataset = load(folder, "csv")
    assert dataset.train.lengths.tolist() == [1, 1, 2, 1, 3, 1]
    assert source_at(folder).format == "csv"
    (folder / "train.csv" / "part-11.tsv").write_text("")
    with pytest.raises(InputError, match=r"train\.csv/part-11\.tsv: unexpected in a folder of csv files"):
        load(folder, "csv")


def test_an_empty_folder_of_parts_is_named(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "train.csv", "test.csv/_SUCCESS")
    with pytest.raises(InputError, match=r"mine/test\.csv: no parts in this folder; expected files that end in \.csv"):
        load(folder, "csv")


def test_one_table_in_parts_holds_all_splits(tmp_path, load):
    folder = tmp_path / "all.csv"
    folder.mkdir()
    for i, split in enumerate(("train", "test")):
        (folder / f"part-{i}.csv").write_text(f"sequence,label,split\nA,a,{split}\nC,b,{split}\n")
    assert {name: len(split) for name, split in load(folder, "csv").splits.items()} == {"train": 2, "test": 2}
    assert source_at(folder).format == "csv"


def test_splits_in_two_places_are_refused(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "train.csv", "test.csv", "data/test.csv")
    with pytest.raises(InputError, match=r"mine: splits in two places, test\.csv and data/test\.csv; keep one"):
        load(folder, "csv")


# --- files of classes ---


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/c.csv", "unexpected file; expected CLASS.fa"),
        ("train/README", "unexpected file; expected CLASS.fa"),
        ("train/c.fa/x.fa", "unexpected file; expected CLASS.fa"),
        ("train/a.fasta.gz", "a second file for class 'a' of train, beside a.fa"),
    ],
)
def test_unexpected_files_beside_class_files_are_errors(tmp_path, load, name, message):
    folder = fill(tmp_path / "mine", "fasta", "train/", "test/", name)
    with pytest.raises(InputError) as caught:
        load(folder, "fasta")
    place = folder / "train" / name.split("/")[1]
    assert str(caught.value).startswith(f"{place}: {message}")


def test_ids_may_be_the_same_in_files_of_two_classes(tmp_path, load):
    folder = fill(tmp_path / "mine", "fasta", "train/", "test/", "train/README.md")
    assert len(load(folder, "fasta").train) == 2
    (folder / "train" / "a.fa").write_text(">r1\nA\n>r1\nC\n")
    with pytest.raises(InputError, match=r"train/a\.fa, line 3: duplicate id 'r1' \(also line 1\)"):
        load(folder, "fasta")


def test_sequences_of_the_official_layout_may_be_compressed_and_marked(tmp_path, load):
    folder = fill(tmp_path / "mine", "genomic_benchmarks", "train/", "test/")
    plain = load(folder, "genomic_benchmarks").digest
    (folder / "train" / "a" / "1.txt").rename(folder / "train" / "a" / "1.TXT")
    (folder / "train" / "b" / "1.txt").write_bytes(b"\xef\xbb\xbfACGT\r\n")
    assert load(folder, "genomic_benchmarks").digest == plain
    (folder / "train" / "b" / "1.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(InputError, match=r"train/b/1\.txt: a git-lfs pointer: run `git lfs pull`"):
        load(folder, "genomic_benchmarks")


# --- names ---


def test_a_read_me_of_any_bytes_is_ignored(tmp_path, load):
    folder = fill(tmp_path / "mine", "csv", "train.csv", "test.csv")
    clean = load(folder, "csv").digest
    (folder / "lisez-moi-\udce9.txt").write_text("x")
    (folder / "a\nb").write_text("x")
    assert load(folder, "csv").digest == clean


@pytest.mark.parametrize(
    ("name", "shown", "what"),
    [
        ("\udce9", r"\xe9", "bytes that are not UTF-8"),
        ("a\nb", "a b", "a control character"),
        ("\x1b[31m", r"\x1b[31m", "a control character"),
    ],
)
def test_class_names_must_be_printable(tmp_path, load, name, shown, what):
    folder = fill(tmp_path / "mine", "genomic_benchmarks", "train/", "test/")
    for split in ("train", "test"):
        (folder / split / "b").rename(folder / split / name)
    with pytest.raises(InputError) as caught:
        load(folder, "genomic_benchmarks")
    message = str(caught.value)
    assert message.startswith(f"{folder}/train/{shown}/1.txt: the class name")
    assert what in message
    assert message.isprintable()
    assert message.encode()


def test_ids_of_many_digits_are_in_numeric_order(tmp_path, load):
    folder = fill(tmp_path / "mine", "genomic_benchmarks", "train/", "test/")
    shutil.rmtree(folder / "train" / "a")
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for split in ("train", "test"):
            for i, id in enumerate(("2" + "0" * 5000, "x" + "1" * 4999, "7", "1" + "0" * 5000, "0" * 5000 + "8")):
                file.writestr(f"{split}/a/{id}.txt", "ACGT"[: i + 1] + "A" * (i > 3))
            file.writestr(f"{split}/b/1.txt", "A")
    dataset = load(archive, "genomic_benchmarks")
    assert dataset.train.lengths.tolist() == [3, 5, 4, 1, 2, 1]


def test_names_say_stem_and_ending() -> None:
    assert Name.of("Train.CSV.GZ") == ("train", "csv")
    assert Name.of("a.b.fa.bgz") == ("a.b", "fa")
    assert Name.of("README") == ("readme", "")
    assert Name.of("train-00000-of-00001-0a1b.parquet").split == "train"
    assert Name.of("training.tsv").split == "train"
    assert Name.of("trainer.tsv").split is None


def test_splits_are_found_whatever_the_order_of_the_folder(tmp_path):
    folder = fill(tmp_path, "csv", "test.csv", "dev.csv", "train.csv")
    assert find_splits(folder, "csv") == {
        "validation": [folder / "dev.csv"],
        "test": [folder / "test.csv"],
        "train": [folder / "train.csv"],
    }


# --- the format by the names ---


def test_splits_in_two_formats_are_an_error(tmp_path):
    fill(tmp_path / "mine", "csv", "train.csv", "test.csv", "dev.tsv")
    with pytest.raises(InputError) as caught:
        source_at(tmp_path / "mine")
    assert str(caught.value) == (
        f"{tmp_path / 'mine'}: splits in 2 formats, tsv (dev.tsv) and csv (test.csv, train.csv); keep one of them"
    )


@pytest.mark.parametrize(
    ("names", "format"),
    [
        (("train.CSV.BGZ", "test.CSV.BGZ"), "csv"),
        (("TRAIN.FA", "TEST.FA"), "fasta"),
        (("train/x.FA.GZ", "test/x.FA.GZ"), "fasta"),
        (("Train/a/1.txt", "Test/a/1.txt"), "genomic_benchmarks"),
        (("train/0.parquet", "test/0.parquet"), "parquet"),
        (("data/train-00000-of-00001.parquet",), "parquet"),
        (("train.tsv", "notes.csv"), "tsv"),
    ],
)
def test_the_format_is_that_of_the_splits(tmp_path, names, format):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert source_at(tmp_path).format == format


def test_the_format_of_a_file_follows_from_its_name(tmp_path):
    for name, format in (("a.CSV", "csv"), ("a.fa.bgz", "fasta"), ("a.ZIP", "genomic_benchmarks"), ("a.pq", "parquet")):
        (tmp_path / name).write_text("")
        assert source_at(tmp_path / name).format == format
    (tmp_path / "a.docx").write_text("")
    with pytest.raises(InputError, match=r"a\.docx: unknown format; expected a file that ends in \.csv"):
        source_at(tmp_path / "a.docx")


def test_splits_below_the_name_are_found_where_the_folder_has_none(tmp_path, load):
    fill(tmp_path / "mine", "csv", "train.csv", "test.csv")
    assert len(load(tmp_path, "csv").train) == 2
    fill(tmp_path, "csv", "train.csv")
    with pytest.raises(InputError, match=r"no test\.csv; expected the files"):
        load(tmp_path, "csv")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.csv", "test.csv"], "csv"),
        (["train.tsv.gz"], "tsv"),
        (["train.parquet"], "parquet"),
        (["train.fa"], "fasta"),
        (["train/a.fasta.gz"], "fasta"),
        (["train/a/1.txt"], "genomic_benchmarks"),
    ],
)
def test_the_format_of_a_folder_follows_from_its_files(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert source_at(tmp_path).format == expected
