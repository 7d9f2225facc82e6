"""How times and runs are written wherever a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    """2:05 or 1:02:05."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def size(count: float) -> str:
    """Bytes in decimal units: 950 B, 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def run_name(run: Mapping[str, Any]) -> str:
    """A run by the columns of the plan."""
    return f"{run['model']}, {run['dataset']}, {run['init']}, seed {run['seed']}, {run['epochs']} epochs"
