"""The simulated schedule: who gets which place, and when all is over."""

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
def test_each_takes_the_place_that_is_free_first(tasks, trials, places, expected) -> None:
    assert makespan(tasks, trials, places) == pytest.approx(expected)


def test_runs_that_wait_for_weights_begin_when_all_else_has_ended() -> None:
    apart = sweep_seconds([40, 20], [30], [10, 10], 2, audited_letters=0)
    assert apart == START_S + max(40, 20 + WORKER_S + 30) + WORKER_S + 10 + END_S


def test_letters_that_are_audited_first_take_their_time() -> None:
    assert sweep_seconds([], [1.0], [], 1, 5e6) - sweep_seconds([], [1.0], [], 1, 0) == pytest.approx(
        5e6 * AUDIT_S_A_LETTER
    )
