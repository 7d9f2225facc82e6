"""Experiment trackers: what they receive, and what is refused."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from hyena.errors import InputError
from sweep import trackers as module
from sweep.store import Store
from sweep.trackers import TensorBoard, trackers
from sweep.trials import Trial
from tests.support.runs import RUN

TRIAL: Any = SimpleNamespace(config={"trial": Trial((RUN,)).config()})


def epoch(number: int, done: bool) -> dict[str, Any]:
    return {"done": done, "epoch": number, "train_loss": 0.5 / number, "validation_accuracy": None,
            "test_accuracy": 0.5 + number / 10}  # fmt: skip


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events*")):
        data = path.read_bytes()
        while data:  # length, its checksum, an event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, round(value.simple_value, 6)))
            data = data[16 + size :]
    return found


def test_tensorboard_files_hold_every_epoch_under_the_runs_name(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.on_trial_result(0, [], TRIAL, epoch(1, done=False))
    board.on_trial_result(0, [], TRIAL, epoch(2, done=True))
    assert [folder.name for folder in tmp_path.iterdir()] == ["d-m-scratch-4-0-0"]
    assert scalars(tmp_path) == {"train_loss": [(1, 0.5), (2, 0.25)], "test_accuracy": [(1, 0.6), (2, 0.7)]}
    assert board.writers == {}


def test_a_run_that_fails_at_once_leaves_no_file(tmp_path: Path) -> None:
    TensorBoard(tmp_path).on_trial_result(0, [], TRIAL, {"done": True, "outcome": "failed"})
    assert not list(tmp_path.iterdir())


def test_a_tracker_without_its_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--track wandb: the package wandb is missing: pip install wandb"):
        trackers(["wandb"], SimpleNamespace(name="s"), Store(str(tmp_path)))  # type: ignore[arg-type]


def test_a_tracker_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(board: TensorBoard) -> None:
        raise RuntimeError("no key\nsee the manual")

    monkeypatch.setattr(TensorBoard, "setup", unreachable)
    with pytest.raises(InputError, match=r"^--track tensorboard: no key see the manual$"):
        trackers(["tensorboard"], SimpleNamespace(name="s"), Store(str(tmp_path)))  # type: ignore[arg-type]


def test_nothing_is_tracked_unless_asked_for(tmp_path: Path) -> None:
    assert trackers([], SimpleNamespace(name="s"), Store(str(tmp_path))) == []  # type: ignore[arg-type]
    assert "wandb" not in sys.modules
    assert "mlflow" not in sys.modules
