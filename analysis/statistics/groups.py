"""Groups of hyperparameters: how settings are labelled, and which group and number of epochs the answer is about.

A group holds the settings that share all hyperparameters; groups are never averaged. Next:
`analysis/statistics/pairs.py`, which compares the arms within a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import polars as pl

from analysis.results import Results
from sweep.schema import HYPERPARAMETERS

#: Columns that follow from the data and the hyperparameters; they name a group only where nothing else differs.
DERIVED = ("train_examples", "data_digest")


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
    """One row per setting of the plan: model, size (short name), dataset, epochs, parameters, l_max, variant.

    `parameters` is one number a model (the median over its data sets, whose heads differ by a few weights). `variant`
    names the hyperparameters that differ between settings of one model, data set and number of epochs, and those of
    which the study lists several values; it is empty where there are none. The `HYPERPARAMETERS` are columns, too, null
    where no run of the setting has ended.
    """
    block = ["model", "dataset", "epochs"]
    settings = results.plan.group_by("setting_id", maintain_order=True).agg(
        *(pl.col(name).first() for name in block), pl.col("trainable_parameters").max()
    )
    per_model = settings.group_by("model").agg(
        pl.col("trainable_parameters").median().cast(pl.Int64).alias("parameters")
    )
    context = results.runs.group_by("model").agg(pl.col("l_max").max().cast(pl.Int64))
    settings = settings.join(per_model, on="model", maintain_order="left")
    settings = settings.join(context, on="model", how="left", maintain_order="left")
    short = short_names(settings["model"].unique().sort().to_list())
    settings = settings.with_columns(pl.col("model").replace_strict(short, return_dtype=pl.String).alias("size"))
    known = results.runs.group_by("setting_id").agg(*(pl.col(name).first() for name in (*HYPERPARAMETERS, *DERIVED)))
    settings = settings.join(known, on="setting_id", how="left", maintain_order="left")
    settings = settings.with_columns(_variant(results, settings, block, HYPERPARAMETERS).alias("variant"))
    twice = pl.len().over([*block, "variant"]) > 1
    if settings.select(twice.any()).item():  # only then, because these columns also differ between data sets
        everything = (*HYPERPARAMETERS, *DERIVED)
        settings = settings.with_columns(_variant(results, settings, block, everything).alias("variant"))
    prefix = pl.when(pl.col("variant") == "").then(pl.lit("")).otherwise(pl.col("variant") + ", ")
    own = pl.format("{}setting {}", prefix, pl.col("setting_id").str.slice(0, 12))
    return settings.with_columns(pl.when(twice).then(own).otherwise("variant").alias("variant"))


def _variant(results: Results, settings: pl.DataFrame, block: list[str], names: Sequence[str]) -> pl.Expr:
    """The names and values of the columns that differ within some block, or will when all of the study has run."""
    spread = settings.group_by(block).agg(*(pl.col(name).drop_nulls().n_unique() for name in names))
    vary = results.study.get("vary")
    lists = vary.items() if isinstance(vary, dict) else ()
    listed = [name for name, values in lists if isinstance(values, list) and len(values) > 1]
    varied = [name for name in names if name in listed or any(count > 1 for count in spread[name])]
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


def ordered_groups(
    results: Results, settings: pl.DataFrame, done: pl.DataFrame, pairs: pl.DataFrame
) -> tuple[str, ...]:
    """The groups that can be compared first, then by number of training examples, then by number of pairs.

    A group can be compared where some setting has runs of both arms in `done`. Training examples are relative to the
    largest number of the same data set, and averaged over settings. Groups that are equal in all of these stay in the
    order of the plan.
    """
    counts = results.done.group_by("setting_id").agg(pl.col("train_examples").max().alias("examples"))
    arms = done.group_by("setting_id").agg(pl.col("init").n_unique().alias("arms"))
    for frame in (counts, arms, pairs.group_by("setting_id").agg(pl.len().alias("pairs"))):
        settings = settings.join(frame, on="setting_id", how="left", maintain_order="left")
    of_largest = pl.coalesce(pl.col("examples") / pl.col("examples").max().over("dataset"), "train_fraction")
    settings = settings.with_columns(of_largest.alias("share"))
    groups = settings.group_by("variant", maintain_order=True).agg(
        (pl.col("arms") == 2).any().alias("comparable"),
        pl.col("share").mean().round(3).fill_null(0),  # numbers of examples are rounded, too
        pl.col("pairs").sum(),
    )
    order = ["comparable", "share", "pairs"]
    return tuple(groups.sort(order, descending=True, maintain_order=True)["variant"])


def headline_group(results: Results, settings: pl.DataFrame, groups: Sequence[str]) -> str:
    """The group that the answer is about: the first of `groups` with the values of `analysis.group` of the study.

    Where no setting is known to have these values, the name of a group without settings, so that nothing else is
    taken for it. Without `analysis.group`, the first group; "" without settings.
    """
    if not results.group:
        return groups[0] if groups else ""
    wanted = results.group.items()
    found = {
        row["variant"] for row in settings.iter_rows(named=True) if all(row[key] == value for key, value in wanted)
    }
    asked_for = ", ".join(f"{key} {value}" for key, value in wanted)
    return next((group for group in groups if group in found), asked_for)
