"""`python -m hyena.leakage DATASET`: how much of a test set overlaps its training set. Next: `audit.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # in one line, before the imports below raise
    from hyena.system.extras import exit_without_extra

    exit_without_extra("train")

import pyarrow as pa
import pyarrow.parquet as pq

from hyena.data.catalogue import OFFICIAL
from hyena.data.datasets import DatasetSource, load_dataset, source_at
from hyena.errors import InputError, nearest
from hyena.leakage.audit import audit, audit_intervals, sequence_table
from hyena.leakage.counts import PartnerCount, counts_table
from hyena.leakage.summary import summary
from hyena.system import terminal


def main(arguments: list[str] | None = None) -> int:
    """Audit the data set that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hyena.leakage", description="Count the test sequences that overlap the training set."
    )
    parser.add_argument("dataset", help="an official name, or a folder, archive or table of your own")
    parser.add_argument("--data", type=Path, help="folder of official data sets (default: genomic_benchmarks' cache)")
    parser.add_argument("--coordinates", type=Path, help="folder `datasets` of the genomic_benchmarks repository")
    parser.add_argument("--intervals-only", action="store_true", help="with --coordinates: read no sequences")
    parser.add_argument("--kmer", type=int, default=60, help="consecutive letters that count as shared (32 … 64)")
    parser.add_argument("-o", "--output", type=Path, help="write the counts to this Parquet file")
    parser.add_argument("--sequences", type=Path, help="write which sequences have partners to this Parquet file")
    return terminal.command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    counts: list[PartnerCount] = []
    path = Path(options.dataset)
    name = path.name if path.exists() else options.dataset
    if options.intervals_only and not options.coordinates:
        raise InputError("--intervals-only needs --coordinates DIR")
    if not options.intervals_only:
        dataset = load_dataset(name, _source_of(options.dataset), options.data)
        found = audit(dataset, options.kmer)
        counts += found.counts
        print(f"{name}: " + ", ".join(f"{len(split):,} {part}" for part, split in dataset.splits.items()))
        for note in dataset.notes:
            print(f"note: {note}")
        if options.sequences:
            _write(sequence_table(dataset, found.flags), options.sequences)
    if options.coordinates:
        counts += audit_intervals(name, options.coordinates)
    print(summary(counts))
    if options.output:
        _write(counts_table(counts), options.output)
    return terminal.DONE


def _source_of(dataset: str) -> DatasetSource | None:
    """The user's own data set that a command line names; None for an official name."""
    path = Path(dataset)
    if path.exists():
        return source_at(path)
    if dataset in OFFICIAL:
        return None
    if len(path.parts) > 1 or path.suffix:
        raise InputError(f"{dataset}: no such file or folder")
    raise InputError(f"{dataset}: no such file or folder, and no official data set; {nearest(dataset, list(OFFICIAL))}")


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


if __name__ == "__main__":
    sys.exit(main())
