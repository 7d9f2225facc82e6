"""A fingerprint of files that changes when they do, without reading them. Next: `token_cache.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

from hyena.data.split_files import is_litter
from hyena.errors import InputError

_STAT_LIMIT = 50_000


def files_fingerprint(path: Path) -> str:
    """Paths, sizes and modification times of a file, or of all files that may be read in a folder, as text.

    In a folder of more than 50,000 files, only the modification times of the folders count: they change when a file
    is added, removed or replaced, but not when one is overwritten in place. To examine each of 289,061 files would
    take a second at every load.
    """
    try:
        state = path.stat()
        if not path.is_dir():
            return f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
        files: list[str] = []
        folders: list[str] = []
        for entry in _walk(path):
            info = _state(entry)
            (folders if _is_folder(entry) else files).append(f"{entry.path} {info.st_size} {info.st_mtime_ns}")
            if len(files) > _STAT_LIMIT:
                within = [folder for folder in sorted(path.glob("*/*")) if folder.exists()]
                folders = [f"{folder} {folder.stat().st_mtime_ns}" for folder in within]
                files = []
                break
    except OSError as error:
        raise unreadable(error, path) from None
    return "\n".join([str(path.resolve()), *sorted(folders), *sorted(files)])


def _state(entry: os.DirEntry[str]) -> os.stat_result:
    """The state of a link's target, or of the link itself if it is broken (an error only if the file is to be read)."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Entries that may be data in a folder and up to two levels below it, the depth of `SPLIT/CLASS/ID.txt`."""
    pending = [(folder, 0)]
    while pending:
        current, depth = pending.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                if is_litter(entry.name):
                    continue
                yield entry
                if depth < 2 and _is_folder(entry):
                    pending.append((entry.path, depth + 1))


def unreadable(error: OSError, path: Path) -> InputError:
    reason = (
        "no such file or folder" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
    )
    return InputError(f"{error.filename or path}: {reason}")
