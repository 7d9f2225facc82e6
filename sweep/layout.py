"""What the writer and the readers of a results folder must agree on: how it is addressed, and which files count.

`sweep/schema.py` lists the files. Needs pyarrow alone, so that the analysis can import it without torch and Ray.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from pyarrow import fs

#: Folder of the compacted parts, and the files of one part in the order in which they are written.
COMPACT, PART_TABLES = "compact", ("epochs", "predictions", "runs")

_SECRET = re.compile("key|secret|token|password|credential", re.IGNORECASE)


def opened(address: str) -> tuple[str, fs.FileSystem, str]:
    """The address as it may be shown and stored, its file system, and the folder's path in there.

    Args:
        address: a path, `file://…`, `s3://bucket/prefix` or `gs://bucket/prefix`, with pyarrow's options as a query
            (`s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:9000`).

    Raises ValueError where the address is none of these or holds credentials (then without saying it again), OSError
    where the store does not answer (an S3 bucket without `region` or `endpoint_override` is asked for its region).
    """
    if "://" not in address:
        path = str(Path(address).resolve())
        return path, fs.LocalFileSystem(), path
    if _holds_credentials(address):
        raise ValueError(
            "in an address there must be no credentials, for it is shown and stored; "
            "give them by the environment (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except (ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"'{address}' is no folder, s3:// or gs:// address: {reason}") from None
    if not root.strip("/") and not isinstance(filesystem, fs.LocalFileSystem):
        raise ValueError(f"'{address}' names no bucket")
    return address, filesystem, root.rstrip("/")


def _holds_credentials(address: str) -> bool:
    """`user:password@`, anywhere that an object store might take it from, or a query key that sounds like a secret."""
    scheme, _, rest = unquote(address).partition("://")
    rest = rest.removeprefix("anonymous@")  # how pyarrow is told to go without any, on GCS
    host, query = rest.partition("/")[0], rest.partition("?")[2]
    names = [option.partition("=")[0] for option in re.split("[&;]", query)]
    return "@" in (host if scheme == "file" else rest) or any(map(_SECRET.search, names))


def part_file(table: str, digest: str) -> str:
    """Name of a part's file in the results folder; `digest` stands for the part's runs."""
    return f"{COMPACT}/{table}-{digest}.parquet"


def complete_parts(names: Iterable[str]) -> list[str]:
    """Digests of the parts that count, of the names in `compact/`: those with all their files, sorted."""
    there = set(names)
    digests = {name[len("runs-") : -len(".parquet")] for name in there if re.fullmatch(r"runs-\w+\.parquet", name)}
    return sorted(d for d in digests if all(f"{table}-{d}.parquet" in there for table in PART_TABLES))
