"""One trial on one worker, step by step: what it writes to the store, and what it reports."""

import dataclasses
import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import hyena.training.cuda_graphs
from hyena.data.synthetic import SyntheticConfig
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.loop import PreparedData
from hyena.training.optimisation import predict
from hyena.training.recipe import TRAINING_VALUES, TrainingConfig, values_affecting
from hyena.training.stacked_run import StackedRun
from hyena.weights.classifiers import load_classifier
from sweep import trainable as module
from sweep.resources import Share
from sweep.schema import RunRow
from sweep.store import Store, StoreError
from sweep.study_weights import put
from sweep.trainable import Assignment, Outcome, TrialTrainable
from sweep.trials import DataSpec, Trial, facts_of, load_data
from tests.support.runs import OTHER_VALUES, RUN

SPEC = DataSpec(
    "synthetic_diverged_tracts",
    None,
    SyntheticConfig(genome_bases=10_000, sequence_length=40, train_examples=24, test_examples=8),
    None,
)
CPU = Share(cpus=1, gpus=0.0, concurrent_trials=1)


@pytest.fixture
def spec() -> Any:
    training = TrainingConfig(epochs=3, batch_size=8, max_length=40)
    return dataclasses.replace(
        RUN, data=SPEC, facts=facts_of(load_data(SPEC)), training=training, config=HyenaConfig(8, 1, 42)
    )


@pytest.fixture
def start(spec: Any, tmp_path: Path) -> Callable[..., TrialTrainable]:
    def start(
        *seeds: int, share: Share = CPU, results: str = str(tmp_path), keep_models: bool = False, **values: Any
    ) -> TrialTrainable:
        runs = [dataclasses.replace(spec, run_id=str(seed), seed=seed, **values) for seed in seeds or (0,)]
        by_id = {run.run_id: run for run in runs}
        assignment = Assignment(by_id, dict.fromkeys(by_id, share), results, None, keep_models)
        worker = TrialTrainable.__new__(TrialTrainable)  # without Tune around it
        worker.setup({"trial": Trial(tuple(runs)).config()}, assignment)
        return worker

    return start


def outcomes(worker: TrialTrainable, most: int = 10) -> list[Outcome]:
    found = []
    for _ in range(most):
        found.append(worker.step()["outcome"])
        if found[-1] not in (Outcome.UNFINISHED, Outcome.REFUSED):
            return found
    return found


def rows(tmp_path: Path) -> list[RunRow]:
    found = Store(str(tmp_path)).runs(["run_id", "status", "failure", "test_loss", "stacked_runs"])
    return sorted(found, key=lambda row: row["run_id"])


def removed_rows(tmp_path: Path) -> list[RunRow]:
    """The rows, which are then deleted from the store, so that their runs can be repeated."""
    found = rows(tmp_path)
    for row in found:
        Store(str(tmp_path)).delete(f"runs/{row['run_id']}.parquet")
    return found


def test_every_epoch_writes_a_checkpoint_and_the_last_one_the_rows(start: Any, tmp_path: Path) -> None:
    worker, store = start(), Store(str(tmp_path))
    assert worker.step()["epoch"] == 1
    assert store.names("checkpoints") == [f"{RUN.run_id}.pt"]
    assert outcomes(worker) == [Outcome.UNFINISHED, Outcome.ENDED]
    assert store.names("checkpoints") == []
    assert [row["status"] for row in rows(tmp_path)] == ["done"]
    assert "models" not in store.names("")


def test_another_worker_resumes_with_the_same_result(start: Any, tmp_path: Path) -> None:
    outcomes(start())
    (undisturbed,) = removed_rows(tmp_path)
    start().step()
    assert start().step()["epoch"] == 2
    assert outcomes(start()) == [Outcome.ENDED]
    assert rows(tmp_path) == [undisturbed]  # bit for bit


def test_settings_of_one_seed_see_their_examples_in_different_orders(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_AFTER_S", 0.0)  # so that the first step ends within the epoch
    orders = []
    for number, values in enumerate(({}, {"init": "frozen"}, {"setting_id": "another"})):
        worker = start(1, results=str(tmp_path / str(number)), **values)
        worker.step()
        orders.append(worker.group.stack.under_way.order[0].tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@pytest.mark.parametrize("spoilt", ["empty", "text", "cut", "another model's", "another program's"])
def test_a_damaged_checkpoint_is_reported_and_its_run_begins_anew(start: Any, tmp_path: Path, spoilt: str) -> None:
    outcomes(start(1, 2))
    undisturbed, store = removed_rows(tmp_path), Store(str(tmp_path))
    start(1, 2).step()
    whole = store.read("checkpoints/1.pt")
    assert whole is not None
    state = torch.load(io.BytesIO(whole), weights_only=True)
    state["model"] = {name: torch.zeros(3) for name in state["model"]}
    others = {"another model's": state, "another program's": {"epoch": 3}}
    buffer = io.BytesIO()
    torch.save(others.get(spoilt), buffer)
    store.write("checkpoints/1.pt", {"empty": b"", "text": b"hello", "cut": whole[:-99]}.get(spoilt, buffer.getvalue()))
    worker = start(1, 2)
    assert worker.step()["begun_anew"] == ["1"]
    assert set(outcomes(worker)) == {Outcome.UNFINISHED, Outcome.ENDED}
    measured = [(row["run_id"], row["status"], row["test_loss"]) for row in rows(tmp_path)]
    assert measured == [(row["run_id"], "done", pytest.approx(row["test_loss"], abs=1e-5)) for row in undisturbed]


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_sigterm_checkpoints_the_unfinished_epoch_before_the_worker_ends(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...]
) -> None:
    outcomes(start(*seeds))
    undisturbed = removed_rows(tmp_path)

    steps, step = [], hyena.training.cuda_graphs.optimisation_step

    def told(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 5:  # the second of three steps of the second epoch
            signal.raise_signal(signal.SIGTERM)
        return step(*arguments)

    def end(signum: int, frame: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(hyena.training.cuda_graphs, "optimisation_step", told)
    own = signal.signal(signal.SIGTERM, end)
    try:
        worker = start(*seeds)
        worker.step()
        report = worker.step()
        assert report["epoch"] + report["part"] == pytest.approx(1 + 2 / 3)
        with pytest.raises(SystemExit):
            worker.step()
    finally:
        signal.signal(signal.SIGTERM, own)
    assert len(steps) == 5
    assert outcomes(start(*seeds)) == [Outcome.UNFINISHED, Outcome.ENDED]
    assert len(steps) == 9  # none was taken twice
    assert rows(tmp_path) == undisturbed  # bit for bit


def test_a_long_epoch_is_checkpointed_in_parts(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes(start())
    (undisturbed,) = removed_rows(tmp_path)
    monkeypatch.setattr(module, "CHECKPOINT_AFTER_S", 0.0)
    worker = start()
    reports = [worker.step() for _ in range(4)]
    assert [report["epoch"] + report["part"] for report in reports] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3])
    assert outcomes(start())[-1] == Outcome.ENDED  # another worker, from within the second epoch
    assert rows(tmp_path) == [undisturbed]  # bit for bit


def test_nothing_is_trained_twice_where_writes_fail_for_a_while(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes(start())
    (undisturbed,) = removed_rows(tmp_path)

    calls, write, trained = [0], Store.write, []
    advance = StackedRun.train_and_evaluate

    def sometimes(store: Store, name: str, data: bytes, **how: bool) -> None:
        calls[0] += 1
        if calls[0] in (1, 2, 5, 6, 7):  # writes of the first checkpoint and of the rows
            raise StoreError("No space left on device")
        write(store, name, data, **how)

    monkeypatch.setattr(Store, "write", sometimes)
    monkeypatch.setattr(StackedRun, "train_and_evaluate", lambda run: trained.append(1) or advance(run))
    found = outcomes(start(), 40)
    assert found.count(Outcome.REFUSED) == 5
    assert found[-1] == Outcome.ENDED
    assert len(trained) == 3  # no epoch was trained twice
    assert rows(tmp_path) == [undisturbed]


def test_writes_that_keep_failing_end_the_trial(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(store: Store, name: str, data: bytes, **how: bool) -> None:
        raise StoreError("bucket gone")

    monkeypatch.setattr(Store, "write", never)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    worker = start()
    assert worker.step()["outcome"] == Outcome.REFUSED
    assert worker.step() == {"done": True, "outcome": Outcome.STORE_LOST, "reason": "bucket gone"}


def test_an_error_becomes_a_failed_row_with_its_reason(start: Any, tmp_path: Path, spec: Any) -> None:
    assert outcomes(start(facts=dataclasses.replace(spec.facts, digest="f" * 64))) == [Outcome.ENDED]
    (row,) = rows(tmp_path)
    assert (row["status"], row["test_loss"]) == ("failed", None)
    assert row["failure"].startswith("RuntimeError: data set 'synthetic_diverged_tracts' on ")


def test_a_failed_row_that_cannot_be_written_is_written_later_without_training(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, write = [0], Store.write

    def broken(run: StackedRun) -> None:
        tries[0] += 1
        raise ValueError("no luck")

    def second_time(store: Store, name: str, data: bytes, **how: bool) -> None:
        if tries[0] and not hasattr(store, "refused"):
            store.refused = True  # type: ignore[attr-defined]
            raise StoreError("full")
        write(store, name, data, **how)

    monkeypatch.setattr(StackedRun, "train_and_evaluate", broken)
    monkeypatch.setattr(Store, "write", second_time)
    assert outcomes(start()) == [Outcome.REFUSED, Outcome.ENDED]
    assert tries == [1]
    assert rows(tmp_path)[0]["failure"] == "ValueError: no luck"


@pytest.mark.parametrize(
    ("share", "outcome"),
    [
        (Share(1, 0.25, 4), Outcome.TOO_BIG),
        (Share(1, 1.0, 1, stack=2), Outcome.TOO_BIG),
        (Share(1, 1.0, 1), Outcome.ENDED),
        (CPU, Outcome.ENDED),
    ],
)
def test_a_run_that_needs_a_larger_share_gets_no_row_unless_it_had_the_largest(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: Share, outcome: Outcome
) -> None:
    def too_big(run: StackedRun) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StackedRun, "train_and_evaluate", too_big)
    monkeypatch.setattr(Share, "occupy", lambda share: torch.device("cpu"))
    assert outcomes(start(share=share)) == [outcome]
    assert len(rows(tmp_path)) == (outcome == Outcome.ENDED)


def test_runs_of_a_stack_have_the_results_of_single_runs(start: Any, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        outcomes(start(seed))
    alone = removed_rows(tmp_path)
    assert outcomes(start(1, 2, 3)) == [Outcome.UNFINISHED, Outcome.UNFINISHED, Outcome.ENDED]
    together = rows(tmp_path)
    assert [row["run_id"] for row in together] == ["1", "2", "3"]
    assert [row["stacked_runs"] for row in together] == [3, 3, 3]
    for one, other in zip(together, alone, strict=True):
        assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)


def test_runs_at_different_epochs_become_level(start: Any, tmp_path: Path) -> None:
    alone = start(1)
    alone.step()
    alone.step()
    start(2).step()
    worker = start(1, 2, 3)
    assert [worker.step()["epoch"] for _ in range(2)] == [1, 2]  # 3 alone, then 2 and 3
    assert len(worker.group.members) == 3
    assert outcomes(worker) == [Outcome.ENDED]
    assert [row["status"] for row in rows(tmp_path)] == ["done"] * 3


def test_runs_of_a_stack_start_from_their_own_weights(spec: Any, tmp_path: Path) -> None:
    """As in a crossed study: one seed, two pretrainings."""
    store = Store(str(tmp_path))
    runs = [dataclasses.replace(spec, run_id=key, init="pretrained", weights_key=key) for key in ("one", "two")]
    for seed, run in enumerate(runs):
        model = Classifier(run.config, 2)
        initialise(model, seed)
        put(store, run.run_id, model.backbone, run.config)
    assignment = Assignment({run.run_id: run for run in runs}, dict.fromkeys(("one", "two"), CPU), str(tmp_path), None)

    def ended(*some: Any) -> list[tuple[str, float | None]]:
        worker = TrialTrainable.__new__(TrialTrainable)
        worker.setup({"trial": Trial(some).config()}, assignment)
        outcomes(worker)
        found = store.runs(["run_id", "test_loss", "weights_digest"])
        assert len({row["weights_digest"] for row in found}) == len(found)
        removed_rows(tmp_path)
        return sorted((row["run_id"], row["test_loss"]) for row in found)

    together, alone = ended(*runs), [*ended(runs[0]), *ended(runs[1])]
    assert [run_id for run_id, _ in together] == ["one", "two"]
    assert together[0][1] != pytest.approx(together[1][1], abs=1e-4)
    for (_, stacked), (_, single) in zip(together, alone, strict=True):
        assert stacked == pytest.approx(single, abs=1e-5)


def test_a_new_stack_is_made_only_where_another_run_joins(start: Any) -> None:
    ahead = start(1)
    ahead.step(), ahead.step()
    group = start(1, 2)._begin()
    alone = group.stack
    group.advance()
    assert group.stack is alone  # the other one is still an epoch ahead
    group.advance()
    assert len(group.members) == 2
    assert group.stack is not alone


def test_runs_interrupted_within_an_epoch_become_level(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes(start(1, 2, 3))
    undisturbed = removed_rows(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "CHECKPOINT_AFTER_S", 0.0)
        one, two = start(1), start(2)
        one.step(), two.step(), two.step()
    worker = start(1, 2, 3)
    worker.step()  # of 3, which had not begun
    assert [spec.run_id for spec in worker.group.members] == ["1"]
    worker.step()
    assert [spec.run_id for spec in worker.group.members] == ["2"]
    worker.step()
    assert sorted(spec.run_id for spec in worker.group.members) == ["1", "2", "3"]
    assert outcomes(worker)[-1] == Outcome.ENDED
    for row, expected in zip(rows(tmp_path), undisturbed, strict=True):
        assert row["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-4)


def test_a_run_with_a_nan_loss_fails_without_the_others(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep import group as module

    initialise = module.initialise

    def spoilt(model: Any, seed: int, salt: str) -> None:
        initialise(model, seed, salt)
        if seed == 2:
            model.head.output_transform.bias.data.fill_(float("nan"))

    monkeypatch.setattr(module, "initialise", spoilt)
    worker = start(1, 2, 3)
    assert list(worker.step()["failures"]) == ["2"]
    assert [row["run_id"] for row in rows(tmp_path)] == ["2"]  # its row is written at once
    assert sorted(Store(str(tmp_path)).names("checkpoints")) == ["1.pt", "3.pt"]
    assert outcomes(worker)[-1] == Outcome.ENDED
    assert [row["status"] for row in rows(tmp_path)] == ["done", "failed", "done"]
    assert rows(tmp_path)[1]["failure"].startswith("TrainingError: the training loss became nan in epoch 1")


def kept(store: Store, run_id: str, folder: Path) -> Classifier:
    """The stored model of a run, loaded by the project's loader."""
    names = store.names(f"models/{run_id}")
    assert names == ["config.json", "model.safetensors"]
    for name in names:
        (folder / name).write_bytes(store.read(f"models/{run_id}/{name}") or b"")
    model, classes = load_classifier(folder)
    assert classes == load_data(SPEC).classes
    return model


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_fine_tuned_models_are_stored_on_every_store(
    start: Any, spec: Any, place: str, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    worker = start(*seeds, results=place, keep_models=True)
    assert outcomes(worker)[-1] == Outcome.ENDED
    store, test = Store(place), PreparedData.of(load_data(SPEC), spec.training, 0, torch.device("cpu")).test
    found = []
    for seed in seeds:
        predictions = pq.read_table(io.BytesIO(store.read(f"predictions/{seed}.parquet") or b""))
        expected = torch.tensor(predictions["logits"].to_pylist())
        found.append(predict(kept(store, str(seed), tmp_path), test, spec.training))
        if len(seeds) == 1:
            assert torch.equal(found[-1], expected)
        else:  # the same model, multiplied in another order
            assert torch.allclose(found[-1], expected, atol=1e-5)
    assert len(seeds) == 1 or not torch.allclose(found[0], found[1], atol=1e-3)


def test_a_run_with_a_row_has_its_model(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, write = [], Store.write

    def once(store: Store, name: str, data: bytes, **how: bool) -> None:
        if name.endswith("model.safetensors") and not refused:
            refused.append(name)
            raise StoreError("No space left on device")
        write(store, name, data, **how)

    monkeypatch.setattr(Store, "write", once)
    worker = start(keep_models=True)
    assert [worker.step()["outcome"] for _ in range(3)] == [Outcome.UNFINISHED, Outcome.UNFINISHED, Outcome.REFUSED]
    assert rows(tmp_path) == []
    assert outcomes(worker) == [Outcome.ENDED]
    assert refused == ["models/0/model.safetensors"]
    assert [row["status"] for row in rows(tmp_path)] == ["done"]
    kept(Store(str(tmp_path)), "0", tmp_path)


def test_a_failed_run_stores_no_model(start: Any, tmp_path: Path) -> None:
    worker = start(1, 2, keep_models=True)
    worker.step()
    with torch.no_grad():
        worker.group.stack.model.head.output_transform.bias[0] = float("nan")
    assert outcomes(worker)[-1] == Outcome.ENDED
    assert [row["status"] for row in rows(tmp_path)] == ["failed", "done"]
    assert [info.base_name for info in Store(str(tmp_path)).infos("models")] == ["2"]


@pytest.mark.parametrize("name", [*TRAINING_VALUES, "seed", "split_seed"])
def test_the_next_trial_uses_the_same_prepared_data_unless_a_value_that_affects_it_differs(
    start: Any, spec: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []
    monkeypatch.setattr(PreparedData, "of", lambda *arguments: cut.append("data"))
    worker = start(0, 1)
    for run_id, values in (("0", {}), ("1", {name: OTHER_VALUES.get(name, 9)})):
        training = dataclasses.replace(spec.training, **values) if name in TRAINING_VALUES else spec.training
        changed = {"training": training} if name in TRAINING_VALUES else values
        worker.specs = [dataclasses.replace(spec, run_id=run_id, **changed)]
        worker._data()
    assert len(cut) == (2 if name in (*values_affecting("data"), "split_seed") else 1)
