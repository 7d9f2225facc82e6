"""Scores of a classifier from its logits, computed over a whole split and never averaged over batches.

Definitions follow scikit-learn's: multi-class MCC is R_K, macro averages are unweighted over classes, and a precision
or recall with a zero denominator counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


@dataclass(frozen=True)
class Scores:
    """Scores of a classifier on one split; `auroc` is None if a class has no example or no counter-example."""

    accuracy: float
    loss: float
    mcc: float
    f1: float
    precision: float
    recall: float
    auroc: float | None
    confusion: list[list[int]]


def score(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Scores:
    """Scores of `logits` [N, C] against `labels` [N]; N at least 1. The loss is the mean cross-entropy in nats."""
    logits = np.asarray(logits, dtype=np.float64)
    log_partition = np.logaddexp.reduce(logits, axis=1)
    predicted = logits.argmax(axis=1)
    counts = confusion_matrix(labels, predicted, logits.shape[1])
    precision, recall = _ratio(np.diag(counts), counts.sum(axis=0)), _ratio(np.diag(counts), counts.sum(axis=1))
    return Scores(
        accuracy=float((predicted == labels).mean()),
        loss=float((log_partition - logits[np.arange(len(labels)), labels]).mean()),
        mcc=matthews(counts),
        f1=float(_ratio(2 * precision * recall, precision + recall).mean()),
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        auroc=auroc(np.exp(logits - log_partition[:, None]), labels),
        confusion=counts.tolist(),
    )


def confusion_matrix(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Counts [true class, predicted class]."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def matthews(counts: NDArray[np.int64]) -> float:
    """Matthews correlation coefficient R_K of a confusion matrix (Gorodkin 2004); 0 if it is undefined.

    >>> matthews(np.array([[3, 0], [0, 3]])), matthews(np.array([[0, 3], [3, 0]])), matthews(np.array([[3, 0], [3, 0]]))
    (1.0, -1.0, 0.0)
    """
    total, right = float(counts.sum()), float(np.trace(counts))
    true, predicted = counts.sum(axis=1).astype(float), counts.sum(axis=0).astype(float)
    variance = (total**2 - predicted @ predicted) * (total**2 - true @ true)
    return float((right * total - true @ predicted) / np.sqrt(variance)) if variance > 0 else 0.0


def auroc(probability: NDArray[np.floating], labels: NDArray[np.integer]) -> float | None:
    """Area under the ROC curve by ranks, ties counted half: of class 1 for two classes, else the mean of one-vs-rest.

    None if a class has no example or no counter-example.

    >>> auroc(np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1, 1]))
    0.75
    """
    classes = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    areas = []
    for number in classes:
        positive = labels == number
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive == 0 or n_negative == 0:
            return None
        rank_sum = rankdata(probability[:, number])[positive].sum()
        areas.append((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
    return float(np.mean(areas))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros(len(denominator)), where=denominator > 0)
