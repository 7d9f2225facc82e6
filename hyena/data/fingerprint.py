"""Text that changes when the files of a data set change, without reading them. Next: `token_cache.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

from hyena.data.split_files import is_litter
from hyena.errors import InputError

_STAT_LIMIT = 50_000


def files_fingerprint(path: Path) -> str:
    """Text that changes when the file, or the folder's files, change: paths, sizes, times of change.

    In a folder of more than 50,000 files only the folders' own times are looked at (which change with every file
    that comes, goes or is replaced, though not with one that is overwritten in place): looking at each of 289,061
    files takes a second, every time.
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
    """Of what a link leads to; of the link itself where it leads nowhere, which matters only if it is to be read."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """What may be read in a folder and up to two levels below it: the depth of `SPLIT/CLASS/ID.txt`."""
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
