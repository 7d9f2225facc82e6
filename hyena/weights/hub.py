"""Weights by name: in a local folder, in the hub's cache, or on the Hugging Face hub. Next: `tensor_files.py`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hyena.errors import InputError, first_line, nearest
from hyena.model.config import PUBLISHED
from hyena.system.waiting import waiting_for
from hyena.weights.checkpoint import HUB_ORGANISATION
from hyena.weights.tensor_files import LIGHTNING, SAFETENSORS, SUFFIXES, TORCH_BIN

#: Suffix of a repository's name and the file in it, in order of preference.
HUB_FILES = [("-hf", SAFETENSORS), ("-hf", TORCH_BIN), ("", LIGHTNING)]


def find_weights(name: str, weights_dir: Path | None, revision: str | None = None) -> Path:
    """The path of the weights called `name`, after a download if necessary.

    Args:
        name: of a folder or file in `weights_dir`, or one of the seven published names.
        weights_dir: searched first, for NAME, NAME-hf and NAME with a usual suffix; also the cache of downloads, in
            the hub's own layout. If None, downloads go to the hub's default cache.
        revision: branch, tag or commit of the hub's repository; files in `weights_dir` take precedence.

    A download is locked against other processes and is resumed after an interruption.

    Raises InputError that names the places that were searched.
    """
    present = present_weights(name, weights_dir, revision)
    if present is not None:
        return present
    if name not in PUBLISHED:
        where = f"not in {weights_dir}, and " if weights_dir else ""
        raise InputError(f"weights '{name}': {where}not a published name; {nearest(name, list(PUBLISHED))}")
    for suffix, file in HUB_FILES:
        fetched = _hub_file(name + suffix, file, weights_dir, revision, local_files_only=False)
        if fetched is not None:
            return _verified(fetched)
    put = f"; to work offline, put them at {weights_dir / name}" if weights_dir else "; see --weights"
    asked = f"{HUB_ORGANISATION}/{name} and {name}-hf"
    raise InputError(f"weights '{name}'{_at(revision)}: found neither locally nor on the hub as {asked}{put}")


def present_weights(name: str, weights_dir: Path | None, revision: str | None = None) -> Path | None:
    """The path that `find_weights` would return without a download; None if there is none."""
    if not name or name in {".", ".."} or Path(name).name != name:
        raise InputError(f"weights '{name}': expected a name, not a path")
    if weights_dir is not None and weights_dir.exists() and not weights_dir.is_dir():
        raise InputError(
            f"--weights {weights_dir}: found a file; expected a folder that holds it as {name}{weights_dir.suffix}"
        )
    local = _local_weights(name, weights_dir)
    if local is not None or name not in PUBLISHED:
        return local
    cached = (_hub_file(name + s, file, weights_dir, revision, local_files_only=True) for s, file in HUB_FILES)
    return next((file for file in cached if file is not None), None)


def _local_weights(name: str, weights_dir: Path | None) -> Path | None:
    if weights_dir is None:
        return None
    for candidate in (weights_dir / name, weights_dir / f"{name}-hf", *_with_suffixes(weights_dir, name)):
        if candidate.is_file() or (candidate.is_dir() and _holds_weights(candidate)):
            return candidate
    return None


def _with_suffixes(folder: Path, name: str) -> Iterable[Path]:
    return (folder / f"{name}{suffix}" for suffix in SUFFIXES)


def _holds_weights(folder: Path) -> bool:
    return any(file.suffix in SUFFIXES for file in folder.iterdir())


def _hub_file(
    repository: str, file: str, cache: Path | None, revision: str | None, *, local_files_only: bool
) -> Path | None:
    """The file in the hub's cache, downloaded if allowed; None if the hub, or the cache, does not have it."""
    try:
        with waiting_for(f"{HUB_ORGANISATION}/{repository}/{file} from the hub"):
            found = hf_hub_download(
                f"{HUB_ORGANISATION}/{repository}",
                file,
                revision=revision,
                cache_dir=cache,
                local_files_only=local_files_only,
            )
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        if local_files_only or isinstance(error, HfHubHTTPError):  # HfHubHTTPError: the hub itself answered "not found"
            return None
        raise InputError(_unreachable(repository, revision, cache, error)) from None
    except Exception as error:  # also those of the HTTP library, which depends on the version of huggingface_hub
        raise InputError(_unreachable(repository, revision, cache, error)) from None
    return Path(found)


def _at(revision: str | None) -> str:
    return f" at revision '{revision}'" if revision else ""


def _unreachable(repository: str, revision: str | None, cache: Path | None, error: Exception) -> str:
    place = f"{cache / repository.removesuffix('-hf')}" if cache else "a folder NAME of the one given as --weights"
    return (
        f"weights {HUB_ORGANISATION}/{repository}{_at(revision)}: not found locally, and the download "
        f"from the hub failed ({first_line(error)}); to work offline, put them at {place}"
    )


def _verified(file: Path) -> Path:
    """The file, if its SHA-256 is the one announced by the hub, which is the name of a large file in the cache.

    Raises InputError for another one, and removes the file.
    """
    blob = file.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        with blob.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != blob.name:
            file.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
            raise InputError(
                f"{file}: damaged download, found SHA-256 {digest}, expected {blob.name}; removed, try again"
            )
    return file
