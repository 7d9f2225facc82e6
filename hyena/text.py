"""What a file holds by its first bytes: text, a compression, or something that was never meant. Next: `fasta.py`."""

from __future__ import annotations

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def what_it_is(first_bytes: bytes) -> str | None:
    """What lies there in place of data or weights, and what to do about it; None where nothing like it is seen.

    Args:
        first_bytes: the beginning of the file; 512 bytes are enough.

    Returns:
        The end of an error message, as in f"{path}: {what_it_is(first)}, not a table".
    """
    start = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if start.startswith(_LFS_POINTER):
        return "a git-lfs pointer: run `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page: download the file itself again"
    if start.startswith(b"<?xml"):
        return "an XML document (perhaps a server's error message): download the file itself again"
    return None
