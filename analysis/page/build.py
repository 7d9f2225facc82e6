"""From loaded results to a finished page: estimates first, then the sections in the order of the reader's questions.

Next: `analysis/page/main_sections.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from analysis import published
from analysis.page import (
    confusion_section,
    equivalence_section,
    leakage_section,
    main_sections,
    robustness_section,
    run_sections,
    training_share_section,
)
from analysis.page.completeness_section import completeness
from analysis.page.html import Page
from analysis.page.provenance_section import downloads, provenance
from analysis.page.wording import headline, methods
from analysis.results import Results
from analysis.statistics.curves import curve_table
from analysis.statistics.estimates import Estimates, estimate
from analysis.statistics.pairs import Comparison, compare
from analysis.statistics.robustness import ExampleTests, example_tests

_FOOTER = "One file, no network: data, charts and script are all inside. Made by the project's analysis.report."


@dataclass(frozen=True)
class Report:
    """A finished page, the sentences that it opens with, and how far the study is."""

    page: Page
    header: str
    headline: str
    progress: str
    is_complete: bool

    def html(self, reload_s: int | None = None) -> str:
        """The file. reload_s: seconds after which it loads itself again, for a page that is being followed."""
        return self.page.render(self.header, _FOOTER, reload_s)


def build(results: Results, caveats: Sequence[str] = (), reference: str | None = None) -> Report:
    """All estimates of a study and the page that shows them; `reference` names a published study to set beside it."""
    comparison = compare(results)
    estimates = estimate(comparison, results.margin)
    page = Page(title=f"{results.name}: is pretraining worth it?", choices=_choices(comparison))
    with ThreadPoolExecutor(max_workers=1) as pool:  # predictions are read while all else is computed
        examples = pool.submit(example_tests, results, comparison)
        _add_sections(page, results, estimates, examples, reference)
    head = headline(results, estimates)
    return Report(
        page=page,
        header=main_sections.masthead(results, estimates, caveats),
        headline=f"{head.answer} {head.growth_sentence}".strip(),
        progress=main_sections.progress(results),
        is_complete=results.plan_known and results.runs.height >= results.plan.height,
    )


def _choices(comparison: Comparison) -> dict[str, list[str]]:
    """What a reader can single out: data sets by name, sizes from the smallest."""
    cells = comparison.estimable.sort("parameters", "model")
    return {
        "dataset": cells["dataset"].unique().sort().to_list(),
        "size": cells["size"].unique(maintain_order=True).to_list(),
    }


def _add_sections(
    page: Page, results: Results, estimates: Estimates, examples: Future[ExampleTests], reference: str | None
) -> None:
    comparison = estimates.comparison
    curves = curve_table(results, comparison)
    page.section("where", "Where does it help?", main_sections.where_it_helps(page, estimates))
    page.section("growth", "Does the benefit grow with size?", main_sections.does_it_grow(page, results, estimates))
    shares = training_share_section.section(page, results, comparison)
    page.section("shares", "Does it help more with less data?", shares)
    page.section("curves", "How do the two arms learn?", run_sections.learning_curves(page, curves, comparison))
    page.section("pairs", "Every run, seed by seed", run_sections.every_run(page, comparison))
    page.section("cost", "Was it worth the compute?", run_sections.worth_the_compute(page, results, estimates))
    page.section("equivalence", "Is it too small to matter?", equivalence_section.section(estimates))
    page.section("next", "What would settle it?", robustness_section.what_would_settle_it(page, estimates))
    depends = robustness_section.does_it_depend(results, estimates, examples)
    page.section("robustness", "Does the answer depend on how one asks?", depends)
    page.section("confusion", "Which classes are confused?", confusion_section.section(results, comparison))
    if reference:
        other = published.load(reference)
        beside = main_sections.beside_published(estimates, estimate(compare(other), other.margin), other.name)
        page.section("reference", "How does it compare with the published study?", beside)
    page.section("leakage", "Does the test stand in the training data?", leakage_section.section(results))
    page.section("runs", "Which runs are there?", completeness(results))
    page.section("methods", "Methods", main_sections.methods_list(methods(results, estimates)))
    page.section("provenance", "Provenance", provenance(results, datetime.now(UTC)))
    page.section("downloads", "Take the numbers away", downloads(page, results, estimates, curves))
