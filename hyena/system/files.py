"""Files that appear whole or not at all: a reader or a crash sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path`, flush it to the disk, then rename it to `path`.

    Raises OSError that names `path`, not the temporary file, which is removed.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)  # the error of a full disk names no file
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, by name and in their order, into a folder that is made if need be; each as by `write_whole`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)
