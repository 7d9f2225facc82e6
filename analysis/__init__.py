"""From a results folder to estimates, and to one HTML page. Loads neither torch nor Ray, and nothing heavy until used.

    results.py                         what a results folder holds, as frames
    statistics/                        which runs are compared, estimates, intervals, verdicts
    findings.py                        everything that a page shows, read and computed
    page/                              sections, charts, wording, the HTML file
    report.py                          the command: `python -m analysis.report RESULTS -o report.html`
    published.py                       the study published in 2024, as a reference

In a notebook, the names in `__all__` are the doors:

    import analysis
    results = analysis.load("results/quickstart")     # a folder, s3:// or gs://
    found = analysis.estimate(results)                # estimates with intervals and verdicts
    found.growth.verdict                              # a `Verdict`, by the study's margin
    found.frame("sizes")                              # a Polars frame
    analysis.charts.forest(found)                     # an Altair chart
    analysis.compare(results, outcome="test_mcc")     # another outcome, number of epochs or group of runs
    analysis.published.load("badici2024")             # the reference, loaded

Open `analysis/statistics/estimates.py` first.
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

    margin: the smallest difference that matters, in the outcome's unit (percentage points for accuracy). None takes
    the study's own; for a comparison, which has none, 0.5.
    """
    from analysis.results import DEFAULT_MARGIN, Results
    from analysis.statistics.estimates import estimate as estimate_comparison
    from analysis.statistics.pairs import compare

    if isinstance(source, Results):
        return estimate_comparison(
            compare(source), source.margin if margin is None else margin, source.looks, source.tau_scale
        )
    return estimate_comparison(source, DEFAULT_MARGIN if margin is None else margin)


def __getattr__(name: str) -> Any:
    """Imports the other doors when they are first used."""
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has: {', '.join(__all__)}")
