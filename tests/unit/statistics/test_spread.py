"""Moderated variances against the formulas of their source, by other routes."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from analysis.statistics.spread import Prior, fit_prior, moderated, trigamma_inverse


@pytest.mark.parametrize("y", [1e-3, 0.05, 0.5, 1.0, 2.5, 40.0, 3_000.0])
def test_trigamma_inverse_undoes_trigamma(y):
    assert trigamma_inverse(float(polygamma(1, y))) == pytest.approx(y, rel=1e-6)


def test_trigamma_of_one_is_pi_squared_over_six():
    assert trigamma_inverse(np.pi**2 / 6) == pytest.approx(1.0)


@pytest.mark.parametrize(("prior_df", "scale"), [(4.0, 0.09), (10.0, 2.0), (2.0, 1.0)])
def test_the_prior_that_variances_were_drawn_from_is_recovered(prior_df, scale):
    # s² | σ² ~ σ² χ²(d) / d with σ² ~ d₀ s₀² / χ²(d₀): Smyth's model, so s² / s₀² ~ F(d, d₀).
    rng = np.random.default_rng(3)
    df = np.full(40_000, 4.0)
    found = fit_prior(scale * stats.f.rvs(4, prior_df, size=len(df), random_state=rng), df)
    assert found.df == pytest.approx(prior_df, rel=0.06)
    assert found.scale == pytest.approx(scale, rel=0.03)


def test_equal_variances_are_pooled():
    rng = np.random.default_rng(0)
    variances, df = np.full(9, 2.0), np.full(9, 4.0)
    prior = fit_prior(variances, df)
    assert prior == Prior(np.inf, 2.0)
    uneven = 2.0 * rng.chisquare(4, 9) / 4
    assert fit_prior(uneven * 0 + 2.0, df).df == np.inf


def test_a_cell_below_the_prior_is_moderated_as_in_limma_but_for_the_number_of_cells():
    variances, df = np.array([0.2, 1.0, 1.0, 1.0]), np.full(4, 3.0)
    found, freedom = moderated(variances, df, Prior(6.0, 1.0))
    share = 6 / (6 + 3) * 2 / 3  # λ = d₀ / (d₀ + d), times (k − 2) / (k − 1)
    assert found[0] == pytest.approx(0.2 + share * 0.8)
    assert freedom[0] == pytest.approx(3 / (1 - share))


def test_a_cell_that_varies_implausibly_keeps_its_own_variance():
    variances, df = np.array([400.0, *[1.0] * 9]), np.full(10, 4.0)
    found, freedom = moderated(variances, df, Prior(50.0, 1.0))
    assert found[0] == pytest.approx(400.0, rel=1e-3)
    assert freedom[0] == pytest.approx(4.0, rel=1e-3)
    assert freedom[1] > 20


def test_a_moderated_variance_lies_between_the_cells_own_and_the_priors():
    rng = np.random.default_rng(1)
    variances, df = rng.gamma(1.0, 1.0, 30), np.full(30, 2.0)
    prior = fit_prior(variances, df)
    found, freedom = moderated(variances, df, prior)
    low, high = np.minimum(variances, prior.scale), np.maximum(variances, prior.scale)
    assert ((low <= found) & (found <= high)).all()
    assert ((freedom >= 2) & (freedom <= df.sum())).all()


def test_one_cell_borrows_nothing():
    found, freedom = moderated(np.array([2.0]), np.array([4.0]), fit_prior(np.array([2.0]), np.array([4.0])))
    assert (found.item(), freedom.item()) == (2.0, 4.0)
