"""Tokenised data sets on disk: NumPy files that all processes of a machine map and share. Next: `datasets.py`.

One folder per content and tokenizer version, `DIGEST-vFORMAT-tTOKENIZER`, stores the same sequences once, whatever
location or container they came from. A small file per source, `NAME.source`, holds the digest of the source's
content and the notes made when it was read. A source is recognised by its fingerprint, because computing the digest
would mean reading all of it.

A folder is written under a temporary name and renamed when complete, so a reader finds all of it or nothing. A lock
lets one process read a source while the others wait. No pickle is read or written.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyena.data.sequences import Dataset, Split
from hyena.data.tokenizer import TOKENIZER_VERSION
from hyena.system.files import write_whole
from hyena.system.paths import cache_folder
from hyena.system.waiting import locked

FORMAT_VERSION = 3  # increase when the readers or the format of the files below change
_ARRAYS = ("tokens", "offsets", "labels")
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """The default folder of cached tokens: `hyenadna-sweep/tokens` in the user's cache folder."""
    return cache_folder() / "tokens"


def cached(cache_dir: Path, fingerprint: str, build: Callable[[], Dataset]) -> Dataset:
    """The data set that `build` makes, from the cache if possible, else built and cached.

    Safe with many processes at once. A damaged entry is rebuilt; if the cache folder is not writable, the data set is
    built and not cached.

    Args:
        fingerprint: text that changes whenever the result of `build` would change.
    """
    versions = f"v{FORMAT_VERSION}-t{TOKENIZER_VERSION}"
    text = f"{versions} {fingerprint}".encode("utf-8", "backslashreplace")  # file names may hold any bytes
    source = cache_dir / f"{hashlib.sha256(text).hexdigest()[:32]}.source"
    if (dataset := _of_source(source, versions)) is not None:
        return dataset
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        held = locked(source.with_suffix(".lock"), "reading the same data set")
    except (OSError, NotImplementedError) as error:
        _log.warning("tokens are not cached: %s is not writable (%s)", cache_dir, error)
        return build()
    with held:
        if (dataset := _of_source(source, versions)) is not None:
            return dataset
        dataset = build()
        entry = cache_dir / _entry_name(dataset.digest, versions)
        try:
            # Another source may hold the same content.
            with locked(entry.with_name(f"{entry.name}.lock"), "storing the same tokens"):
                if _read(entry) is None:
                    _write(entry, dataset)
            _write_source(source, dataset)
        except OSError as error:
            _log.warning("tokens are not cached: %s is not writable (%s)", entry, error)
            return dataset
    mapped = _read(entry)
    return dataset if mapped is None else replace(mapped, notes=dataset.notes)


def _entry_name(digest: str, versions: str) -> str:
    return f"{digest[:32]}-{versions}"


def _of_source(source: Path, versions: str) -> Dataset | None:
    """The cached data set of a source; None if it has not been cached, or is damaged."""
    try:
        digest, *notes = source.read_text("utf-8").split("\n")
    except (OSError, ValueError):
        return None
    dataset = _read(source.parent / _entry_name(digest, versions))
    return replace(dataset, notes=tuple(notes)) if dataset is not None and dataset.digest == digest else None


def _write_source(source: Path, dataset: Dataset) -> None:
    write_whole(source, "\n".join([dataset.digest, *dataset.notes]).encode())


def _write(entry: Path, dataset: Dataset) -> None:
    """Write a data set to the folder `entry` atomically, replacing a damaged one."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{entry.name}.writing-", dir=entry.parent))
    try:
        for name, split in dataset.splits.items():
            for array in _ARRAYS:
                np.save(temporary / f"{name}_{array}.npy", getattr(split, array), allow_pickle=False)
        about = {
            "classes": dataset.classes,
            "splits": list(dataset.splits),
            "digest": dataset.digest,
        }
        (temporary / "dataset.json").write_text(json.dumps(about, indent=1))
        if entry.exists():
            shutil.rmtree(entry)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(entry: Path) -> Dataset | None:
    """The data set in the folder `entry`, memory-mapped; None if it is missing or damaged."""
    try:
        about = json.loads((entry / "dataset.json").read_text())
        splits = {name: _read_split(entry, name) for name in about["splits"]}
        return Dataset(
            name="",
            classes=tuple(about["classes"]),
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits["test"],
            digest=about["digest"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        _log.warning("%s: the token cache is damaged and will be rebuilt (%s)", entry, error)
        return None


def _read_split(entry: Path, name: str) -> Split:
    tokens, offsets, labels = (
        np.load(entry / f"{name}_{array}.npy", mmap_mode="r", allow_pickle=False) for array in _ARRAYS
    )
    if tokens.dtype != np.uint8 or len(offsets) != len(labels) + 1 or offsets[-1] != len(tokens):
        raise ValueError(f"the arrays of the {name} split do not fit together")
    return Split(tokens, offsets, labels)
