"""Paths as users write them, made absolute: every fault of one is an InputError, found before anything is opened.

And the folders of the user, also where there is no such user: a container may run under an id without a home.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hyena.errors import InputError, shown


def resolved(path: Path | str, folder: Path | None = None) -> Path:
    """A path with `~` and links resolved, relative to `folder`, or to the working folder.

    Whether there is anything is not looked at. Environment variables such as `$HOME` are left as they are.

    Raises InputError: an address, a user who is unknown or has no home folder, a name that no file system takes, links
    in a circle.
    """
    if is_address(path):
        raise InputError(f"path {shown(str(path))}: an address; name a file or folder of this machine")
    there = (folder or Path()) / expanded(path)
    try:
        whole = there.resolve()
        whole.exists()  # looks the name up, and so finds one that is too long
    except PermissionError:
        return whole
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(" from ")[0]
        raise InputError(f"path {shown(str(path))}: {reason[:1].lower()}{reason[1:]}") from None
    return whole


def is_address(path: Path | str) -> bool:
    """Whether it reads as s3://bucket/x or https://host/x, of which a Path keeps one slash."""
    return re.match(r"[A-Za-z][\w+.-]+:/", str(path)) is not None


def expanded(path: Path | str) -> Path:
    """A path with `~` or `~user` replaced by the home folder. Raises InputError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0].removeprefix("~")
        whose = f"of the user {shown(user)}" if user else "of yours (set HOME)"
        raise InputError(f"path {shown(str(path))}: there is no home folder {whose}") from None


def home() -> Path:
    """The home folder; where there is none, a folder of this user id among the temporary files."""
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return Path(tempfile.gettempdir()) / f"hyenadna-sweep-{os.getuid()}"


def cache_folder() -> Path:
    """Where this project caches: `hyenadna-sweep` in `XDG_CACHE_HOME`, by default in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home() / ".cache") / "hyenadna-sweep"
