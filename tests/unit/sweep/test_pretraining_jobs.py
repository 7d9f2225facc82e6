"""The pretrainings of a study: which are started, what they report, and how they end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from hyena.model.hyenadna import Backbone
from hyena.training.pretraining import PretrainingRecord
from hyena.weights.checkpoint import load_backbone
from sweep import pretraining_jobs as module
from sweep.pretraining_jobs import PretrainingJobs, _pretrain
from sweep.resources import Share
from sweep.store import Store
from sweep.study import Study, load_study
from sweep.study_weights import put
from sweep.trials import data_spec, facts_of, load_data, plan, weights_keys
from tests.support.two_sizes import TWO_SIZES

STUDY = f"""{TWO_SIZES}[pretraining]
corpus = "synthetic"
steps = 4
length = 100
batch_size = 2
"""
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

    def _task(self, model: str) -> Iterator[Any]:
        self.started.append(model)
        return iter(self.reports[model])


@pytest.fixture
def jobs(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[Remote, Study]:
    def get(report: Any) -> Any:
        if isinstance(report, Exception):
            raise report
        return report

    record = PretrainingRecord(4, 800, 1.9, None, 1.0)
    broken = ray.exceptions.RayTaskError("_pretrain", "", ValueError("no corpus\nat all"))
    remote = Remote({"large": [None, "a note", record], "small": [None, broken]})
    monkeypatch.setattr(module.ray, "remote", remote.remote)
    monkeypatch.setattr(module.ray, "wait", lambda streams, num_returns, timeout: (streams, []))
    monkeypatch.setattr(module.ray, "get", get)
    return remote, load_study(path)


def start(study: Study, store: Store, *models: str) -> PretrainingJobs:
    """Start the jobs that the runs of these models need."""
    spec = data_spec(study, "synthetic_genes", None)
    keys = weights_keys(study, "corpus")
    runs = plan(study, {spec.name: (spec, facts_of(load_data(spec)))}, keys)
    return PretrainingJobs(study, store, keys, [run for run in runs if run.model in models], SHARE)


def test_jobs_report_and_end(jobs: tuple[Remote, Study], store: Store) -> None:
    remote, study = jobs
    started = start(study, store, "small", "large")
    assert (remote.started, started.steps) == (["large", "small"], 4)
    assert (started.unfinished, started.training) == (True, False)
    assert started.poll() == []  # both have started
    assert started.training
    assert started.poll() == ["large"]
    assert started.notes == {"large": "a note"}
    assert started.failed == {"small": "pretraining failed: ValueError: no corpus"}
    assert started.latest == {"large": None, "small": None}
    assert started.poll() == ["large"]
    assert started.latest["large"] == PretrainingRecord(4, 800, 1.9, None, 1.0)
    assert started.poll() == []
    assert (started.unfinished, started.training) == (False, False)
    assert started.poll() == []


def test_only_weights_that_are_needed_and_missing_are_made(jobs: tuple[Remote, Study], store: Store) -> None:
    remote, study = jobs
    start(study, store, "small")
    assert remote.started == ["small"]
    put(store, weights_keys(study, "corpus")["small"], Backbone(study.model("small")), study.model("small"))
    assert not start(study, store, "small").unfinished
    assert remote.started == ["small"]


def test_a_pretraining_whose_checkpoint_is_damaged_starts_over_and_says_so(path: Path, store: Store) -> None:
    study = load_study(path, ('pretraining={corpus="synthetic", steps=2, length=100, batch_size=2, log_every=1}',))
    key, share = "key-of-small", Share(cpus=1, gpus=0.0, concurrent_trials=1)
    store.write(f"checkpoints/{key}.pt", b"cut short")
    started, note, *records = _pretrain(study, "small", key, store.uri, share)
    assert started is None
    assert note == (
        "starts over, because its checkpoint checkpoints/key-of-small.pt cannot be used: it is damaged, or was not "
        "written by this program"
    )
    assert [record.step for record in records if isinstance(record, PretrainingRecord)] == [1, 2]
    assert store.names("checkpoints") == []
    whole = list(_pretrain(study, "small", "another", store.uri, share))
    assert len(whole) == 1 + 2
    weights = Path(store.root) / "weights"
    digests = {load_backbone(Backbone(study.model("small")), weights / name) for name in (key, "another")}
    assert len(digests) == 1
