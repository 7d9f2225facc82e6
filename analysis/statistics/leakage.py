"""The leakage audits of a study's own data: which test examples have a partner in the training split.

Reads `leakage/*.parquet` as `hyena.leakage.audit` writes them (rows by data set, measure, split and class). A sweep
writes the audits of its own data; audits of genomic intervals are added by hand. Next:
`analysis/page/leakage_section.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from analysis.results import Problem, Results
from sweep.result_tables import read_table

#: The columns of an audit that are read.
_AUDIT = pa.schema(
    [(name, pa.string()) for name in ("dataset", "digest", "measure", "split", "against", "class", "partner_class")]
    + [("k", pa.int32()), ("count", pa.int64()), ("of", pa.int64())]
)


@dataclass(frozen=True)
class LeakageAudits:
    """`rows`: counts of test examples with a partner in training, by measure, class and the partner's class.

    Columns: dataset, digest, measure, split, against, class, partner_class, k, count, of. `problems`: unreadable files.
    """

    rows: pl.DataFrame
    problems: tuple[Problem, ...] = ()


def leakage_audits(results: Results) -> LeakageAudits:
    """Audits of sequences belong to the study by the digest of the data; those of intervals, by the data set's name."""
    if results.source is None:
        return LeakageAudits(pl.DataFrame(_AUDIT.empty_table()))
    problems: list[Problem] = []
    paths = [f"leakage/{name}" for name in results.source.tables_in("leakage")]
    rows = read_table(results.source, paths, _AUDIT, _AUDIT.names, problems)
    digests = results.runs["data_digest"].drop_nulls().unique().to_list()
    names = results.runs["dataset"].unique().to_list()
    of_intervals = pl.col("measure").str.starts_with("interval")
    ours = pl.when(of_intervals).then(pl.col("dataset").is_in(names)).otherwise(pl.col("digest").is_in(digests))
    rows = rows.drop_nulls(["measure", "count", "of"]).filter(ours)
    return LeakageAudits(rows.filter((pl.col("split") == "test") & (pl.col("against") == "train")), tuple(problems))
