"""What a study will take: runs, time, cost, bytes, from what earlier runs of it took. `--plan` prints it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hyena.classifiers import classifier_bytes
from hyena.memory import peak_forecast
from sweep.memory import Kind, remembered
from sweep.resources import Share
from sweep.store import Store
from sweep.study import AUTO, Study
from sweep.trials import DataFacts, DataSpec, RunSpec
from sweep.words import duration, size

#: Bytes of a finished run's tables in the store, less its logits: most of it is what the columns mean.
RUN_TABLES_BYTES = 45_000
LARGE_GPU_BYTES = 80e9


def forecast(
    study: Study,
    store: Store,
    runs: Sequence[RunSpec],
    done: Collection[str],
    data: Mapping[str, tuple[DataSpec, DataFacts]],
    missing_data: Sequence[str],
    missing_weights: Mapping[str, str],
    cluster: Mapping[str, float],
) -> Iterator[str]:
    """The plan in lines.

    Args:
        runs: all runs whose data sets are known; `done` are the ids of those that are there already.
        missing_weights: by the model's name, what is to be said of those that are not there yet.
        cluster: Ray resources of the machine or cluster that the time is told for.
    """
    to_do = [run for run in runs if run.run_id not in done]
    planned = len(runs) + sum(point["datasets"] in missing_data for point in study.points())
    share = Share.of(study.resources, cluster)
    parallel = share.parallel(cluster)
    yield f"study      {study.name}: {study.description}".rstrip(": ")
    yield f"results    {store.uri}"
    yield f"runs       {planned} planned, {len(done)} done already, {planned - len(done)} to do"
    known, kinds = remembered(store).keys(), [Kind.of(run).key for run in to_do]
    part = _gpu_part(study, share, set(kinds), known)
    yield f"each run   {share.cpus} CPU core(s), {part}; {parallel} at once on this machine"
    unknown = [run for run, kind in zip(to_do, kinds, strict=True) if kind not in known]
    if unknown:
        yield f"memory     {_memory(unknown)}"
    yield f"time       {_cost(study, store, to_do, done, runs, share, parallel)}"
    yield f"bytes      about {size(sum(_run_bytes(study, run) for run in to_do))} more in the results folder"
    for name, (_, facts) in data.items():
        yield (
            f"data set   {name}: {facts.train_examples} training sequences, {facts.num_classes} classes, "
            f"longest {facts.longest}"
        )
    for name in missing_data:
        yield f"missing    data set {name}: would be downloaded"
    for name, what in missing_weights.items():
        yield f"missing    weights of {name}: {what}"


def _run_bytes(study: Study, run: RunSpec) -> int:
    """What a run will leave in the store."""
    facts = run.facts
    model = classifier_bytes(run.config, facts.num_classes) if study.keep_models else 0
    return RUN_TABLES_BYTES + facts.test_examples * facts.num_classes * 4 + model


def _memory(runs: Sequence[RunSpec]) -> str:
    """The largest of these runs, of which nothing is measured, and its part of a large GPU."""
    shapes = {
        (run.config, run.training.input_length(run.facts.longest), run.training.batch_size, run.facts.num_classes)
        for run in runs
    }
    largest = max(peak_forecast(*shape) for shape in shapes)
    return (
        f"about {size(round(largest))} for the largest run, {100 * largest / LARGE_GPU_BYTES:.2g} % of a GPU of 80 GB "
        "(a forecast from float32 on a CPU; a GPU is probed)"
    )


def _gpu_part(study: Study, share: Share, kinds: set[str], known: Collection[str]) -> str:
    """The part of a GPU that runs of these kinds get, in words."""
    if not share.gpus:
        return "no GPU"
    if study.resources.gpus != AUTO:
        return f"{share.gpus:g} of a GPU"
    unknown = len(kinds.difference(known))
    return f"a part of a GPU as measured ({len(kinds) - unknown} kinds of run known, {unknown} to be probed)"


@dataclass
class _Spent:
    """What finished runs took: relative work, seconds on their worker, and hours of a GPU (or cores) held."""

    runs: int = 0
    work: float = 0.0
    seconds: float = 0.0
    held_hours: float = 0.0


def _cost(
    study: Study,
    store: Store,
    to_do: Sequence[RunSpec],
    done: Collection[str],
    runs: Sequence[RunSpec],
    share: Share,
    parallel: int,
) -> str:
    """Time and cost of what is to do: each size at its own measured rate, sizes without any at the rate of all."""
    if not to_do:
        return "nothing is left to do"
    spent: dict[str, _Spent] = defaultdict(_Spent)
    by_id = {run.run_id: run for run in runs if run.run_id in done}
    for row in store.runs(["run_id", "train_s", "evaluate_s", "gpu_fraction", "cpus"]):
        if row["run_id"] in by_id:
            run, seconds = by_id[row["run_id"]], row["train_s"] + row["evaluate_s"]
            for name in (run.model, ""):
                spent[name].runs += 1
                spent[name].work += run.work
                spent[name].seconds += seconds
                spent[name].held_hours += seconds * (row["gpu_fraction"] or row["cpus"]) / 3600
    if not spent:
        return "not known before the first runs are done; plan again then"
    seconds = hours = 0.0
    for run in to_do:
        known = spent.get(run.model) or spent[""]
        seconds += run.work / known.work * known.seconds
        hours += run.work / known.work * known.held_hours
    unit, price = ("GPU" if share.gpus else "core"), study.resources.price_per_hour
    text = (
        f"about {duration(seconds / parallel)} here, {hours:.2f} {unit} hours (as the {spent[''].runs} runs done took)"
    )
    return text if price is None else f"{text}, cost {hours * price:.2f} at {price:g} an hour"
