"""From runs to pairs: which runs are compared, and why.

A pair is two done runs of one setting and one seed that differ only in the initialisation; a cell is one setting with
its two arms. Where a seed is run from several pretrainings, each of these runs makes a pair with the one control run of
the seed. Differences are treated − control (pretrained − scratch), in percentage points for outcomes that are
fractions. Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from analysis.results import Results, ResultsError
from analysis.statistics.groups import headline_group, label_settings, ordered_groups, primary_epochs

#: Outcome → (description, unit, factor from the table's unit to the page's).
OUTCOMES = {
    "test_accuracy": ("test accuracy after the last epoch", "points", 100.0),
    "best_epoch_test_accuracy": ("test accuracy at the epoch chosen on validation", "points", 100.0),
    "test_mcc": ("Matthews correlation on test", "points", 100.0),
    "test_f1": ("F1 on test", "points", 100.0),
    "test_precision": ("precision on test", "points", 100.0),
    "test_recall": ("recall on test", "points", 100.0),
    "test_auroc": ("area under the ROC curve on test", "points", 100.0),
    "test_loss": ("cross-entropy on test (lower is better)", "nats", 1.0),
    "best_test_accuracy_of_any_epoch": (
        "test accuracy at its best epoch (optimistic: chosen on test)",
        "points",
        100.0,
    ),
    "validation_accuracy": ("validation accuracy after the last epoch", "points", 100.0),
}


@dataclass(frozen=True)
class Comparison:
    """One outcome of two arms at one number of epochs and under one group of hyperparameters.

    `cells` has a row per setting in the plan (model, size, dataset, parameters, l_max, n_treated, n_control, n_pairs,
    n_pretrainings, mean_treated, mean_control, effect, reason: null where the effect can be computed). `l_max` is the
    context length in positions, null where no run of the model records it; `n_pretrainings` counts the distinct
    weights that the treated runs started from, 0 where they are unknown. `runs` and `pairs` hold the observations,
    scaled to the page's unit; `pretraining` identifies the weights that a run, or the treated run of a pair, started
    from, and is null for scratch and where they are unknown. `treated_run` and `control_run` of a pair are run ids.
    `paired`: whether pairs or runs are analysed; `why`: the reason, in words.
    """

    outcome: str
    unit: str
    arms: tuple[str, str]
    epochs: int | None
    variant: str
    variants: tuple[str, ...]
    cells: pl.DataFrame
    runs: pl.DataFrame
    pairs: pl.DataFrame
    paired: bool
    why: str
    correlation: float | None

    @property
    def gains_from_pairing(self) -> bool:
        """Whether the arms correlate enough over seeds (above 0.1) for pairs to narrow the intervals."""
        return self.correlation is not None and self.correlation > 0.1

    @cached_property
    def estimable(self) -> pl.DataFrame:
        """The rows of `cells` whose effect can be computed."""
        return self.cells.filter(pl.col("effect").is_not_null())

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Models with at least one estimable cell and their trainable parameters, smallest first."""
        frame = self.estimable.group_by("model").agg(pl.col("parameters").first()).sort("parameters", "model")
        return list(frame.iter_rows())


def compare(
    results: Results,
    outcome: str = "test_accuracy",
    epochs: int | None = None,
    variant: str | None = None,
    arms: tuple[str, str] = ("pretrained", "scratch"),
) -> Comparison:
    """Pair the done runs of a study.

    epochs: None takes the study's primary setting (see `primary_epochs`). variant: None takes the
    study's group of hyperparameters (see `headline_group`); groups are never averaged.
    """
    _, unit, factor = OUTCOMES.get(outcome, (outcome, "points", 100.0))
    epochs = primary_epochs(results, arms) if epochs is None else epochs
    settings = label_settings(results).filter(pl.col("epochs") == (epochs or 0))
    done = results.done.with_columns(_pretraining(results.done.columns).alias("pretraining"))
    done = done.filter(pl.col("init").is_in(arms) & pl.col(outcome).is_not_null())
    done = done.join(settings.select("setting_id", "variant", "parameters", "size"), on="setting_id")
    done = done.select(
        "run_id",
        "setting_id",
        "variant",
        "model",
        "size",
        "dataset",
        "parameters",
        "init",
        "seed",
        "pretraining",
        (pl.col(outcome) * factor).alias("value"),
    )
    _refuse_duplicates(done)
    pairs = _pairs(done, arms)
    variants = ordered_groups(results, settings, done, pairs)
    if variant is None:
        variant = headline_group(results, settings, variants)
    elif variant not in variants:
        raise ResultsError(f"no group of hyperparameters {variant!r}; there are: {', '.join(variants) or 'none'}")
    keep = pl.col("variant") == variant
    settings, done, pairs = settings.filter(keep), done.filter(keep), pairs.filter(keep)
    paired, why = _pairing(done, pairs, arms)
    return Comparison(
        outcome=outcome,
        unit=unit,
        arms=arms,
        epochs=epochs,
        variant=variant,
        variants=variants,
        cells=_cells(settings, done, pairs, arms, paired=paired),
        runs=done,
        pairs=pairs,
        paired=paired,
        why=why,
        correlation=_correlation(pairs) if paired else None,
    )


def _pretraining(columns: Iterable[str]) -> pl.Expr:
    """Identity of the weights that a run started from; null for scratch, and where no column of the run tells.

    Their digest; for a run that records none (it failed), that of another run from the same pretraining, or the corpus
    and the seed of the pretraining. Tables of earlier versions have the digest alone.
    """
    digest = pl.col("weights_digest")
    if not {"corpus", "pretraining_seed"} <= set(columns):
        return digest
    of_others = digest.drop_nulls().first().over("model", "corpus", "pretraining_seed")
    name = pl.concat_str("corpus", "pretraining_seed", separator=" ", ignore_nulls=True)
    return pl.coalesce(digest, pl.when(pl.col("corpus").is_not_null()).then(pl.coalesce(of_others, name)))


def _refuse_duplicates(done: pl.DataFrame) -> None:
    """Raises ResultsError where a seed occurs twice with the same weights: it would make two pairs out of one."""
    duplicates = done.filter(pl.struct("setting_id", "init", "seed", "pretraining").is_duplicated())
    if duplicates.height:
        row = duplicates.row(0, named=True)
        raise ResultsError(
            f"{row['dataset']}, {row['model']}, {row['init']}, seed {row['seed']}: the plan lists this run more than "
            "once with the same weights; a comparison needs one run per seed, arm and pretraining"
        )


def _pairs(done: pl.DataFrame, arms: tuple[str, str]) -> pl.DataFrame:
    """Each treated run with the control run of its seed: the one from the same weights where both start from weights.

    Where the weights of one of the two are unknown, the seed alone decides.
    """
    treated = done.filter(pl.col("init") == arms[0]).drop("init").rename({"value": "treated", "run_id": "treated_run"})
    control = done.filter(pl.col("init") == arms[1]).select(
        "setting_id",
        "seed",
        pl.col("pretraining").alias("of_control"),
        pl.col("run_id").alias("control_run"),
        pl.col("value").alias("control"),
    )
    pairs = treated.join(control, on=["setting_id", "seed"], maintain_order="left")
    differ = (pl.col("pretraining") != pl.col("of_control")).fill_null(value=False)
    pairs = pairs.filter(~differ).drop("of_control")
    return pairs.with_columns((pl.col("treated") - pl.col("control")).alias("difference"))


def _pairing(done: pl.DataFrame, pairs: pl.DataFrame, arms: tuple[str, str]) -> tuple[bool, str]:
    """Paired if every cell with both arms has a shared seed and some cell has two; otherwise unpaired if possible.

    Several pairs of one seed, from several pretrainings, do not show how seeds vary, so they count as one here.
    """
    both = done.group_by("setting_id").agg(pl.col("init").n_unique()).filter(pl.col("init") == 2)
    shared = pairs["setting_id"].n_unique()
    if both.is_empty():
        return True, f"No cell has both a {arms[0]} and a {arms[1]} run, so nothing can be compared yet."
    used = pairs["treated_run"].n_unique() + pairs["control_run"].n_unique()
    left_out = done.filter(pl.col("setting_id").is_in(both["setting_id"].to_list())).height - used
    freedom = pairs.select("setting_id", "seed").n_unique() - shared
    unpaired_freedom = done.height - done.select("setting_id", "init").n_unique()
    if shared == both.height and (freedom >= 1 or unpaired_freedom < 1):
        extra = f" {left_out} runs whose seed is done in only one arm are left out." if left_out else ""
        return True, f"Runs are paired by seed: every cell with both arms has seeds done in both.{extra}"
    if shared < both.height:
        cells = f"{both.height - shared} of {both.height} cells"
        return False, f"Arms are compared unpaired: in {cells} no seed is done in both arms."
    return (
        False,
        "Arms are compared unpaired: no cell has two seeds done in both arms, so the spread of pairs is unknown.",
    )


def _cells(
    settings: pl.DataFrame, done: pl.DataFrame, pairs: pl.DataFrame, arms: tuple[str, str], *, paired: bool
) -> pl.DataFrame:
    def arm(init: str, name: str, *more: pl.Expr) -> pl.DataFrame:
        rows = done.filter(pl.col("init") == init).group_by("setting_id")
        return rows.agg(pl.len().alias(f"n_{name}"), pl.col("value").mean().alias(f"mean_{name}"), *more)

    pretrainings = pl.col("pretraining").drop_nulls().n_unique().alias("n_pretrainings")
    paired_means = pairs.group_by("setting_id").agg(
        pl.len().alias("n_pairs"), pl.col("difference").mean(), pl.col("difference").std().alias("sd_pairs")
    )
    cells = settings.select("setting_id", "model", "size", "dataset", "epochs", "parameters", "l_max", "variant")
    for frame in (arm(arms[0], "treated", pretrainings), arm(arms[1], "control"), paired_means):
        cells = cells.join(frame, on="setting_id", how="left", maintain_order="left")
    cells = cells.with_columns(pl.col("n_treated", "n_control", "n_pairs", "n_pretrainings").fill_null(0))
    effect = pl.col("difference") if paired else pl.col("mean_treated") - pl.col("mean_control")
    reason = (
        pl.when((pl.col("n_treated") == 0) & (pl.col("n_control") == 0))
        .then(pl.lit("no run done"))
        .when(pl.col("n_treated") == 0)
        .then(pl.lit(f"no {arms[0]} run done"))
        .when(pl.col("n_control") == 0)
        .then(pl.lit(f"no {arms[1]} run done"))
        .when(effect.is_null())
        .then(pl.lit("no seed done in both arms"))
    )
    cells = cells.with_columns(effect.alias("effect"), reason.alias("reason")).drop("difference")
    return cells.sort("dataset", "parameters", "model")


def _correlation(pairs: pl.DataFrame) -> float | None:
    """Correlation of the arms over seeds within cells (pooled residuals); None under three residual degrees.

    A seed with several pretrainings counts once, with the mean of its treated runs.
    """
    seeds = pairs.group_by("setting_id", "seed", maintain_order=True).agg(pl.col("treated", "control").mean())
    residual = seeds.select(
        (pl.col(name) - pl.col(name).mean().over("setting_id")).alias(name) for name in ("treated", "control")
    )
    if seeds.height - seeds["setting_id"].n_unique() < 3:
        return None
    moments = residual.select(
        (pl.col("treated") * pl.col("control")).sum().alias("product"),
        (pl.col("treated").pow(2).sum() * pl.col("control").pow(2).sum()).sqrt().alias("scale"),
    ).row(0)
    return None if moments[1] <= 0 else float(moments[0] / moments[1])
