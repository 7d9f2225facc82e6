"""From Parquet to the page. Loads neither torch nor Ray, and nothing heavy until it is used.

    folder.py, tables.py, results.py  what a results folder holds  ->  pairs.py  which runs are compared
    ->  contrasts.py, estimates.py  how much, how sure  ->  robustness.py, power.py  other ways to ask, what next
    ->  words.py, charts.py, curves.py  sentences and figures
    ->  sections.py, run_sections.py, training_share.py, equivalence.py, robustness_section.py, confusion_section.py,
        leakage_section.py, completeness.py, provenance.py, page.py, files.py  what the page shows
    ->  build.py  the whole page  ->  report.py  the command

In a notebook:

    import analysis
    found = analysis.estimate(analysis.load("results/quickstart"))
    found.frame("sizes")                # a Polars frame
    analysis.charts.forest(found)       # an Altair chart
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import published
    from analysis.page import charts
    from analysis.results import Results, load
    from analysis.statistics.estimates import Estimates
    from analysis.statistics.pairs import Comparison, compare

__all__ = ["charts", "compare", "estimate", "load", "published"]

_FUNCTIONS = {"load": "analysis.results", "compare": "analysis.statistics.pairs"}
_MODULES = {"charts": "analysis.page.charts", "published": "analysis.published"}


def estimate(source: Results | Comparison, margin: float | None = None) -> Estimates:
    """All estimates of loaded results, or of one comparison made by `analysis.compare`.

    margin: the smallest difference that matters, in points; None takes the study's own (0.5 for a bare comparison).
    """
    from analysis.results import DEFAULT_MARGIN, Results
    from analysis.statistics.estimates import estimate as estimate_comparison
    from analysis.statistics.pairs import compare

    if isinstance(source, Results):
        return estimate_comparison(compare(source), source.margin if margin is None else margin)
    return estimate_comparison(source, DEFAULT_MARGIN if margin is None else margin)


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has: {', '.join(__all__)}")
