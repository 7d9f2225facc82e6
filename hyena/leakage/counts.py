"""The counts of an audit: what is compared, how many sequences have a partner, and their table. Next: `audit.py`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
PartnerClass = Literal["same", "other", "any"]
SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("digest", pa.string(), metadata={"is": "SHA-256 of the data set; empty for intervals"}),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("k", pa.int32(), metadata={"unit": "letters", "is": "null where the measure has none"}),
        pa.field("split", pa.string(), nullable=False, metadata={"is": "the split whose sequences are counted"}),
        pa.field("against", pa.string(), nullable=False, metadata={"is": "the split their partners are in"}),
        pa.field("class", pa.string(), nullable=False, metadata={"is": "class of the counted; 'all' for the total"}),
        pa.field("partner_class", pa.string(), nullable=False, metadata={"is": "same, other or any"}),
        pa.field("count", pa.int64(), nullable=False, metadata={"unit": "sequences"}),
        pa.field("of", pa.int64(), nullable=False, metadata={"unit": "sequences", "is": "all of that class"}),
    ]
)


class Comparison(NamedTuple):
    """What is counted: the sequences of `split` that have a partner of `partner_class` in `against`, by one measure."""

    measure: str
    split: str
    against: str
    partner_class: PartnerClass


@dataclass(frozen=True)
class PartnerCount:
    """A row of `SCHEMA`.

    Attributes:
        label: class of the counted sequences, "all" for the total.
        count: those of the class that have a partner.
        of: all sequences of the class.
    """

    dataset: str
    digest: str | None
    k: int | None
    comparison: Comparison
    label: str
    count: int
    of: int

    def row(self) -> dict[str, Any]:
        """Values by column."""
        place = {"dataset": self.dataset, "digest": self.digest, "k": self.k, **self.comparison._asdict()}
        return {**place, "class": self.label, "count": self.count, "of": self.of}


def counts_table(counts: Iterable[PartnerCount]) -> pa.Table:
    """Counts as a table of `SCHEMA`, one row each."""
    return pa.Table.from_pylist([count.row() for count in counts], SCHEMA)
