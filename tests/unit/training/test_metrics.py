"""Scores against values worked out by hand."""

import numpy as np
import pytest

from hyena.training.metrics import auroc, matthews, score


def test_binary_scores_by_hand() -> None:
    # predicted 1 for the first four; true: 1 1 0 1 | 0 0 1 0  ->  TP 3, FP 1, FN 1, TN 3
    margin = np.array([4.0, 3, 2, 1, -1, -2, -3, -4])
    scores = score(np.stack([np.zeros(8), margin], axis=1), np.array([1, 1, 0, 1, 0, 0, 1, 0]))
    assert scores.confusion == [[3, 1], [1, 3]]
    assert scores.accuracy == 0.75
    assert scores.mcc == pytest.approx((3 * 3 - 1 * 1) / 16)
    assert scores.precision == scores.recall == scores.f1 == 0.75
    assert scores.auroc == pytest.approx(12 / 16)  # of 16 pairs: 4 and 3 beat four each, 1 beats three, -3 beats one
    assert scores.loss == pytest.approx(np.log1p(np.exp(-margin * np.array([1, 1, -1, 1, -1, -1, 1, -1]))).mean())


def test_multiclass_mcc_is_r_k() -> None:
    counts = np.array([[5, 1, 0], [2, 6, 1], [0, 1, 4]])
    truth = np.repeat(np.repeat(np.eye(3), 3, axis=0), counts.ravel(), axis=0)
    guess = np.repeat(np.tile(np.eye(3), (3, 1)), counts.ravel(), axis=0)
    covariance = lambda x, y: sum(np.cov(x[:, k], y[:, k], bias=True)[0, 1] for k in range(3))  # noqa: E731
    expected = covariance(truth, guess) / np.sqrt(covariance(truth, truth) * covariance(guess, guess))
    assert matthews(counts) == pytest.approx(expected)


def test_ties_count_half_and_a_constant_prediction_scores_nothing() -> None:
    labels = np.array([0, 1, 0, 1])
    constant = score(np.zeros((4, 2)), labels)
    assert constant.auroc == 0.5
    assert constant.mcc == 0.0
    assert constant.precision == 0.25  # class 1 was never predicted: its precision counts as 0


def test_auroc_of_an_absent_class_is_none() -> None:
    probability = np.full((3, 3), 1 / 3)
    assert auroc(probability, np.array([0, 1, 1])) is None
    assert auroc(np.full((3, 2), 0.5), np.array([1, 1, 1])) is None


def test_multiclass_auroc_is_the_mean_of_one_vs_rest() -> None:
    rng = np.random.default_rng(0)
    probability, labels = rng.dirichlet(np.ones(3), size=60), rng.integers(0, 3, 60)
    by_pairs = []
    for k in range(3):
        positive, negative = probability[labels == k, k], probability[labels != k, k]
        by_pairs.append(np.mean(positive[:, None] > negative[None]))
    assert auroc(probability, labels) == pytest.approx(np.mean(by_pairs))
