"""Rows to write to a store, and the files in one."""

from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
from pyarrow import fs

from sweep.schema import RUNS, RunRow
from sweep.store import Store


def row(run_id: str, **values: Any) -> RunRow:
    """The row of a failed run: nullable columns null, the others any value of their type."""
    blank: dict[Any, Any] = {pa.string(): "x", pa.int64(): 1, pa.int32(): 1, pa.float64(): 0.5}
    cells = {f.name: None if f.nullable else blank.get(f.type) for f in RUNS}
    now = datetime.now(UTC)
    values = {**cells, "versions": [("python", "3")], "started_at": now, "finished_at": now, "status": "failed",
            "failure": "because", "run_id": run_id, **values}  # fmt: skip
    return cast(RunRow, values)


def files(store: Store) -> list[str]:
    """Paths of all files in the folder, including partly written ones."""
    found = store.files.get_file_info(fs.FileSelector(store.root, allow_not_found=True, recursive=True))
    return sorted(info.path[len(store.root) + 1 :] for info in found if info.type == fs.FileType.File)
