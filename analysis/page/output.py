"""The files that a report writes atomically: the page, and the script of its charts in the user's cache.

Next: `analysis/report.py`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hyena.system.paths import cache_folder


def write_whole(path: Path, content: str) -> None:
    """Write to a temporary file beside `path` and rename it, so that no reader sees half a file. Raises OSError.

    Bytes of file names that are not UTF-8, which Python holds as lone surrogates, are written as escapes.
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

    Bundling takes seconds, so each version is bundled once and kept in the user's cache; without a cache that can be
    written, it is bundled every time.
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
