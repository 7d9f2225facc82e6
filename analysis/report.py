"""`python -m analysis.report RESULTS -o report.html`: one offline page that answers the study's question.

Reads the tables, pairs, estimates, draws and writes; prints the headline and the path. Exit codes: 0 the page is
written, 2 the request is wrong (one line on stderr, nothing written), 130 interrupted. Next: `analysis/sections.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from analysis import (
    confusion_section,
    equivalence,
    leakage_section,
    published,
    robustness_section,
    run_sections,
    sections,
    training_share,
)
from analysis.completeness import completeness
from analysis.curves import curve_table
from analysis.estimates import Estimates, estimate
from analysis.page import Page
from analysis.pairs import Comparison, compare
from analysis.provenance import downloads, provenance
from analysis.results import Folder, Results, ResultsError, load, one_line
from analysis.words import headline, methods

#: Seconds between two looks at the results, and between two loads of a followed page.
WATCH_S = 5


@dataclass(frozen=True)
class Report:
    """A finished page and the sentence that it opens with."""

    html: str
    headline: str
    is_complete: bool


def build(
    results: Results, caveats: Sequence[str] = (), reload_s: int | None = None, reference: str | None = None
) -> Report:
    """All estimates of a study and the page that shows them; `reference` names a published study to set beside it."""
    comparison = compare(results)
    estimates = estimate(comparison, results.margin)
    page = Page(title=f"{results.name}: is pretraining worth it?")
    _add_sections(page, results, comparison, estimates, reference)
    head = headline(results, estimates)
    footer = "One file, no network: data, charts and script are all inside. Made by the project's analysis.report."
    return Report(
        html=page.render(sections.masthead(results, estimates, caveats), footer, reload_s),
        headline=f"{head.answer} {head.growth_sentence}".strip(),
        is_complete=results.plan_known and results.runs.height >= results.plan.height,
    )


def _add_sections(
    page: Page, results: Results, comparison: Comparison, estimates: Estimates, reference: str | None
) -> None:
    page.section("where", "Where does it help?", sections.where_it_helps(page, estimates))
    page.section("growth", "Does the benefit grow with size?", sections.does_it_grow(page, estimates))
    shares = training_share.section(page, results, comparison)
    page.section("shares", "Does it help more with less data?", shares)
    page.section("curves", "How do the two arms learn?", run_sections.learning_curves(page, results, comparison))
    page.section("pairs", "Every run, seed by seed", run_sections.every_run(page, comparison))
    page.section("cost", "Was it worth the compute?", run_sections.worth_the_compute(page, results, estimates))
    page.section("equivalence", "Is it too small to matter?", equivalence.section(estimates))
    page.section("next", "What would settle it?", robustness_section.what_would_settle_it(page, estimates))
    depends = robustness_section.does_it_depend(results, estimates)
    page.section("robustness", "Does the answer depend on how one asks?", depends)
    page.section("confusion", "Which classes are confused?", confusion_section.section(results, comparison))
    if reference:
        other = published.load(reference)
        beside = sections.beside_published(estimates, estimate(compare(other), other.margin), other.name)
        page.section("reference", "How does it compare with the published study?", beside)
    page.section("leakage", "Does the test stand in the training data?", leakage_section.section(results))
    page.section("runs", "Which runs are there?", completeness(results))
    page.section("methods", "Methods", sections.methods_list(methods(results, estimates)))
    page.section("provenance", "Provenance", provenance(results, datetime.now(UTC)))
    page.section(
        "downloads", "Take the numbers away", downloads(page, results, estimates, curve_table(results, comparison))
    )


def write(path: Path, html: str) -> None:
    """Write to a temporary name beside `path` and rename: a reader never sees half a page."""
    if not path.parent.is_dir():
        raise ResultsError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise ResultsError(f"{path}: is a folder; expected the name of the page to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def watch(location: str, output: Path, reference: str | None = None) -> None:
    """Rewrite the page whenever a run lands, until every planned run has ended; the page loads itself again.

    Once there is a page, a store that does not answer is asked again at the next look: a sweep outlasts many a network.
    """
    seen: object = None
    while True:
        try:
            signature = Folder.open(location).signature()
            if signature != seen:
                report = build(load(location), reload_s=WATCH_S, reference=reference)
                seen = signature
                if report.is_complete:
                    break
                write(output, report.html)
                print(f"{datetime.now(UTC):%H:%M:%S} {report.headline}", flush=True)
        except (OSError, ResultsError) as error:
            if seen is None:
                raise
            print(f"{datetime.now(UTC):%H:%M:%S} {one_line(error)}; looking again", file=sys.stderr)
        time.sleep(WATCH_S)
    report = build(load(location), reference=reference)
    write(output, report.html)
    print(f"{report.headline}\n{output}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report", description="From a results folder to one HTML page."
    )
    parser.add_argument("results", nargs="?", help="results folder: a path, s3:// or gs://")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="page to write (default report.html)"
    )
    parser.add_argument(
        "--published", metavar="NAME", help=f"re-analyse a published study: {', '.join(published.PUBLISHED)}"
    )
    parser.add_argument("--reference", metavar="NAME", help="set a published study's estimates beside those of RESULTS")
    parser.add_argument("--watch", action="store_true", help="rewrite the page as runs land")
    return parser.parse_args(argv)


def _requested(arguments: argparse.Namespace) -> Report:
    if (arguments.results is None) == (arguments.published is None):
        raise ResultsError("give either a results folder or --published NAME")
    if arguments.watch:
        raise ResultsError("--watch follows a results folder; a published study does not change")
    if arguments.published:
        return build(published.load(arguments.published), published.CAVEATS)
    return build(load(arguments.results), reference=arguments.reference)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _arguments(argv)
    try:
        if arguments.watch and arguments.results:
            watch(arguments.results, arguments.output, arguments.reference)
            return 0
        report = _requested(arguments)
        write(arguments.output, report.html)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {arguments.results}: cannot be read ({one_line(error)})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the page on disk is the last whole one", file=sys.stderr)
        return 130
    print(f"{report.headline}\n{arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
