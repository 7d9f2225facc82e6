"""What the writer and the readers of a results folder must agree on: how it is addressed, and which files count.

`sweep/schema.py` lists the files. Needs pyarrow alone, so that the analysis can import it without torch and Ray.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from pyarrow import fs

from hyena.system.paths import resolved

#: The resolved study and the plan.
STUDY, PLAN_FILE = "study.json", "plan.parquet"

#: Ending of the names of half-written files, which do not count.
TEMPORARY = ".tmp"

#: Folder of the compacted parts, and the files of one part in the order in which they are written.
COMPACT, PART_TABLES = "compact", ("epochs", "predictions", "runs")

#: Beginning of the names of the files by which sweeps that are at work in the folder show it (`sweep/heartbeat.py`).
AT_WORK = "at-work-"

_SECRET = re.compile("key|secret|token|password|credential", re.IGNORECASE)
#: Words before a colon that name a place and no folder, by what they would be here; "" where there is nothing like it.
_SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"), **dict.fromkeys(("gs", "gcs"), "gs"), "file": "file",
    **dict.fromkeys(("http", "https", "ftp", "sftp", "ssh", "hdfs", "abfs", "abfss", "az", "wasb", "wasbs"), ""),
}  # fmt: skip


def opened(address: str) -> tuple[str, fs.FileSystem, str]:
    """The address as it may be shown and stored, its file system, and the folder's path in there.

    Args:
        address: a path (`~` is the home folder), `file:///…`, `s3://bucket/prefix` or `gs://bucket/prefix`, with
            pyarrow's options as a query (`s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:9000`).

    Raises ValueError where the address is none of these, be it by a slip of the pen (a folder named `s3:` would hold
    what nobody looks for there), or holds credentials (then without saying it again), OSError where the store does not
    answer (an S3 bucket without `region` or `endpoint_override` is asked for its region).
    """
    if not address.strip():
        raise ValueError("an empty address; give a folder, s3://bucket/prefix or gs://bucket/prefix")
    if address != address.strip():
        raise ValueError(f"'{address}' begins or ends with a space")
    if any(unicodedata.category(letter) == "Cc" for letter in address):
        raise ValueError(f"{address!a} holds a control character")
    if _is_path(address):
        return _local(address)
    if _holds_credentials(address):
        raise ValueError(
            "in an address there must be no credentials, for it is shown and stored; "
            "give them by the environment (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if not re.match(r"(s3|gs)://([^/\\]|$)|file:///", address):
        raise ValueError(f"'{address}' is no folder, s3:// or gs:// address{_suggestion(address)}")
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except (ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"'{address}' is no folder, s3:// or gs:// address: {reason}") from None
    if not root.strip("/") and not isinstance(filesystem, fs.LocalFileSystem):
        raise ValueError(f"'{address}' names no bucket")
    return address, filesystem, root.rstrip("/")


def _is_path(address: str) -> bool:
    """Whether this is a path on this machine: also `2024:run` and `./s3:/x`, but neither `s3:/x` nor `s3//x`."""
    if address[0] in "/.~":
        return True
    scheme = _scheme(address)
    return "://" not in address and scheme not in _SCHEMES and not re.match(r"[A-Za-z][\w+.-]*:[/\\]", address)


def _scheme(address: str) -> str:
    """What stands before the first colon or double slash, in small letters."""
    return re.split(r"\W*:|\W*[/\\]{2}", address, maxsplit=1)[0].lower() if re.search(r":|[/\\]{2}", address) else ""


def _suggestion(address: str) -> str:
    """What was meant, as far as one can tell."""
    scheme, rest = _scheme(address), re.sub(r"^\w*\W*?(:|[/\\]{2})[/\\]*", "", address, count=1)
    if len(scheme) == 1:
        return "; it looks like a path of Windows"
    meant = _SCHEMES.get(scheme, "")
    if scheme == "file" and not re.match(r"file:[/\\]", address, re.IGNORECASE):
        return f"; did you mean {rest}, or file:/// and a whole path?"
    if not meant and not re.search("://", address):
        return f"; for a folder of that name, write ./{address}"
    return f"; did you mean {meant}://{'/' * (meant == 'file')}{rest}?" if meant and rest else ""


def _local(address: str) -> tuple[str, fs.FileSystem, str]:
    """A folder of this machine."""
    path = str(resolved(address))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"'{path}': the name is not UTF-8; choose another folder") from None
    return path, fs.LocalFileSystem(), path


def _holds_credentials(address: str) -> bool:
    """`user:password@`, anywhere that an object store might take it from, or a query key that sounds like a secret."""
    scheme, found, rest = unquote(address).partition("://")
    if not found:
        scheme, _, rest = unquote(address).partition(":")
    rest = rest.removeprefix("anonymous@")  # how pyarrow is told to go without any, on GCS
    host, query = rest.partition("/")[0], rest.partition("?")[2]
    names = [option.partition("=")[0] for option in re.split("[&;]", query)]
    return "@" in (host if scheme.lower() == "file" else rest) or any(map(_SECRET.search, names))


def part_file(table: str, digest: str) -> str:
    """Name of a part's file in the results folder; `digest` stands for the part's runs."""
    return f"{COMPACT}/{table}-{digest}.parquet"


def complete_parts(names: Iterable[str]) -> list[str]:
    """Digests of the parts that count, of the names in `compact/`: those with all their files, sorted."""
    there = set(names)
    digests = {name[len("runs-") : -len(".parquet")] for name in there if re.fullmatch(r"runs-\w+\.parquet", name)}
    return sorted(d for d in digests if all(f"{table}-{d}.parquet" in there for table in PART_TABLES))
