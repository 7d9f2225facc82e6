"""Addresses of results folders, and the names of the files in them.

`sweep/schema.py` lists the files. Needs pyarrow only, so that the analysis can import it without torch and Ray. Next:
`sweep/results_folder.py`.
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

#: Beginning of the names of heartbeat files (`sweep/heartbeat.py`).
AT_WORK = "at-work-"

_SECRET = re.compile("key|secret|token|password|credential", re.IGNORECASE)
#: URI schemes, which are never taken for names of folders → the scheme to suggest ("" for none).
_SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"), **dict.fromkeys(("gs", "gcs"), "gs"), "file": "file",
    **dict.fromkeys(("http", "https", "ftp", "sftp", "ssh", "hdfs", "abfs", "abfss", "az", "wasb", "wasbs"), ""),
}  # fmt: skip


def opened(address: str) -> tuple[str, fs.FileSystem, str]:
    """The address as it may be shown and stored, its file system, and the folder's path in there.

    Args:
        address: a path (`~` is the home folder), `file:///…`, `s3://bucket/prefix` or `gs://bucket/prefix`, with
            pyarrow's options as a query (`s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:9000`).

    Raises ValueError where the address is none of these (a misspelt one must not become a folder named `s3:`) or holds
    credentials (which the message does not repeat), and OSError where the store does not answer (an S3 bucket without
    `region` or `endpoint_override` is asked for its region).
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
            "an address must not hold credentials, because it is shown and stored; "
            "set them in the environment (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if not re.match(r"(s3|gs)://([^/\\]|$)|file:///", address):
        raise ValueError(f"'{address}' is not a folder, s3:// or gs:// address{_suggestion(address)}")
    try:
        filesystem, root = fs.FileSystem.from_uri(address)
    except (ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"'{address}' is not a folder, s3:// or gs:// address: {reason}") from None
    if not root.strip("/") and not isinstance(filesystem, fs.LocalFileSystem):
        raise ValueError(f"'{address}' does not name a bucket")
    return address, filesystem, root.rstrip("/")


def _is_path(address: str) -> bool:
    """Whether this is a path on this machine, as `2024:run` and `./s3:/x` are, and `s3:/x` and `s3//x` are not."""
    if address[0] in "/.~":
        return True
    scheme = _scheme(address)
    return "://" not in address and scheme not in _SCHEMES and not re.match(r"[A-Za-z][\w+.-]*:[/\\]", address)


def _scheme(address: str) -> str:
    """The text before the first colon or double slash, in lower case."""
    return re.split(r"\W*:|\W*[/\\]{2}", address, maxsplit=1)[0].lower() if re.search(r":|[/\\]{2}", address) else ""


def _suggestion(address: str) -> str:
    """The end of a message about a wrong address: the address that was probably meant."""
    scheme, rest = _scheme(address), re.sub(r"^\w*\W*?(:|[/\\]{2})[/\\]*", "", address, count=1)
    if len(scheme) == 1:
        return "; it looks like a Windows path"
    meant = _SCHEMES.get(scheme, "")
    if scheme == "file" and not re.match(r"file:[/\\]", address, re.IGNORECASE):
        return f"; did you mean {rest}, or file:/// and an absolute path?"
    if not meant and not re.search("://", address):
        return f"; for a folder of that name, write ./{address}"
    return f"; did you mean {meant}://{'/' * (meant == 'file')}{rest}?" if meant and rest else ""


def _local(address: str) -> tuple[str, fs.FileSystem, str]:
    """A folder on this machine."""
    path = str(resolved(address))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"'{path}': the name is not UTF-8; choose another folder") from None
    return path, fs.LocalFileSystem(), path


def _holds_credentials(address: str) -> bool:
    """Whether it has `user:password@` where an object store could read it, or a query key that looks like a secret."""
    scheme, found, rest = unquote(address).partition("://")
    if not found:
        scheme, _, rest = unquote(address).partition(":")
    rest = rest.removeprefix("anonymous@")  # how pyarrow is told to use GCS without credentials
    host, query = rest.partition("/")[0], rest.partition("?")[2]
    names = [option.partition("=")[0] for option in re.split("[&;]", query)]
    return "@" in (host if scheme.lower() == "file" else rest) or any(map(_SECRET.search, names))


def part_file(table: str, digest: str) -> str:
    """Name of a part's file in the results folder; `digest` is that of the part's run ids."""
    return f"{COMPACT}/{table}-{digest}.parquet"


def complete_parts(names: Iterable[str]) -> list[str]:
    """Digests of the parts that have all their files, from the names in `compact/`, sorted."""
    there = set(names)
    digests = {name[len("runs-") : -len(".parquet")] for name in there if re.fullmatch(r"runs-\w+\.parquet", name)}
    return sorted(d for d in digests if all(f"{table}-{d}.parquet" in there for table in PART_TABLES))
