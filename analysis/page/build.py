"""The page of a study: every section in the order of a reader's questions, below the answer.

Each section module has one function `blocks`, which turns findings into blocks and reads nothing else. Next:
`analysis/page/masthead.py` for the answer, `analysis/page/document.py` for blocks and the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.findings import Findings
from analysis.page import (
    benefit_section,
    confusion_section,
    cost_section,
    curves_section,
    downloads_section,
    equivalence_section,
    growth_section,
    leakage_section,
    methods_section,
    plan_section,
    planning_section,
    provenance_section,
    reference_section,
    robustness_section,
    runs_section,
    shares_section,
)
from analysis.page.document import Block, Page
from analysis.page.masthead import masthead, progress
from analysis.page.wording import headline
from analysis.statistics.pairs import Comparison

_FOOTER = "One file, no network: data, charts and script are all inside. Made by the project's analysis.report."

#: Key (the address within the page), title, and what makes the blocks; a section without blocks is left out.
SECTIONS: tuple[tuple[str, str, Callable[[Findings], Iterable[Block]]], ...] = (
    ("where", "Where does it help?", benefit_section.blocks),
    ("growth", "Does the benefit grow with size?", growth_section.blocks),
    ("shares", "Does it help more with less data?", shares_section.blocks),
    ("curves", "How do the two arms learn?", curves_section.blocks),
    ("pairs", "Every run, seed by seed", runs_section.blocks),
    ("cost", "Was it worth the compute?", cost_section.blocks),
    ("equivalence", "Is it too small to matter?", equivalence_section.blocks),
    ("next", "What would settle it?", planning_section.blocks),
    ("robustness", "Does the answer depend on how one asks?", robustness_section.blocks),
    ("confusion", "Which classes are confused?", confusion_section.blocks),
    ("reference", "How does it compare with the published study?", reference_section.blocks),
    ("leakage", "Does the test stand in the training data?", leakage_section.blocks),
    ("runs", "Which runs are there?", plan_section.blocks),
    ("methods", "Methods", methods_section.blocks),
    ("provenance", "Provenance", provenance_section.blocks),
    ("downloads", "Take the numbers away", downloads_section.blocks),
)


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


def build(findings: Findings) -> Report:
    """The page that shows the findings of a study."""
    results = findings.results
    page = Page(title=f"{results.name}: is pretraining worth it?", choices=_choices(findings.comparison))
    for key, title, blocks in SECTIONS:
        page.add(key, title, blocks(findings))
    head = headline(findings)
    return Report(
        page=page,
        header=masthead(findings, head),
        headline=head.answer,
        progress=progress(results),
        is_complete=results.plan_known and results.runs.height >= results.plan.height,
    )


def _choices(comparison: Comparison) -> dict[str, list[str]]:
    """What a reader can single out: data sets by name, sizes from the smallest."""
    cells = comparison.estimable.sort("parameters", "model")
    return {
        "dataset": cells["dataset"].unique().sort().to_list(),
        "size": cells["size"].unique(maintain_order=True).to_list(),
    }
