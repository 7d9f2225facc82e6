"""The optional dependencies that a command needs, checked before it imports them. Next: `terminal.py`.

`pip install hyenadna-sweep` installs what reads a results folder. Each extra of `pyproject.toml` adds one kind of work.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from hyena.errors import InputError
from hyena.system import terminal

_TRAIN = ("einops", "genomic_benchmarks", "huggingface_hub", "safetensors", "scipy", "torch")
#: The packages of each extra, by the names under which they are imported.
EXTRAS = {
    "report": ("altair", "scipy", "statsmodels", "vl_convert"),
    "train": _TRAIN,
    "sweep": (*_TRAIN, "pydantic", "ray"),
}


def require_extra(extra: str) -> None:
    """Raise InputError where a package of an extra is not installed. Imports none of them.

    extra: a key of `EXTRAS`.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise InputError(
            f"not installed: {', '.join(missing)}; install the extra '{extra}': pip install 'hyenadna-sweep[{extra}]', "
            f"or pip install -e '.[{extra}]' in a checkout"
        )


def exit_without_extra(extra: str) -> None:
    """End the process with one line and exit code 2 where a package of an extra is not installed.

    For modules that are run as a command and import these packages at the top.
    """

    def check() -> int:
        require_extra(extra)
        return terminal.DONE

    if code := terminal.command(check):
        sys.exit(code)
