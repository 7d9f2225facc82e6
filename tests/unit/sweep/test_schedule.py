"""The simulated schedule: which place each task takes, and when all have ended."""

import pytest

from sweep.schedule import AUDIT_S_A_LETTER, END_S, START_S, WORKER_S, makespan, sweep_seconds


@pytest.mark.parametrize(
    ("tasks", "trials", "places", "expected"),
    [
        ([], [], 2, 0.0),
        ([], [10, 10, 10, 10], 2, 20 + WORKER_S),
        ([], [10, 10, 10], 2, 20 + WORKER_S),  # the last wave leaves a place idle
        ([], [1, 1, 1, 30], 2, 1 + 30 + WORKER_S),  # the longest run comes last
        ([], [30, 1, 1, 1], 2, 30 + WORKER_S),
        ([40, 20], [5, 5], 2, 40.0),  # both fit beside the longer pretraining
        ([40, 20], [30, 30], 2, 40 + 30 + WORKER_S),
        ([40, 20], [5], 1, 65 + WORKER_S),
        ([], [10] * 3, 8, 10 + WORKER_S),
    ],
)
def test_each_task_takes_the_first_free_place(tasks, trials, places, expected) -> None:
    assert makespan(tasks, trials, places) == pytest.approx(expected)


def test_runs_that_need_pretraining_start_when_all_others_have_ended() -> None:
    apart = sweep_seconds([40, 20], [30], [10, 10], 2, audited_letters=0)
    assert apart == START_S + max(40, 20 + WORKER_S + 30) + WORKER_S + 10 + END_S


def test_the_leakage_audit_takes_time_for_each_letter() -> None:
    assert sweep_seconds([], [1.0], [], 1, 5e6) - sweep_seconds([], [1.0], [], 1, 0) == pytest.approx(
        5e6 * AUDIT_S_A_LETTER
    )
