"""Files that a report writes, whole or not at all: the page, and the charts' script in the user's cache."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hyena.system.paths import cache_folder


def write_whole(path: Path, content: str) -> None:
    """Write to a temporary name beside `path` and rename: a reader never sees half a file. Raises OSError.

    A byte of a name that is not UTF-8, which Python keeps as half a letter, is written as its escape.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace"))
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one offline script.

    To make it takes seconds, so each version is made once and kept in the user's cache; where there can be none, it is
    made every time.
    """
    folder = cache_folder() / "vega"
    kept = folder / f"{version('vl-convert-python')}.js"
    with suppress(OSError):
        return kept.read_text(encoding="utf-8")
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(kept, script)
    return script
