"""The pretrainings of a study: which are started, what they report, and how they end."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
import torch

from hyena.model.hyenadna import Backbone
from hyena.training.pretraining import Pretraining, PretrainingRecord
from hyena.weights.checkpoint import load_backbone
from sweep import pretraining_jobs as module
from sweep.pretraining_jobs import PretrainingJobs, _pretrain
from sweep.pretrainings import PretrainingId
from sweep.resources import Share
from sweep.store import Store
from sweep.study import Study, load_study
from sweep.study_weights import corpus_of, known_keys, put, weights_keys
from sweep.trials import data_spec, facts_of, load_data, plan
from tests.support.two_sizes import TWO_SIZES

STUDY = f"""{TWO_SIZES}[pretraining]
corpus = "synthetic"
steps = 4
length = 100
batch_size = 2
"""
LARGE, SMALL, AGAIN = (
    PretrainingId(model, "synthetic", seed) for model, seed in (("large", 0), ("small", 0), ("small", 5))
)
SHARE = Share(cpus=1, gpus=0.0, concurrent_trials=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


class Remote:
    """Stands for Ray: a task is an iterator of reports, and all of them are ready at once."""

    def __init__(self, reports: dict[str, list[Any]]) -> None:
        self.reports, self.started = reports, list[str]()

    def remote(self, *given: Any) -> Any:
        return self if callable(given[0]) else self._task(given[1])

    def options(self, **options: Any) -> "Remote":
        assert options == {"num_cpus": 1, "num_gpus": 0.0}
        return self

    def _task(self, pretraining: PretrainingId) -> Iterator[Any]:
        self.started.append(pretraining.name)
        return iter(self.reports[pretraining.name])


@pytest.fixture
def jobs(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[Remote, Study]:
    def get(report: Any) -> Any:
        if isinstance(report, Exception):
            raise report
        return report

    record = PretrainingRecord(4, 800, 1.9, None, 1.0)
    broken = ray.exceptions.RayTaskError("_pretrain", "", ValueError("no corpus\nat all"))
    remote = Remote({LARGE.name: [None, "a note", record], SMALL.name: [None, broken], AGAIN.name: [record]})
    monkeypatch.setattr(module.ray, "remote", remote.remote)
    monkeypatch.setattr(module.ray, "wait", lambda streams, num_returns, timeout: (streams, []))
    monkeypatch.setattr(module.ray, "get", get)
    return remote, load_study(path)


def start(study: Study, store: Store, *pretrainings: PretrainingId) -> PretrainingJobs:
    """Start the jobs that the runs from these pretrainings need."""
    spec = data_spec(study, "synthetic_tracts", None)
    keys = weights_keys(study, "corpus")
    runs = plan(study, {spec.name: (spec, facts_of(load_data(spec)))}, keys)
    return PretrainingJobs(study, store, keys, [run for run in runs if run.pretraining in pretrainings], SHARE)


def test_jobs_report_and_end(jobs: tuple[Remote, Study], store: Store) -> None:
    remote, study = jobs
    started = start(study, store, SMALL, LARGE)
    assert (remote.started, started.steps) == ([LARGE.name, SMALL.name], 4)
    assert (started.unfinished, started.training) == (True, False)
    assert started.poll() == []  # both have started
    assert started.training
    assert started.poll() == [LARGE]
    assert started.notes == {LARGE: "a note"}
    assert started.failed == {SMALL: "pretraining failed: ValueError: no corpus"}
    assert started.latest == {LARGE: None, SMALL: None}
    assert started.poll() == [LARGE]
    assert started.latest[LARGE] == PretrainingRecord(4, 800, 1.9, None, 1.0)
    assert started.poll() == []
    assert (started.unfinished, started.training) == (False, False)
    assert started.poll() == []


def test_only_weights_that_are_needed_and_missing_are_made(jobs: tuple[Remote, Study], store: Store) -> None:
    remote, study = jobs
    start(study, store, SMALL)
    assert remote.started == [SMALL.name]
    put(store, weights_keys(study, "corpus")[SMALL], Backbone(study.model("small")), study.model("small"))
    assert not start(study, store, SMALL).unfinished
    assert remote.started == [SMALL.name]


def test_each_seed_of_a_size_is_a_job_and_fails_alone(jobs: tuple[Remote, Study], store: Store, path: Path) -> None:
    remote, _ = jobs
    study = load_study(
        path, ("pretraining.seeds=[5, 0]", "grid.seeds=[1, 2]", 'exclude=[{models=["large"], seeds=[1]}]')
    )
    started = start(study, store, *study.pretrainings)
    assert remote.started == [LARGE.name, AGAIN.name, SMALL.name]
    for _ in range(4):
        started.poll()
    assert set(started.failed) == {SMALL}
    assert started.latest[AGAIN] is not None


def test_a_pretraining_whose_checkpoint_is_damaged_starts_over_and_says_so(path: Path, store: Store) -> None:
    study = load_study(path, ('pretraining={corpus="synthetic", steps=2, length=100, batch_size=2, log_every=1}',))
    key, share, (small, _) = "key-of-small", Share(cpus=1, gpus=0.0, concurrent_trials=1), study.pretrainings
    store.write(f"checkpoints/{key}.pt", b"cut short")
    started, note, *records = _pretrain(study, small, key, store.uri, share)
    assert started is None
    assert note == (
        "starts over, because its checkpoint checkpoints/key-of-small.pt cannot be used: it is damaged, or was not "
        "written by this program"
    )
    assert [record.step for record in records if isinstance(record, PretrainingRecord)] == [1, 2]
    assert store.names("checkpoints") == []
    whole = list(_pretrain(study, small, "another", store.uri, share))
    assert len(whole) == 1 + 2
    weights = Path(store.root) / "weights"
    digests = {load_backbone(Backbone(study.model("small")), weights / name) for name in (key, "another")}
    assert len(digests) == 1


def test_the_pretrainings_of_a_size_differ_and_say_which_they_are(path: Path, store: Store) -> None:
    study = load_study(path, ("pretraining.seeds=[5, 0]", "grid.seeds=[1, 2]", 'grid.models=["small"]'))
    digests, rows = set(), []
    for one in study.pretrainings:
        list(_pretrain(study, one, f"key-{one.seed}", store.uri, SHARE))
        weights = Path(store.root) / "weights" / f"key-{one.seed}"
        digests.add(load_backbone(Backbone(study.model("small")), weights))
        rows += pq.read_table(Path(store.root) / "pretraining" / f"key-{one.seed}.parquet").to_pylist()
    assert len(digests) == 2
    assert [(row["model"], row["pretraining_seed"], row["weights_key"]) for row in rows] == [
        ("small", 5, "key-5"),
        ("small", 0, "key-0"),
    ]


def test_sizes_share_no_windows_with_the_same_seed(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(path)
    drawn: dict[str, float] = {}

    class Noted(Pretraining):
        def advance(self) -> PretrainingRecord:
            drawn.setdefault(key, float(torch.rand((), generator=self.streams["corpus"])))
            return super().advance()

    monkeypatch.setattr(module, "Pretraining", Noted)
    for one, key in ((SMALL, "first"), (SMALL, "again"), (LARGE, "large")):
        list(_pretrain(study, one, key, store.uri, SHARE))
    assert drawn["first"] == drawn["again"] != drawn["large"]


def test_a_pretraining_that_was_killed_resumes_where_it_stopped_and_the_others_are_kept(
    path: Path, store: Store
) -> None:
    """Killed within the second of two: the first is not made again, the second continues from its checkpoint."""
    overrides = ("pretraining.seeds=[5, 0]", "pretraining.log_every=1", "grid.seeds=[1, 2]", 'grid.models=["small"]')
    study = load_study(path, overrides)
    first, second = study.pretrainings
    keys = weights_keys(study, corpus_of(study).digest)
    list(_pretrain(study, first, keys[first], store.uri, SHARE))
    killed = _pretrain(study, second, keys[second], store.uri, SHARE)
    assert [report.step for report in itertools.islice(killed, 4) if isinstance(report, PretrainingRecord)] == [1, 2, 3]
    del killed
    assert known_keys(study, store, None)[1] == {second: "would be pretrained"}
    assert store.names("checkpoints") == [f"{keys[second]}.pt"]
    resumed = list(_pretrain(study, second, keys[second], store.uri, SHARE))
    assert [report.step for report in resumed if isinstance(report, PretrainingRecord)] == [3, 4]  # kept after step 2
    assert known_keys(study, store, None)[1] == {}
    list(_pretrain(study, second, "undisturbed", store.uri, SHARE))
    weights = Path(store.root) / "weights"
    undisturbed = {
        load_backbone(Backbone(study.model("small")), weights / key) for key in (keys[second], "undisturbed")
    }
    assert len(undisturbed) == 1
