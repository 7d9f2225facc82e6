"""Paths as users write them, made absolute, with an InputError for every invalid path; and the user's own folders.

A container may run under a user id without a home folder, so there is a fallback for it.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hyena.errors import InputError, shown


def resolved(path: Path | str, folder: Path | None = None) -> Path:
    """A path with `~` and links resolved, relative to `folder`, or to the working folder.

    The path need not exist. Environment variables such as `$HOME` are not expanded.

    Raises InputError for an address, a user who is unknown or has no home folder, an invalid name, or circular links.
    """
    if is_address(path):
        raise InputError(f"path {shown(str(path))}: found an address; expected a file or folder of this machine")
    there = (folder or Path()) / expanded(path)
    try:
        whole = there.resolve()
        whole.exists()  # the look-up fails for a name that is too long
    except PermissionError:
        return whole
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(" from ")[0]
        raise InputError(f"path {shown(str(path))}: {reason[:1].lower()}{reason[1:]}") from None
    return whole


def is_address(path: Path | str) -> bool:
    """Whether a path looks like s3://bucket/x or https://host/x; a Path keeps only one of the slashes."""
    return re.match(r"[A-Za-z][\w+.-]+:/", str(path)) is not None


def expanded(path: Path | str) -> Path:
    """A path with `~` or `~user` replaced by the home folder. Raises InputError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0].removeprefix("~")
        whose = f"of the user {shown(user)}" if user else "(set HOME)"
        raise InputError(f"path {shown(str(path))}: there is no home folder {whose}") from None


def home() -> Path:
    """The home folder; if there is none, a folder of this user id in the temporary folder."""
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry in the user database
        return Path(tempfile.gettempdir()) / f"hyenadna-sweep-{os.getuid()}"


def cache_folder() -> Path:
    """The cache folder of this project: `hyenadna-sweep` in `XDG_CACHE_HOME`, by default in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home() / ".cache") / "hyenadna-sweep"
