"""`python -m hyena.leakage DATASET`: how much of a test set stands in the training set. Next: `audit.py`."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from hyena.data.datasets import OFFICIAL, DatasetSource, Format, load_dataset
from hyena.data.splits import format_of
from hyena.errors import InputError
from hyena.leakage.audit import audit, audit_intervals, describe, sequence_table
from hyena.system import terminal


def guess_source(path: Path) -> DatasetSource:
    """The format of data named by their place: by the names of the splits in a folder, or that of the file.

    Raises InputError where they are of several formats.
    """
    format = format_of(path)
    if format is None and path.is_file():
        raise InputError(
            f"{path}: its name says no format; known are .csv, .tsv, .parquet, .fa (and .fasta, .fna), each perhaps "
            "compressed, and .zip"
        )
    return DatasetSource(cast(Format, format or "genomic_benchmarks"), path)


def _source_of(dataset: str) -> DatasetSource | None:
    """The data set of one's own that a command line names; None for an official name."""
    path = Path(dataset)
    if path.exists():
        return guess_source(path)
    if dataset in OFFICIAL:
        return None
    if len(path.parts) > 1 or path.suffix:
        raise InputError(f"{dataset}: no such file or folder")
    near = difflib.get_close_matches(dataset, OFFICIAL, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"those are {', '.join(OFFICIAL)}"
    raise InputError(f"{dataset}: no such file or folder, and no official data set; {hint}")


def main(arguments: list[str] | None = None) -> int:
    """Audit a data set as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hyena.leakage", description="How much of a test set is in train.")
    parser.add_argument("dataset", help="an official name, or a folder, archive or table of your own")
    parser.add_argument("--data", type=Path, help="where official data sets lie (default: genomic_benchmarks' cache)")
    parser.add_argument("--coordinates", type=Path, help="folder `datasets` of the genomic_benchmarks repository")
    parser.add_argument("--intervals-only", action="store_true", help="with --coordinates: read no sequences")
    parser.add_argument("--kmer", type=int, default=60, help="letters in a row that count as shared (32 … 64)")
    parser.add_argument("-o", "--output", type=Path, help="write the counts to this Parquet file")
    parser.add_argument("--sequences", type=Path, help="write which sequences have partners to this Parquet file")
    return terminal.command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    tables = []
    path = Path(options.dataset)
    name = path.name if path.exists() else options.dataset
    if options.intervals_only and not options.coordinates:
        raise InputError("--intervals-only needs --coordinates DIR")
    if not options.intervals_only:
        dataset = load_dataset(name, _source_of(options.dataset), options.data)
        found = audit(dataset, options.kmer)
        tables.append(found.table)
        print(f"{name}: " + ", ".join(f"{len(split):,} {part}" for part, split in dataset.splits.items()))
        for note in dataset.notes:
            print(f"note: {note}")
        if options.sequences:
            _write(sequence_table(dataset, found.flags), options.sequences)
    if options.coordinates:
        tables.append(audit_intervals(name, options.coordinates))
    print(describe(pa.concat_tables(tables)))
    if options.output:
        _write(pa.concat_tables(tables), options.output)
    return terminal.DONE


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


if __name__ == "__main__":
    sys.exit(main())
