"""The lines of a plan: what a study will take, before it runs. `--plan` prints them; docs/planning.md explains them."""

from __future__ import annotations

from collections.abc import Iterator

from hyena.cost.memory_forecast import peak_forecast
from hyena.weights.classifiers import classifier_bytes
from sweep.formatting import size
from sweep.gpu_probe import MemoryKind, remembered
from sweep.plan_request import PlanRequest
from sweep.planned_data import PlannedData
from sweep.pretrainings import PretrainingId
from sweep.study import AUTO
from sweep.study_weights import DOWNLOADED, MADE, stored
from sweep.time_forecast import TimeForecast
from sweep.workload import state_bytes

#: Bytes of a finished run's tables in the store, without its logits; mostly descriptions of the columns.
RUN_TABLES_BYTES = 45_000
LARGE_GPU_BYTES = 80e9


def forecast(time: TimeForecast) -> Iterator[str]:
    """The plan in lines, with its time; each as soon as it is known, for a probe of this machine takes seconds."""
    plan = time.plan
    study, store = plan.study, plan.store
    planned, done = len(plan.runs) + plan.unknown, len(plan.done)
    yield f"study      {study.name}: {study.description}".rstrip(": ")
    yield f"results    {store.uri}"
    yield f"runs       {planned} planned, {done} done already, {planned - done} to do"
    yield f"each run   {_each_run(plan)}"
    if memory := _memory(plan):
        yield f"memory     {memory}"
    yield from time.lines()
    yield f"bytes      {_bytes(plan)}"
    if download := _download(plan):
        yield f"download   {download}"
    yield from _data(plan)
    yield from _missing_weights(plan)
    for note in plan.notes:
        yield f"note       {note}"


def _each_run(plan: PlanRequest) -> str:
    """The resources of a run, and how many run at once."""
    if plan.gpu is not None:
        return f"a whole {plan.gpu.name} (a sweep measures how many runs can share it)"
    kinds = {MemoryKind.of(run).key for run in plan.to_do}
    known, share, gpus_wanted = remembered(plan.store).keys(), plan.share, plan.study.resources.gpus
    part = f"{share.gpus:g} of a GPU"
    if not share.gpus:
        part = "no GPU"
    elif gpus_wanted == AUTO:
        unknown = len(kinds.difference(known))
        part = f"a fraction of a GPU as measured ({len(kinds) - unknown} kinds of run known, {unknown} to be probed)"
    return f"{share.cpus} CPU core(s), {part}; {share.parallel(plan.cluster)} at once on this machine"


def _memory(plan: PlanRequest) -> str:
    """Memory of the largest run that has not been measured, as a part of a large GPU or of the one asked about."""
    known = remembered(plan.store).keys()
    shapes = {
        (run.config, run.training.input_length(run.facts.longest), run.training.batch_size, run.facts.num_classes)
        for run in plan.to_do
        if MemoryKind.of(run).key not in known
    }
    if not shapes:
        return ""
    largest, gpu = max(peak_forecast(*shape) for shape in shapes), plan.gpu
    whole = gpu.memory_bytes if gpu else LARGE_GPU_BYTES
    which = f"the {size(whole)} of one {gpu.name}" if gpu else f"a GPU with {size(whole)}"
    return (
        f"about {size(round(largest))} for the largest run, {100 * largest / whole:.2g} % of {which} "
        "(a forecast from float32 on a CPU; a GPU is probed)"
    )


def _bytes(plan: PlanRequest) -> str:
    """How much the results folder grows, and the most that it holds meanwhile."""
    study = plan.study
    tables = sum(RUN_TABLES_BYTES + run.facts.test_examples * run.facts.num_classes * 4 for run in plan.to_do)
    kept = plan.to_do if study.keep_models else []
    models = sum(classifier_bytes(run.config, run.facts.num_classes) for run in kept)
    needed = {run.pretraining for run in plan.to_do if run.pretraining is not None}
    absent = [one for one in needed if not stored(plan.store, plan.keys[one])]
    weights = sum(classifier_bytes(study.model(one.model), 2) for one in absent)
    parts = {"models": models, "pretrained weights": weights}
    named = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
    text = f"about {size(tables + models + weights)} more in the results folder" + (f" ({named})" if named else "")
    largest = sorted((state_bytes(run) for run in plan.to_do if run.training.epochs > 1), reverse=True)
    meanwhile = sum(largest[: plan.share.parallel(plan.cluster) * plan.share.stack])
    return f"{text}, and at most {size(meanwhile)} of checkpoints meanwhile" if meanwhile else text


def _download(plan: PlanRequest) -> str:
    """How much would be downloaded, and how much the caches grow."""
    study = plan.study
    fetched = [data for data in plan.data.values() if isinstance(data, PlannedData) and data.download]
    archives, cache = sum(data.archive_bytes for data in fetched), sum(data.cache_bytes for data in fetched)
    weights = sum(
        classifier_bytes(study.model(one.model), 2) for one, what in plan.missing_weights.items() if what == DOWNLOADED
    )
    if not archives + weights:
        return ""
    parts = {"data sets": archives, "weights": weights}
    named = ", ".join(f"{name} {size(round(count))}" for name, count in parts.items() if count)
    text = f"about {size(round(archives + weights))}: {named}"
    return f"{text}; {size(round(cache))} more in the cache of tokens" if cache else text


def _missing_weights(plan: PlanRequest) -> Iterator[str]:
    """Weights that are not here, those of a size with the same reason on one line."""
    by_line: dict[tuple[str, str], list[PretrainingId]] = {}
    for one, what in plan.missing_weights.items():
        by_line.setdefault((one.model, what), []).append(one)
    for (model, what), some in by_line.items():
        seeds = f" (pretraining seeds {', '.join(str(one.seed) for one in some)})" if what == MADE else ""
        more = f" (about {size(classifier_bytes(plan.study.model(model), 2))})" if what == DOWNLOADED else ""
        yield f"missing    weights of {model}{seeds}: {what}{more}"


def _data(plan: PlanRequest) -> Iterator[str]:
    for name, data in plan.data.items():
        if isinstance(data, PlannedData):
            facts, source = data.facts, f" ({data.source})" if data.source else ""
            yield (
                f"data set   {name}: {facts.train_examples} training sequences, {facts.num_classes} classes, "
                f"longest {facts.longest}{source}"
            )
    for name, data in plan.data.items():
        if data.missing:
            fetched = data.archive_bytes if isinstance(data, PlannedData) and data.download else 0
            more = f" (about {size(round(fetched))})" if fetched else ""
            yield f"missing    data set {name}: {data.missing}{more}"
