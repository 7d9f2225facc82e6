"""Times, sizes and runs as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    """2:05 or 1:02:05; a negative time, from clocks that disagree or a poor estimate, is 0:00.

    >>> duration(125), duration(3725), duration(-1)
    ('2:05', '1:02:05', '0:00')
    """
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def size(count: float) -> str:
    """Bytes in decimal units.

    >>> size(950), size(1_200_000)
    ('950 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def run_name(run: Mapping[str, Any]) -> str:
    """A run, from the columns of the plan.

    >>> run_name({"model": "m", "dataset": "d", "init": "pretrained", "pretraining_seed": 2, "seed": 1, "epochs": 5})
    'm, d, pretrained (pretraining seed 2), seed 1, 5 epochs'
    """
    weights = f" (pretraining seed {run['pretraining_seed']})" if run["pretraining_seed"] is not None else ""
    return f"{run['model']}, {run['dataset']}, {run['init']}{weights}, seed {run['seed']}, {run['epochs']} epochs"


def pretraining_name(model: str, seed: int | None, is_file: bool = False) -> str:
    """A pretraining of a size. `seed` is the position in the study's list for a file; None for published weights.

    >>> pretraining_name("nano-32", 2), pretraining_name("tiny", 1, is_file=True), pretraining_name("tiny", None)
    ('nano-32, pretraining seed 2', 'tiny, file 1', 'tiny')
    """
    if seed is None:
        return model
    return f"{model}, {'file' if is_file else 'pretraining seed'} {seed}"


def two_digits(value: float) -> str:
    """A number with two significant digits.

    >>> [two_digits(value) for value in (0.0336, 1.2, 251, 12_345)]
    ['0.034', '1.2', '250', '12,000']
    """
    if value <= 0:
        return "0"
    places = 1 - math.floor(math.log10(value))
    rounded = round(value, places)
    return f"{rounded:,.{max(0, places)}f}".rstrip("0").rstrip(".") if places > 0 else f"{rounded:,.0f}"


def roughly(seconds: float) -> str:
    """A time with two significant digits in a suitable unit.

    >>> roughly(50), roughly(720), roughly(12_240), roughly(4_500_000)
    ('50 seconds', '12 minutes', '3.4 hours', '52 days')
    """
    for unit, length, limit in (("seconds", 1, 90), ("minutes", 60, 5_400), ("hours", 3_600, 172_800)):
        if seconds < limit:
            return f"{two_digits(seconds / length)} {unit}"
    return f"{two_digits(seconds / 86_400)} days"


def operations(count: float) -> str:
    """Floating-point operations with two significant digits.

    >>> operations(48e9), operations(3.1e15)
    ('48 GFLOP', '3.1 PFLOP')
    """
    for unit in ("GFLOP", "TFLOP", "PFLOP", "EFLOP"):
        count /= 1e9 if unit == "GFLOP" else 1e3
        if count < 1000:
            break
    return f"{two_digits(count)} {unit}"
