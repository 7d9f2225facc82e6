"""The lines of a plan, before anything is started."""

import dataclasses
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hyena.cost.step_rates import Jobs, Sample
from hyena.weights.classifiers import classifier_bytes
from sweep.forecast import forecast
from sweep.formatting import roughly, size, two_digits
from sweep.gpu_probe import Measured, MemoryKind, remember
from sweep.named_gpus import GPUS
from sweep.plan_request import PlanRequest
from sweep.planned_data import PlannedData, Unknown, planned_data
from sweep.run_times import flops_of
from sweep.schedule import sweep_seconds
from sweep.store import Store
from sweep.study import load_study
from sweep.study_weights import DOWNLOADED, MADE
from sweep.time_forecast import Measure, TimeForecast
from sweep.trials import plan
from tests.support.stored import row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 1e8
#: Six runs of one model, and those of another.
ONE_CELL = ("grid.epochs=[1]", 'grid.models=["small"]', "grid.seeds=[1,2,3,4,5,6]")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


def steady(jobs: Jobs, processes: int, threads: int, device_type: str) -> list[Sample]:
    """A probe that finds one rate for everything."""
    return [Sample(work, RATE) for work, _ in jobs]


def request(
    path: Path,
    store: Store,
    *overrides: str,
    cluster: Mapping[str, float] | None = None,
    unknown: Collection[str] = (),
) -> PlanRequest:
    """The plan of a study whose data sets are on this machine, except those that are `unknown`."""
    study = load_study(path, overrides)
    data = planned_data(study, None, None)
    data |= {name: Unknown("/data/mine does not exist") for name in unknown}
    known = {name: (one.spec, one.facts) for name, one in data.items() if isinstance(one, PlannedData)}
    keys = {one: f"weights-{one.name}" for one in study.pretrainings}
    return PlanRequest(
        study=study,
        store=store,
        runs=plan(study, known, keys),
        done=set(),
        data=data,
        keys=keys,
        missing_weights={one: MADE for one in study.pretrainings if one.model == "small"},
        corpus_bases=20_000,
        cluster={"CPU": 4, "GPU": 0, **(cluster or {})},
        notes=["said beside it"],
    )


def plan_lines(asked: PlanRequest, measure: Measure) -> list[str]:
    return list(forecast(TimeForecast(asked, measure)))


def said(asked: PlanRequest) -> str:
    found = plan_lines(asked, steady)
    assert all(line.isprintable() for line in found)  # one line each
    return "\n".join(found)


def finish(asked: PlanRequest, number: int, **values: object) -> PlanRequest:
    """The same after some of its runs are done."""
    for run in asked.runs[:number]:
        cells = {"status": "done", "failure": None, "finished_at": NOW, "train_s": 27.0, "evaluate_s": 9.0,
                 "cpus": 2.0, "gpu_fraction": 0.0}  # fmt: skip
        asked.store.write_run(row(run.run_id, **{**cells, **values}))
    return dataclasses.replace(asked, done={run.run_id for run in asked.runs[:number]})


def test_counts_parts_bytes_and_what_is_missing(path: Path, store: Store) -> None:
    text = said(request(path, store))
    assert "runs       24 planned, 0 done already, 24 to do" in text
    assert "each run   1 CPU core(s), no GPU; 4 at once on this machine" in text
    study = load_study(path)
    weights = sum(classifier_bytes(study.model(name), 2) for name in ("small", "large"))
    tables = 24 * (45_000 + 10 * 2 * 4)
    assert (
        f"bytes      about {size(tables + weights)} more in the results folder (pretrained weights {size(weights)}), "
        "and at most "
    ) in text
    assert "missing    weights of small (pretraining seeds 0): would be pretrained" in text
    assert "download " not in text
    assert text.endswith("\nnote       said beside it")


def test_kept_models_count_as_bytes(path: Path, store: Store) -> None:
    study = load_study(path)
    models = sum(classifier_bytes(study.model(name), 2) for name in study.grid.models) * 12
    text = said(request(path, store, "keep_models=true"))
    assert f"(models {size(models)}, pretrained weights " in text
    assert models > 100_000


def test_time_and_cost_are_the_operations_at_the_rate_that_was_probed(path: Path, store: Store) -> None:
    asked = request(path, store, *ONE_CELL, "resources.price_per_hour=0.5", "resources.cpus=2")
    each = [flops_of(asked.batches(run), "cpu") / RATE for run in asked.runs]
    making = [flops_of(asked.pretrainings[asked.study.pretrainings[0]], "cpu") / RATE]
    scratch, pretrained = ([s + 0.05 for s, run in zip(each, asked.runs, strict=True) if run.init == init]
                           for init in ("scratch", "pretrained"))  # fmt: skip
    (data,) = asked.data.values()
    assert isinstance(data, PlannedData)
    wall = sweep_seconds(making, scratch, pretrained, 2, data.letters)
    hours = (sum(making) + sum(each)) * 2 / 3600
    lines = said(asked).splitlines()
    assert (
        f"time       about {roughly(wall)} here, {two_digits(hours)} core hours, cost {two_digits(hours * 0.5)} at 0.5 "
        "an hour"
    ) in lines
    assert (
        "forecast   from training steps measured here (small at 120 positions 0.1 GFLOP/s, small at 100 positions "
        "0.1 GFLOP/s); such forecasts were within a factor of 1.5 (docs/planning.md)"
    ) in lines
    work = 1e9 * (sum(making) + sum(each)) * RATE / 1e18
    assert f"work       {two_digits(work)} GFLOP of floating-point work in 12 runs, " in "\n".join(lines)


@pytest.mark.parametrize(
    ("overrides", "said_of_it"),
    [
        ((), "1 pretraining of each of 2 sizes"),
        (
            ("pretraining.seeds=[4, 5]",),
            "2 pretrainings of each of 2 sizes (nested: each seed starts from one of them)",
        ),
        (
            ("pretraining.seeds=[4, 5, 6]",),
            "3 pretrainings of each of 2 sizes (nested: each seed starts from its own)",
        ),
        (
            ("pretraining.seeds=[4, 5]", "grid.design=crossed"),
            "2 pretrainings of each of 2 sizes (crossed: each seed starts from each of them)",
        ),
        (
            ("pretraining.seeds=[4, 5]", 'exclude=[{models=["large"], seeds=[2]}]'),
            "1 of large, 2 of small (nested: each seed starts from one of them)",
        ),
    ],
)
def test_all_pretrainings_count(path: Path, store: Store, overrides: tuple[str, ...], said_of_it: str) -> None:
    asked = request(path, store, *overrides)
    asked = dataclasses.replace(asked, missing_weights=dict.fromkeys(asked.study.pretrainings, MADE))
    seconds = {one.model: flops_of(batches, "cpu") / RATE for one, batches in asked.pretrainings.items()}
    number = {"small": len(asked.study.pretrainings_of("small")), "large": len(asked.pretrainings)}
    number["large"] -= number["small"]
    making = sum(number[model] * seconds[model] for model in seconds)
    time = TimeForecast(asked, steady)
    assert time.estimate is not None
    assert time.estimate.pretraining_hours == pytest.approx(making / 3600)
    each = sum(flops_of(asked.batches(run), "cpu") / RATE for run in asked.runs)
    assert time.estimate.hours == pytest.approx((making + each) / 3600)
    assert f"pretrain   {said_of_it}, {two_digits(making / 3600)} core hours" in time.lines()


def test_the_probe_is_asked_about_what_will_run_side_by_side(path: Path, store: Store) -> None:
    asked: list[tuple[int, int, str]] = []

    def noted(jobs: Jobs, processes: int, threads: int, device_type: str) -> list[Sample]:
        asked.append((processes, threads, device_type))
        assert [work.kind for work, _ in jobs].count("pretrain") == 1
        return steady(jobs, processes, threads, device_type)

    for cluster, overrides in (({"CPU": 9}, ("resources.cpus=2",)), ({"CPU": 64}, ONE_CELL), ({"GPU": 2.0}, ())):
        plan_lines(request(path, store, *overrides, cluster=cluster), noted)
    assert asked == [(4, 2, "cpu"), (13, 1, "cpu"), (1, 1, "cuda")]  # 12 runs and a pretraining are no more than 13


def test_other_programs_during_the_probe_are_mentioned(path: Path, store: Store) -> None:
    lines = plan_lines(request(path, store), lambda jobs, *_: [Sample(work, RATE, busy=0.4) for work, _ in jobs])
    assert "; other programs used 60 % of the cores meanwhile, which is not counted; such" in "\n".join(lines)


def test_a_probe_that_finds_nothing_leaves_an_assumed_rate(path: Path, store: Store) -> None:
    text = "\n".join(plan_lines(request(path, store, "resources.cpus=2"), lambda *_: []))
    assert (
        "forecast   from an assumed 60 GFLOP/s, because a probe of this machine found no rate in its 5 seconds: expect "
        "it to be off by a factor of up to 3"
    ) in text
    assert "time       about " in text


def test_runs_that_are_done_correct_the_forecast(path: Path, store: Store) -> None:
    """The runs of `small` took twice their forecast, on two cores each; `large` has none, and gets their factor."""
    asked = request(path, store, "grid.epochs=[1]", 'grid.init=["scratch"]')
    small = [run for run in asked.runs if run.model == "small"]
    expected = flops_of(asked.batches(small[0]), "cpu") / RATE
    plain = said(asked)
    done = finish(asked, 2, train_s=0.75 * expected, evaluate_s=0.25 * expected)
    assert [run.model for run in asked.runs[:2]] == ["small", "small"]
    text = said(done)
    assert "; corrected by the 2 runs done, which took 2 to 2 times as long as forecast" in text
    left = sum(flops_of(asked.batches(run), "cpu") / RATE for run in asked.runs[2:])
    assert f", {two_digits(2 * left / 3600)} core hours" in text
    assert "corrected" not in plain
    assert "6 planned, 2 done already, 4 to do" in text


def test_a_finished_study_costs_nothing_and_is_not_probed(path: Path, store: Store) -> None:
    asked = finish(request(path, store), 24)

    def unwanted(*_: object) -> list[Sample]:
        raise AssertionError

    text = "\n".join(plan_lines(asked, unwanted))
    assert "time       nothing is left to do" in text
    assert "bytes      about 0 B more in the results folder" in text
    assert "forecast" not in text


def test_runs_of_an_unknown_data_set_count_as_planned_and_are_named_as_left_out(path: Path, store: Store) -> None:
    more = ('exclude=[{datasets=["mine"], seeds=[3]}]', 'grid.datasets=["mine", "synthetic_tracts"]',
            'datasets.mine.format="csv"', 'datasets.mine.path="mine"')  # fmt: skip
    asked = request(path, store, *more, unknown=["mine"])
    text = said(asked)
    assert "40 planned, 0 done already, 40 to do" in text
    assert " core hours, without the 16 runs whose data set is not on this machine" in text
    assert "missing    data set mine: /data/mine does not exist" in text
    assert "data set   mine" not in text
    assert "time       unknown: the 16 runs whose data set is not on this machine are left" in said(finish(asked, 24))


def test_official_data_sets_and_published_weights_are_planned_without_them(tmp_path: Path, store: Store) -> None:
    study = tmp_path / "official.toml"
    study.write_text("""
[grid]
models = ["hyenadna-tiny-1k-seqlen"]
datasets = ["human_nontata_promoters"]
seeds = [1, 2]
epochs = [15]
""")
    asked = request(study, store)
    asked = dataclasses.replace(asked, missing_weights=dict.fromkeys(asked.study.pretrainings, DOWNLOADED))
    text = said(asked)
    assert "runs       4 planned, 0 done already, 4 to do" in text
    assert " core hours, without downloads\n" in text
    assert (
        "data set   human_nontata_promoters: 27097 training sequences, 2 classes, longest 251 (official figures)"
        in text
    )
    assert (
        "missing    data set human_nontata_promoters: not on this machine, would be downloaded (about 9.78 MB)" in text
    )
    assert "missing    weights of hyenadna-tiny-1k-seqlen: would be downloaded (about 1.8 MB)" in text
    assert "download   about 11.6 MB: data sets 9.78 MB, weights 1.8 MB; 9.65 MB more in the cache of tokens" in text
    tables = 4 * (45_000 + 9_034 * 2 * 4)
    assert f"bytes      about {size(tables + 1_803_090)} more" in text


def test_a_named_gpu_replaces_this_machine(path: Path, store: Store) -> None:
    def unwanted(*_: object) -> list[Sample]:
        raise AssertionError

    gpu = GPUS["A100"]
    asked = dataclasses.replace(
        request(path, store, *ONE_CELL, "resources.price_per_hour=2", cluster={"CPU": 1, "GPU": 1}), gpu=gpu
    )
    text = "\n".join(plan_lines(asked, unwanted))
    assert "each run   a whole A100 (a sweep measures how many runs can share it)" in text
    assert " % of the 40 GB of one A100 (a forecast" in text
    assert " on one A100, " in text
    assert " GPU hours, cost " in text
    assert (
        "forecast   derived from the published peak rates of A100, not measured: expect it to be off by a factor of up "
        "to 3"
    ) in text


def test_runs_on_another_type_of_gpu_correct_nothing(path: Path, store: Store) -> None:
    on_gpu = {"gpu_fraction": 0.5, "device": "NVIDIA H100 80GB HBM3"}
    asked = finish(request(path, store, cluster={"CPU": 1, "GPU": 1}), 3, **on_gpu)
    for name, told in (("H100", True), ("A100", False)):
        text = "\n".join(plan_lines(dataclasses.replace(asked, gpu=GPUS[name]), lambda *_: []))
        assert ("corrected by the 3 runs done" in text) == told


def test_gpu_fractions_are_shown_as_far_as_they_are_known(path: Path, store: Store) -> None:
    gpu = {"CPU": 8, "GPU": 1}
    assert "0 kinds of run known, 2 to be probed" in said(request(path, store, cluster=gpu))
    run = request(path, store).runs[0]
    remember(store, MemoryKind.of(run).key, "nvidia-a100", [Measured("NVIDIA A100", 1, 0, 1, 1, 0.1)])
    assert "1 kinds of run known, 1 to be probed" in said(request(path, store, cluster=gpu))
    assert "0.5 of a GPU; 2 at once" in said(request(path, store, "resources.gpus=0.5", cluster=gpu))


def test_memory_is_forecast_where_it_has_not_been_measured(path: Path, store: Store) -> None:
    asked = request(path, store)
    assert "for the largest run" in said(asked)
    for run in asked.runs:
        remember(store, MemoryKind.of(run).key, "some-gpu", [Measured("some gpu", 10, 1, 1, 1, 0.1)])
    assert "for the largest run" not in said(asked)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0.4 seconds"), (52.4, "52 seconds"), (131, "2.2 minutes"), (5_000, "83 minutes"), (12_345, "3.4 hours"),
     (170_000, "47 hours"), (4_924_800, "57 days"), (84_924_800, "980 days")],
)  # fmt: skip
def test_times_have_two_digits(seconds: float, words: str) -> None:
    assert roughly(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (0.03449, "0.034"), (0.5, "0.5"), (1.25, "1.2"), (99.6, "100"), (2_749, "2,700")]
)
def test_figures_have_two_digits(value: float, words: str) -> None:
    assert two_digits(value) == words
