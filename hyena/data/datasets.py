"""Data sets by name: where their files are, which reader reads them, and the cache of their tokens.

Next: `sequences.py` for what is returned, `folder_datasets.py`, `table_datasets.py` and `fasta_datasets.py` for the
readers, `catalogue.py` for the official names and counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from hyena.data.catalogue import OFFICIAL
from hyena.data.download import download
from hyena.data.examples import Examples, in_order
from hyena.data.fasta_datasets import read_fasta
from hyena.data.fingerprint import files_fingerprint, unreadable
from hyena.data.folder_datasets import read_archive, read_folder
from hyena.data.labelled_rows import Columns
from hyena.data.labels import settle_labels
from hyena.data.sequences import AMBIGUOUS_FRACTION, Dataset, assemble, pack
from hyena.data.split_files import Format, format_of, holds_splits, require_train_and_test
from hyena.data.table_datasets import read_tables
from hyena.data.token_cache import cached, default_cache_dir
from hyena.errors import InputError, nearest
from hyena.ranges import Fraction, require_ranges
from hyena.system.paths import expanded, home


@dataclass(frozen=True)
class DatasetSource:
    """The location and format of a user's own data set, as a study file's `[datasets.NAME]` table gives them.

    Attributes:
        format: "genomic_benchmarks": a folder with `{train,test}/CLASS/ID.txt`, or a zip archive of one;
            "csv", "tsv", "parquet": a folder with the tables train, test and, for the validation split, dev (the layout
            of GUE), or one table with a column that names the split; "fasta": the same with FASTA files and the label
            in the header (`>ID label=CLASS`), or a folder per split with a file per class.
        path: the folder, archive or file. None means `NAME` (or `NAME_v0.zip`) in the data folder.
        sequence_column, label_column, split_column, id_column: names in the header of tables.
        where: the rows to read, by the values of columns: {"task": "promoter_all"} (FASTA: of KEY=VALUE words in
            headers). Stored as sorted (column, value) pairs.
        na_is_a_class: whether labels that mean "missing" (NA, NaN, None, null …) are classes.
        ambiguous_fraction: largest share of a sequence, 0 … 1, that may be letters other than A, C, G, T and N. A
            sequence with more is taken for a protein or RNA, which is an error.
    """

    format: Format
    path: Path | None = None
    sequence_column: str = "sequence"
    label_column: str = "label"
    split_column: str = "split"
    id_column: str = "id"
    where: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    na_is_a_class: bool = False
    ambiguous_fraction: Fraction = AMBIGUOUS_FRACTION

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.format not in get_args(Format):
            raise InputError(f"data set format {self.format!r}: must be one of {', '.join(get_args(Format))}")
        if self.path is not None:
            object.__setattr__(self, "path", expanded(self.path))
        names = [self.sequence_column, self.label_column, self.split_column, self.id_column]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"column {name!r}: named twice; sequence, label, split and id must be different columns"
                )
        pairs = sorted(self.where.items() if isinstance(self.where, Mapping) else self.where)
        object.__setattr__(self, "where", tuple(pairs))
        if pairs and self.format == "genomic_benchmarks":
            raise InputError('where: format = "genomic_benchmarks" has no columns')
        for name in (self.sequence_column, self.id_column):
            if name in dict(pairs):
                raise InputError(f"where: {name!r} is the sequence or id column; expected another column")

    @property
    def columns(self) -> Columns:
        names = (self.sequence_column, self.label_column, self.split_column, self.id_column)
        assert isinstance(self.where, tuple)
        return Columns(*names, self.where, self.na_is_a_class)


def source_at(path: Path) -> DatasetSource:
    """The source of the data at a path: its format follows from the names of the files there.

    Raises:
        InputError: splits in several formats, or a file whose name has no known ending.
    """
    format = format_of(path)
    if format is None and path.is_file():
        raise InputError(
            f"{path}: unknown format; expected a file that ends in .csv, .tsv, .parquet, .fa (or .fasta, .fna), each "
            "perhaps compressed, or in .zip"
        )
    return DatasetSource(format or "genomic_benchmarks", path)


def default_data_dir() -> Path:
    """The folder in which the genomic_benchmarks package keeps its data sets."""
    return home() / ".genomic_benchmarks"


def load_dataset(
    name: str, source: DatasetSource | None = None, data_dir: Path | None = None, cache_dir: Path | None = None
) -> Dataset:
    """Read a data set, from the token cache if it has been read before.

    Args:
        name: an official name (`OFFICIAL`) if `source` is None, else any name.
        source: None for an official data set, which is the folder `NAME` or the archive `NAME_v0.zip` in `data_dir`,
            and is downloaded there if neither exists.
        data_dir: default: the cache folder of the genomic_benchmarks package. It may be read-only. In a folder named
            here, an official name may hold other data (a part, another split), which is flagged: see
            `Dataset.official`. In the default folder, which holds downloads only, a difference from the published
            counts means a damaged download and is an error.
        cache_dir: folder of cached tokens; default: `default_cache_dir()`.

    Raises:
        InputError: an unknown name, or data that cannot be used.
    """
    path = _locate(name, source, data_dir)
    if path is None:
        path = download(name, data_dir or default_data_dir(), lambda folder: _check_official(name, folder))
    reader = source or DatasetSource("genomic_benchmarks")
    fingerprint = f"{replace(reader, path=None)}\n{files_fingerprint(path)}"
    dataset = cached(cache_dir or default_cache_dir(), fingerprint, lambda: _read(name, path, reader))
    if source is None and data_dir is None and (difference := OFFICIAL[name].difference(dataset)):
        raise InputError(
            f"{path}: not the whole official data set ({difference}); remove it to download it again, "
            f"or declare it as your own data in a [datasets.{name}] table"
        )
    return _named(dataset, name)


def _check_official(name: str, folder: Path) -> None:
    """Raise InputError for a folder whose classes, counts or lengths differ from those published."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    dataset = _read(name, folder, DatasetSource("genomic_benchmarks"))
    if difference := OFFICIAL[name].difference(dataset):
        raise InputError(f"{folder}: {difference}")


def _named(dataset: Dataset, name: str) -> Dataset:
    """The data set under its name: flagged as official, or with a note on how it differs from the official one."""
    if name not in OFFICIAL:
        return replace(dataset, name=name)
    difference = OFFICIAL[name].difference(dataset)
    if not difference:
        return replace(dataset, name=name, official=True)
    note = f"not the official {name}: {difference}; its results compare with nothing published"
    return replace(dataset, name=name, notes=(note, *dataset.notes))


def is_present(name: str, source: DatasetSource | None = None, data_dir: Path | None = None) -> bool:
    """Whether `load_dataset` needs no download."""
    path = _locate(name, source, data_dir)
    return path is not None and path.exists()


def _locate(name: str, source: DatasetSource | None, data_dir: Path | None) -> Path | None:
    """The location of the data; None if they are to be downloaded."""
    if source is None and name not in OFFICIAL:
        raise InputError(
            f"data set {name!r}: no official data set; {nearest(name, list(OFFICIAL))} "
            "(your own data need a [datasets.NAME] table in the study file)"
        )
    if source is not None and source.path is not None:
        return _inside(source.path, name)
    folder = data_dir or default_data_dir()
    for candidate in (folder / name, folder / f"{name}_v0.zip"):
        if candidate.exists():
            return candidate
    return None if source is None else folder / name


def _inside(path: Path, name: str) -> Path:
    """`path` itself, or `path/NAME` if the splits are there and none are in `path`."""
    return path / name if not holds_splits(path) and holds_splits(path / name) else path


def _read(name: str, path: Path, source: DatasetSource) -> Dataset:
    before = files_fingerprint(path)
    try:
        examples = _read_examples(path, source)
    except OSError as error:
        raise unreadable(error, path) from None
    require_train_and_test(examples, path, "splits")
    classes = settle_labels(examples)
    number = {label: i for i, label in enumerate(classes)}
    splits = {
        split: pack(part.sequences, [number[label] for label in part.labels], part.place, source.ambiguous_fraction)
        for split, part in in_order(examples)
    }
    dataset = assemble(name, classes, splits, place=str(path))
    notes = dict.fromkeys(note for part in examples.values() for note in part.notes)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    if files_fingerprint(path) != before:
        raise InputError(f"{path}: changed while it was being read; try again when it is complete")
    return dataset


def _read_examples(path: Path, source: DatasetSource) -> dict[str, Examples]:
    if source.format == "genomic_benchmarks":
        return read_folder(path) if path.is_dir() else read_archive(path)
    if source.format == "fasta":
        return read_fasta(path, source.columns)
    return read_tables(path, source.format, source.columns)
