"""How much of the embedded tasks can be told from counts of short words alone, without any order between them?

Logistic regression (L2, the strength chosen on a fifth of the training examples) on the counts of all words of k
letters and of their reverse complements, on the tasks as the quickstart makes them, for some seeds of the tasks. No
pretraining and no network: it is the floor that a model's accuracy on these tasks must be compared with. Prints one
JSON object with the test accuracy of every task, word length and seed. Nothing is timed.

    python benchmarks/synthetic_composition.py -o benchmarks/results/synthetic_composition.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import add_output, finish, header  # noqa: E402
from hyena.data.sequences import Split  # noqa: E402
from hyena.data.synthetic import TASKS, SyntheticConfig, synthetic_dataset  # noqa: E402
from hyena.data.tokenizer import A  # noqa: E402
from sweep.shipped_studies import QUICKSTART  # noqa: E402
from sweep.study import load_study  # noqa: E402

Matrix = NDArray[np.float64]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def word_counts(split: Split, k: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Shares [N, 4ᵏ] of the words of k letters in each sequence, both strands, and the labels [N]."""
    labels = np.asarray(split.labels, dtype=np.int64)
    letters = np.asarray(split.tokens, dtype=np.int64).reshape(len(labels), -1) - A
    powers = 4 ** np.arange(k)[::-1]
    found = np.zeros((len(labels), 4**k))
    for strand in (letters, 3 - letters[:, ::-1]):
        words = np.lib.stride_tricks.sliding_window_view(strand, k, axis=1) @ powers
        for row, of_sequence in enumerate(words):
            found[row] += np.bincount(of_sequence, minlength=4**k)
    return found / found.sum(axis=1, keepdims=True), labels


def fitted(x: Matrix, y: NDArray[np.int64], strength: float) -> Matrix:
    """Weights and, last, the offset of a logistic regression with an L2 penalty on the weights."""

    def loss(weights: Matrix) -> tuple[float, Matrix]:
        score = x @ weights[:-1] + weights[-1]
        value = np.mean(np.logaddexp(0, score) - y * score) + strength * weights[:-1] @ weights[:-1] / (2 * len(y))
        error = (expit(score) - y) / len(y)
        return float(value), np.append(x.T @ error + strength * weights[:-1] / len(y), error.sum())

    return np.asarray(minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x)


def accuracy(weights: Matrix, x: Matrix, y: NDArray[np.int64]) -> float:
    return float(np.mean((x @ weights[:-1] + weights[-1] > 0) == y))


def held_out_accuracy(task: str, config: SyntheticConfig, k: int) -> float:
    """Of the regression whose strength does best on a fifth of the training examples, fitted on all of them."""
    dataset = synthetic_dataset(task, config)
    (x, y), (x_test, y_test) = word_counts(dataset.train, k), word_counts(dataset.test, k)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    x, x_test = (x - mean) / spread, (x_test - mean) / spread
    cut = len(y) * 4 // 5
    scores = [accuracy(fitted(x[:cut], y[:cut], strength), x[cut:], y[cut:]) for strength in STRENGTHS]
    return accuracy(fitted(x, y, STRENGTHS[int(np.argmax(scores))]), x_test, y_test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6], help="letters of a word")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="0 is the quickstart's own")
    add_output(parser)
    options = parser.parse_args()
    quickstart = load_study(QUICKSTART).synthetic
    rows = [
        {"task": task, "k": k, "seed": seed, "test_accuracy": held_out_accuracy(task, own, k)}
        for task in TASKS
        for k in options.k
        for seed, own in ((seed, SyntheticConfig(**{**vars(quickstart), "seed": seed})) for seed in options.seeds)
    ]
    assert __doc__ is not None
    finish(header(__doc__.splitlines()[0], None, options, ("numpy", "scipy")) | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
