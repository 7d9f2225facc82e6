"""Everything that a page shows, read and computed before the first section is rendered.

`gather` reads the files that loading left alone (predictions, audits of leakage) and computes every estimate and table;
what it returns is plain data, so that sections are functions of it alone. Next: `analysis/page/build.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from analysis import published
from analysis.results import Results
from analysis.statistics.curves import cost_table, curve_table, epochs_to_target, pretraining_table, price_table
from analysis.statistics.estimates import Estimates, estimate
from analysis.statistics.example_tests import ExampleTests, example_tests
from analysis.statistics.leakage import LeakageAudits, leakage_audits
from analysis.statistics.new_test_sequences import NewTestSequences, for_new_test_sequences
from analysis.statistics.pairs import Comparison, compare
from analysis.statistics.power import PrecisionPlan, precision_plan
from analysis.statistics.robustness import Robustness, cells_at_chance, robustness
from analysis.statistics.run_tables import (
    ConfusionMatrix,
    confusion_matrices,
    downloads,
    plan_status,
)
from analysis.statistics.training_share import ShareBenefit, by_training_share


@dataclass(frozen=True)
class Reference:
    """A published study beside this one; the two are never pooled."""

    name: str
    estimates: Estimates


@dataclass(frozen=True)
class Findings:
    """What was read and computed of one study. Frames are described where they are computed.

    `robustness` is None where no effect can be estimated, `new_test_sequences` where predictions are lacking,
    `precision_plan` where nothing can be planned, `reference` where none was asked for. `caveats`: known faults of the
    study, shown before the numbers. `generated_at`: UTC.
    """

    results: Results
    estimates: Estimates
    caveats: tuple[str, ...]
    generated_at: datetime
    cells_at_chance: pl.DataFrame
    curves: pl.DataFrame
    targets: pl.DataFrame
    costs: pl.DataFrame
    prices: pl.DataFrame
    pretraining: pl.DataFrame
    shares: tuple[ShareBenefit, ...]
    precision_plan: PrecisionPlan | None
    robustness: Robustness | None
    examples: ExampleTests
    new_test_sequences: NewTestSequences | None
    confusion: tuple[ConfusionMatrix, ...]
    reference: Reference | None
    leakage: LeakageAudits
    plan_status: pl.DataFrame
    downloads: dict[str, pl.DataFrame]

    @property
    def comparison(self) -> Comparison:
        return self.estimates.comparison


def gather(results: Results, caveats: Sequence[str] = (), reference: str | None = None) -> Findings:
    """All findings of a study; predictions, which take longest to read, are read while the rest is computed.

    reference: name of a published study to set beside it. Raises ResultsError for an unknown name.
    """
    comparison = compare(results)
    with ThreadPoolExecutor(max_workers=1) as pool:
        examples = pool.submit(example_tests, results, comparison)
        estimates = estimate(comparison, results.margin, results.looks, results.tau_scale)
        curves = curve_table(results, comparison)
        costs = cost_table(results, comparison)
        checks = None if estimates.overall.effect is None else robustness(results, estimates)
        tested = examples.result()
        return Findings(
            results=results,
            estimates=estimates,
            caveats=tuple(caveats),
            generated_at=datetime.now(UTC),
            cells_at_chance=cells_at_chance(results, comparison),
            curves=curves,
            targets=epochs_to_target(curves, comparison),
            costs=costs,
            prices=price_table(results, comparison, costs),
            pretraining=pretraining_table(results),
            shares=by_training_share(results, comparison),
            precision_plan=precision_plan(results, estimates),
            robustness=checks,
            confusion=confusion_matrices(results, comparison),
            reference=_reference(reference),
            leakage=leakage_audits(results),
            plan_status=plan_status(results),
            downloads=downloads(results, estimates, curves),
            examples=tested,
            new_test_sequences=for_new_test_sequences(estimates, tested.test_sets),
        )


def _reference(name: str | None) -> Reference | None:
    if not name:
        return None
    results = published.load(name)
    return Reference(results.name, estimate(compare(results), results.margin))
