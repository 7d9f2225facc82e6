"""The command: `python -m benchmarks.gpu`, or `make gpu`. Exit code 0: all measured; 1: not all; 2: a wrong request."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.session import Setting, Status, measurements_of, run_part
from benchmarks.gpu.tables import tables
from sweep.environment import device_name
from sweep.gpu_probe import slug

PARTS = {
    "A": ("benchmarks.gpu.correctness", "are the numbers those of the CPU and of the published code?"),
    "B": ("benchmarks.gpu.speed", "how fast are convolution and training step, and what bounds them?"),
    "C": ("benchmarks.gpu.training", "stacks of seeds, memory, a whole epoch, long inputs"),
    "D": ("benchmarks.gpu.sweeping", "the sweep with Ray: runs an hour by share and stack, failures mended"),
}
RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for, one after another."""
    options = _parser().parse_args(arguments)
    if options.tables:
        print("\n".join(tables(options.tables)))
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"error: torch {torch.__version__} finds no CUDA device on this machine; "
            "to rehearse without one: --device cpu --tiny",
            file=sys.stderr,
        )
        return 2
    setting = Setting(options.device, options.tiny)
    chosen = {part: PARTS[part][0] for part in sorted(set(options.part or PARTS))}
    known = {one.name for module in chosen.values() for one in measurements_of(module, setting)}
    if unknown := sorted(set(options.only) - known):
        print(f"error: --only {unknown[0]}: no such measurement; --list names them", file=sys.stderr)
        return 2
    if options.list:
        for part, module in chosen.items():
            print(f"{part}: {PARTS[part][1]}")
            for one in measurements_of(module, setting):
                print(f"    {one.name} (at most {one.box_s:.0f} s)")
        return 0
    folder, say = options.output or _default_folder(setting), functools.partial(print, flush=True)
    statuses: Counter[Status] = Counter()
    for part, module in chosen.items():
        say(f"{part}: {PARTS[part][1]} (at most {options.minutes:g} minutes; results in {folder})")
        statuses.update(run_part(module, setting, folder, 60 * options.minutes, say, options.only))
    print(", ".join(f"{number} {status}" for status, number in statuses.items()))
    return 0 if set(statuses) <= {Status.MEASURED} else 1


def _default_folder(setting: Setting) -> Path:
    """Beside the other results; those of a rehearsal mean nothing and go where they are forgotten."""
    if setting.tiny:
        return Path(tempfile.mkdtemp(prefix="gpu-rehearsal-"))
    return RESULTS / slug(device_name(setting.where))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure all that runs on a GPU.")
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="A correctness, B speed, C training, D sweep; repeatable (all)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these measurements alone")
    parser.add_argument("--list", action="store_true", help="name the measurements, and take none")
    parser.add_argument(
        "--tables", type=Path, metavar="DIR", help="print the results there as Markdown; measure nothing"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes: a rehearsal, whose figures mean nothing")
    parser.add_argument("--minutes", type=float, default=9.0, help="most of each part (9)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="where results are kept; what was measured there is not measured again (benchmarks/results/NAME_OF_GPU)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
