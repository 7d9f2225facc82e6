"""The command `python -m sweep.run [STUDY.toml]`: run a study's missing runs.

The module is callable: `sweep.run(...)` is `sweep.api.run(...)`, which does the work.
"""

from __future__ import annotations

import argparse
import inspect
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from hyena.errors import InputError
from hyena.system import terminal
from hyena.system.extras import exit_without_extra

if __name__ == "__main__":  # in one line, before the imports below raise
    exit_without_extra("sweep")

from sweep import api
from sweep.formatting import duration, run_name
from sweep.ray_session import RayError
from sweep.shipped_studies import QUICKSTART, study_file
from sweep.status import failures
from sweep.trackers import TRACKERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 all done, 1 some runs failed, 2 wrong request, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _as_interrupt)
    again = shlex.join(["python", "-m", "sweep.run", *words])
    return terminal.command(
        lambda: _command(_parser().parse_args(words)), f"interrupted; what is done is kept. Go on with: {again}"
    )


def _command(options: argparse.Namespace) -> int:
    if options.gpu is not None and not options.plan:
        raise InputError(f"--gpu {options.gpu}: it is for --plan only; a sweep runs on the machine or cluster it is on")
    request: dict[str, Any] = {
        "results": options.results,
        "data": options.data,
        "weights": options.weights,
        "address": options.address,
        "overrides": options.set,
        "console": terminal.console(),
    }
    if options.plan:
        api.plan(options.study, gpu=options.gpu, **request)
        return terminal.DONE
    try:
        summary = api.run(options.study, track=options.track, **request)
    except BrokenPipeError:
        raise
    except (OSError, RayError) as error:
        terminal.say(f"stopped: {terminal.printable(str(error))[:500]}; what is done is kept")
        return terminal.FAILED
    for line in _conclusion(summary):
        request["console"].print(line, soft_wrap=True)
    return terminal.FAILED if summary.failed else terminal.DONE


def _conclusion(summary: api.SweepSummary) -> list[str]:
    time = duration(summary.training_s)
    return [
        f"{summary.done} of {summary.planned} runs done ({time} of training) in {summary.results}",
        *failures((run_name(vars(run)), run.reason) for run in summary.failed),
    ]


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    """End a sweep on SIGTERM as on Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweep.run", description="Run a study's missing runs.")
    parser.add_argument(
        "study",
        nargs="?",
        type=study_file,
        default=QUICKSTART,
        metavar="STUDY.toml",
        help="a file, or the name of a shipped study (default: quickstart, which needs no download)",
    )
    parser.add_argument("--plan", action="store_true", help="print what would run and how long it takes; run nothing")
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="with --plan: forecast time and cost for one GPU of this type, by its published rates",
    )
    parser.add_argument("--results", metavar="URI", help="folder, s3:// or gs:// (default: results/NAME_OF_STUDY)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="cache of data sets (default: ~/.genomic_benchmarks)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder and cache of pretrained weights")
    parser.add_argument("--address", metavar="ADDR", help="a running Ray cluster (default: start Ray here)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the study, as in --set grid.seeds=[1,2,3]; repeatable",
    )
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=TRACKERS,
        help="also send every epoch to TensorBoard files, Weights & Biases or MLflow; repeatable",
    )
    return parser  # fmt: skip


class _CallableModule(ModuleType):
    """Importing this module binds it to the name `sweep.run`, which must remain callable."""

    def __call__(self, *arguments: Any, **options: Any) -> api.SweepSummary:
        return api.run(*arguments, **options)


if __name__ == "__main__":
    sys.exit(main())
else:
    sys.modules[__name__].__class__ = _CallableModule
    __signature__ = inspect.signature(api.run)
