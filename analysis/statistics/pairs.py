"""From runs to pairs: which runs are compared, and why.

A pair is two done runs of one setting and one seed that differ only in the initialisation; a cell is one setting with
its two arms. Differences are treated − control (pretrained − scratch), in percentage points for outcomes that are
fractions. Next: `analysis/statistics/estimates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import polars as pl

from analysis.results import Results, ResultsError
from sweep.schema import HYPERPARAMETERS

#: Columns that follow from the data and the above; they name a group only where nothing else differs.
DERIVED = ("train_examples", "data_digest")

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
    n_pretrainings, mean_treated, mean_control, effect, reason: null where the effect can be computed). `runs` and
    `pairs` hold the observations, scaled to the page's unit, with the `pretraining` that the (treated) run started
    from. `paired`: whether pairs or runs are analysed; `why`: the reason, in words.
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

    @property
    def estimable(self) -> pl.DataFrame:
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

    epochs: None takes the study's primary setting (see `primary_epochs`). variant: None takes the group of
    hyperparameters that the study declares (`analysis.group`) or, by default, the one with the most training data;
    groups are never averaged.
    """
    _, unit, factor = OUTCOMES.get(outcome, (outcome, "points", 100.0))
    epochs = primary_epochs(results, arms) if epochs is None else epochs
    settings = label_settings(results).filter(pl.col("epochs") == (epochs or 0))
    done = results.done.filter(pl.col("init").is_in(arms) & pl.col(outcome).is_not_null())
    done = done.with_columns(_pretraining().alias("pretraining"))
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
    variants = _order_variants(settings, pairs, results.group)
    if variant is None:
        variant = variants[0] if variants else ""
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


def primary_epochs(results: Results, arms: tuple[str, str] = ("pretrained", "scratch")) -> int | None:
    """The study's `analysis.epochs`, or the largest number of epochs that its plan has for both arms.

    Where no number of epochs has both arms, the largest of all; None without a plan.
    """
    chosen = (results.study.get("analysis") or {}).get("epochs")
    if chosen is not None:
        return int(chosen)
    by_epochs = results.plan.group_by("epochs").agg(pl.col("init").unique())
    both = by_epochs.filter(pl.col("init").list.contains(arms[0]) & pl.col("init").list.contains(arms[1]))
    candidates = both if both.height else by_epochs
    return None if candidates.is_empty() else int(candidates["epochs"].max())  # type: ignore[arg-type]


def label_settings(results: Results) -> pl.DataFrame:
    """One row per setting of the plan: model, size (short name), dataset, epochs, parameters, variant.

    `parameters` is one number a model (the median over its data sets, whose heads differ by a few weights). `variant`
    names the hyperparameters that differ between settings of one model, data set and number of epochs; it is empty
    where none do.
    """
    block = ["model", "dataset", "epochs"]
    settings = results.plan.group_by("setting_id", maintain_order=True).agg(
        *(pl.col(name).first() for name in block), pl.col("trainable_parameters").max()
    )
    per_model = settings.group_by("model").agg(
        pl.col("trainable_parameters").median().cast(pl.Int64).alias("parameters")
    )
    settings = settings.join(per_model, on="model", maintain_order="left")
    short = short_names(settings["model"].unique().sort().to_list())
    settings = settings.with_columns(pl.col("model").replace_strict(short, return_dtype=pl.String).alias("size"))
    known = results.runs.group_by("setting_id").agg(
        *(pl.col(name).first() for name in (*HYPERPARAMETERS, *DERIVED, "l_max"))
    )
    settings = settings.join(known, on="setting_id", how="left", maintain_order="left")
    settings = settings.with_columns(_variant(settings, block, HYPERPARAMETERS).alias("variant"))
    twice = pl.len().over([*block, "variant"]) > 1
    if settings.select(twice.any()).item():  # only then, because these columns also differ between data sets
        settings = settings.with_columns(_variant(settings, block, (*HYPERPARAMETERS, *DERIVED)).alias("variant"))
    prefix = pl.when(pl.col("variant") == "").then(pl.lit("")).otherwise(pl.col("variant") + ", ")
    own = pl.format("{}setting {}", prefix, pl.col("setting_id").str.slice(0, 12))
    return settings.with_columns(pl.when(twice).then(own).otherwise("variant").alias("variant"))


def _variant(settings: pl.DataFrame, block: list[str], names: Sequence[str]) -> pl.Expr:
    """The names and values of the columns that differ within some block."""
    spread = settings.group_by(block).agg(*(pl.col(name).drop_nulls().n_unique() for name in names))
    varied = [name for name in names if any(count > 1 for count in spread[name])]
    parts = [pl.format(f"{name} {{}}", pl.col(name).cast(pl.String)) for name in varied]
    return pl.concat_str(parts, separator=", ").fill_null("not run yet") if parts else pl.lit("")


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Names without the parts that all share, cut at hyphens: hyenadna-tiny-1k-seqlen → tiny-1k.

    Whole names where only a number would be left, as of nano-32 and nano-64.

    >>> short_names(["hyenadna-tiny-1k-seqlen", "hyenadna-large-1m-seqlen"])
    {'hyenadna-tiny-1k-seqlen': 'tiny-1k', 'hyenadna-large-1m-seqlen': 'large-1m'}
    """
    if len(models) < 2:
        return {name: name.removeprefix("hyenadna-").removesuffix("-seqlen") for name in models}
    split = [name.split("-") for name in models]
    head = _shared(split)
    tail = _shared([parts[head:][::-1] for parts in split])
    short = ["-".join(parts[head : len(parts) - tail]) for parts in split]
    all_have_letters = all(any(letter.isalpha() for letter in name) for name in short)
    return dict(zip(models, short if all_have_letters else models, strict=True))


def _shared(many: Sequence[Sequence[str]]) -> int:
    """How many leading parts are common to all."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*many, strict=False))
    return len(list(columns))


def _refuse_duplicates(done: pl.DataFrame) -> None:
    """Raises ResultsError where a seed occurs twice in an arm with the same weights: it would count twice."""
    duplicates = done.filter(pl.struct("setting_id", "init", "seed", "pretraining").is_duplicated())
    if duplicates.height:
        row = duplicates.row(0, named=True)
        raise ResultsError(
            f"{row['dataset']}, {row['model']}, {row['init']}, seed {row['seed']}: the plan lists this run more than "
            "once; a comparison needs one run per seed, arm and set of weights"
        )


def _pretraining() -> pl.Expr:
    """What tells the weights of one run from those of another: their digest or, where no run has it, their seed."""
    named = pl.format("{} {}", pl.col("corpus"), pl.col("pretraining_seed"))
    return pl.coalesce("weights_digest", named, "corpus")


def _pairs(done: pl.DataFrame, arms: tuple[str, str]) -> pl.DataFrame:
    """Each treated run with the control run of its seed and, where the control starts from weights, of its weights."""
    treated = done.filter(pl.col("init") == arms[0]).rename({"value": "treated"}).drop("init", "run_id")
    control = done.filter(pl.col("init") == arms[1])
    keys = ["setting_id", "seed"]
    if control["pretraining"].null_count() < control.height:
        keys.append("pretraining")
    control = control.select(*keys, pl.col("value").alias("control"))
    pairs = treated.join(control, on=keys, maintain_order="left")
    return pairs.with_columns((pl.col("treated") - pl.col("control")).alias("difference"))


def _order_variants(settings: pl.DataFrame, pairs: pl.DataFrame, group: Mapping[str, Any]) -> tuple[str, ...]:
    """The group that the study declares; then those with the most training examples, then pairs, then as planned.

    group: values of hyperparameters; where several variants have them, they keep the order of the others.
    """
    declared = pl.all_horizontal(pl.lit(value=True), *(_equals(settings, *item) for item in group.items()))
    ranked = settings.with_columns(declared.fill_null(value=False).alias("declared")).group_by(
        "variant", maintain_order=True
    )
    ranked = ranked.agg(pl.col("declared").all(), pl.col("train_fraction").max(), pl.col("train_examples").sum())
    counts = pairs.group_by("variant").agg(pl.len().alias("pairs"))
    ranked = ranked.join(counts, on="variant", how="left", maintain_order="left").with_columns(
        pl.col("pairs").fill_null(0), pl.col("train_examples", "train_fraction").fill_null(0)
    )
    ranked = ranked.with_columns((pl.col("pairs") > 0).alias("has_pairs"))
    order = ["declared", "has_pairs", "train_fraction", "train_examples", "pairs"]
    return tuple(ranked.sort(order, descending=True, maintain_order=True)["variant"])


def _equals(settings: pl.DataFrame, name: str, value: Any) -> pl.Expr:
    """Whether a setting has a value; numbers are compared as numbers, so 1 equals 1.0."""
    if name not in settings.columns:
        return pl.lit(value=False)
    if isinstance(value, int | float) and settings[name].dtype.is_numeric():
        return pl.col(name).cast(pl.Float64) == float(value)
    return pl.col(name).cast(pl.String) == str(value).lower() if isinstance(value, bool) else pl.col(name) == value


def _pairing(done: pl.DataFrame, pairs: pl.DataFrame, arms: tuple[str, str]) -> tuple[bool, str]:
    """Paired if every cell with both arms has a shared seed and some cell has two; otherwise unpaired if possible."""
    both = done.group_by("setting_id").agg(pl.col("init").n_unique()).filter(pl.col("init") == 2)
    shared = pairs["setting_id"].n_unique()
    if both.is_empty():
        return True, f"No cell has both a {arms[0]} and a {arms[1]} run, so nothing can be compared yet."
    left_out = _unpaired(done.filter(pl.col("setting_id").is_in(both["setting_id"].to_list())), pairs)
    freedom = pairs.height - shared
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


def _unpaired(done: pl.DataFrame, pairs: pl.DataFrame) -> int:
    """Number of runs whose seed is done in one arm only."""
    return done.join(pairs, on=["setting_id", "seed"], how="anti").height


def _cells(
    settings: pl.DataFrame, done: pl.DataFrame, pairs: pl.DataFrame, arms: tuple[str, str], *, paired: bool
) -> pl.DataFrame:
    def arm(init: str, name: str) -> pl.DataFrame:
        rows = done.filter(pl.col("init") == init).group_by("setting_id")
        columns = [pl.len().alias(f"n_{name}"), pl.col("value").mean().alias(f"mean_{name}")]
        if init == arms[0]:
            columns.append(pl.col("pretraining").drop_nulls().n_unique().alias("n_pretrainings"))
        return rows.agg(columns)

    paired_means = pairs.group_by("setting_id").agg(
        pl.len().alias("n_pairs"), pl.col("difference").mean(), pl.col("difference").std().alias("sd_pairs")
    )
    cells = settings.select("setting_id", "model", "size", "dataset", "epochs", "parameters", "l_max", "variant")
    for frame in (arm(arms[0], "treated"), arm(arms[1], "control"), paired_means):
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
    """Correlation of the arms over seeds within cells (pooled residuals); None under three residual degrees."""
    residual = pairs.select(
        (pl.col(name) - pl.col(name).mean().over("setting_id")).alias(name) for name in ("treated", "control")
    )
    if pairs.height - pairs["setting_id"].n_unique() < 3:
        return None
    moments = residual.select(
        (pl.col("treated") * pl.col("control")).sum().alias("product"),
        (pl.col("treated").pow(2).sum() * pl.col("control").pow(2).sum()).sqrt().alias("scale"),
    ).row(0)
    return None if moments[1] <= 0 else float(moments[0] / moments[1])
