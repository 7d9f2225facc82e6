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

_FOOTER = "This file holds all its data, charts and scripts, and loads nothing from the network."

#: Key (its anchor in the page), title, and the function that makes its blocks; an empty section is left out.
SECTIONS: tuple[tuple[str, str, Callable[[Findings], Iterable[Block]]], ...] = (
    ("where", "Where does pretraining help?", benefit_section.blocks),
    ("growth", "Does the benefit grow with model size?", growth_section.blocks),
    ("shares", "Does pretraining help more with less training data?", shares_section.blocks),
    ("curves", "Learning curves", curves_section.blocks),
    ("pairs", "Accuracy of every run", runs_section.blocks),
    ("cost", "Is pretraining worth the compute?", cost_section.blocks),
    ("equivalence", "Is the difference too small to matter?", equivalence_section.blocks),
    ("next", "How many more runs would settle the question?", planning_section.blocks),
    ("robustness", "Robustness checks", robustness_section.blocks),
    ("confusion", "Confusion matrices", confusion_section.blocks),
    ("reference", "Comparison with the published study", reference_section.blocks),
    ("leakage", "Do test sequences overlap the training set?", leakage_section.blocks),
    ("runs", "Completed, failed and missing runs", plan_section.blocks),
    ("methods", "Methods", methods_section.blocks),
    ("provenance", "Provenance", provenance_section.blocks),
    ("downloads", "Download the tables", downloads_section.blocks),
)


@dataclass(frozen=True)
class Report:
    """A finished page, the sentences that it opens with, and the progress of the study."""

    page: Page
    header: str
    headline: str
    progress: str
    is_complete: bool

    def html(self, reload_s: int | None = None) -> str:
        """The HTML file. reload_s: seconds after which a followed page reloads itself; None for a final one."""
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
    """What a reader can highlight: data sets by name, sizes from the smallest."""
    cells = comparison.estimable.sort("parameters", "model")
    return {
        "dataset": cells["dataset"].unique().sort().to_list(),
        "size": cells["size"].unique(maintain_order=True).to_list(),
    }
