"""`python -m analysis.report RESULTS -o report.html`: one offline page that answers the study's question.

Prints the headline and the path. Exit codes: 0 the page is written, 2 the request is wrong (one line on stderr, nothing
written), 130 interrupted. Next: `analysis/findings.py`, `analysis/page/build.py`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analysis import published
from analysis.page.output import bundle, write_whole
from analysis.results import ResultsError, ResultsFolder, load
from hyena.errors import whole_message
from hyena.system import terminal
from hyena.system.extras import require_extra

if TYPE_CHECKING:
    from analysis.page.build import Report

#: Columns of the epochs that a page shows.
EPOCH_COLUMNS = ("run_id", "epoch", "test_accuracy")

#: Seconds between two checks of the results, and between two reloads of a followed page.
WATCH_S = 5


def require_writable(path: Path) -> None:
    """Raises ResultsError, before anything is read, where the page could not be written. Leaves no file behind."""
    if re.match(r"[a-zA-Z][\w+.-]+:/", str(path)):
        raise ResultsError(f"{path}: is a URL; give the name of a local file")
    if not path.parent.is_dir():
        raise ResultsError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise ResultsError(f"{path}: is a folder; expected the name of the page to write")
    if path.exists() and not path.is_file():
        raise ResultsError(f"{path}: is not a regular file; expected the name of the page to write")
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error


def write(path: Path, html: str) -> None:
    """Write the page atomically. Raises ResultsError where that fails."""
    try:
        write_whole(path.resolve(), html)  # of a link, its target is written
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error


def make(location: str, reference: str | None = None) -> Report:
    """The report of a results folder: read and computed while modules are imported, because each takes seconds."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        results = pool.submit(load, location, EPOCH_COLUMNS)
        from analysis.findings import gather

        findings = pool.submit(lambda: gather(results.result(), reference=reference))
        from analysis.page.build import build

        bundle()
        return build(findings.result())


def watch(location: str, output: Path, reference: str | None = None) -> Report:
    """Rewrite the page whenever a run lands, until every planned run has ended; the page loads itself again.

    Once there is a page, a store that does not answer is retried at the next check, because a sweep runs longer than
    networks stay up. Finished or interrupted, the last page no longer reloads itself.
    """
    seen: object = None
    try:
        while True:
            try:
                signature = ResultsFolder(location).signature()
                if signature != seen:
                    report = make(location, reference)
                    if report.is_complete:
                        break
                    write(output, report.html(WATCH_S))
                    seen = signature
                    print(f"{datetime.now(UTC):%H:%M:%S} {report.progress}: {report.headline}", flush=True)
            except (OSError, ResultsError) as error:
                if seen is None:
                    raise
                print(f"{datetime.now(UTC):%H:%M:%S} {whole_message(error)}; retrying", file=sys.stderr)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        if seen is not None:
            write(output, report.html())
        raise
    write(output, report.html())
    return report


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report", description="Write one HTML page from a results folder."
    )
    parser.add_argument("results", nargs="?", help="results folder: a path, s3:// or gs://")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="page to write (default report.html)"
    )
    parser.add_argument(
        "--published", metavar="NAME", help=f"re-analyse a published study: {', '.join(published.PUBLISHED)}"
    )
    parser.add_argument(
        "--reference", metavar="NAME", help="show a published study's estimates beside those of RESULTS"
    )
    parser.add_argument("--watch", action="store_true", help="rewrite the page as runs land")
    return parser.parse_args(argv)


def _requested(arguments: argparse.Namespace) -> Report:
    if (arguments.results is None) == (arguments.published is None):
        raise ResultsError("give either a results folder or --published NAME")
    if arguments.watch and arguments.published:
        raise ResultsError("--watch follows a results folder; a published study does not change")
    require_writable(arguments.output)
    if arguments.watch:
        return watch(arguments.results, arguments.output, arguments.reference)
    if arguments.results is not None:
        report = make(arguments.results, arguments.reference)
    else:
        from analysis.findings import gather
        from analysis.page.build import build

        report = build(gather(published.load(arguments.published), published.CAVEATS))
    write(arguments.output, report.html())
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return terminal.command(lambda: _report(_arguments(argv)), "interrupted; the last complete page is kept")


def _report(arguments: argparse.Namespace) -> int:
    require_extra("report")
    try:
        report = _requested(arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{arguments.results or arguments.published}: cannot be read ({whole_message(error)})"
        ) from error
    print(f"{report.headline}\n{arguments.output}")
    return terminal.DONE


if __name__ == "__main__":
    sys.exit(main())
