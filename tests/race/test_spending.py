"""Spending of alpha over the looks, against published tables and SciPy's multivariate normal."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, ttest_1samp

from initsearch.errors import ConfigError
from initsearch.race.spending import alpha_spent, nominal_levels, power_levels, t_levels


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [
        # O'Brien-Fleming type spending of Lan and DeMets, two-sided 0.05, equally spaced looks, as
        # tabulated by Reboussin, DeMets, Kim and Lan, Controlled Clinical Trials 21 (2000).
        (2, [2.9626, 1.9686]),
        (3, [3.7103, 2.5114, 1.9930]),
        (4, [4.3326, 2.9631, 2.3590, 2.0141]),
        (5, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
    ],
)
def test_bounds_are_those_of_the_published_tables(looks: int, bounds: list[float]) -> None:
    levels = nominal_levels(tuple(range(1, looks + 1)), 0.025)
    assert norm.isf(levels) == pytest.approx(bounds, abs=2e-4)


@pytest.mark.parametrize("alpha", [0.005, 0.025, 0.05])
@pytest.mark.parametrize("looks", [(4, 6, 8, 12), (2, 3, 7, 20), (5, 30)])
def test_all_looks_together_err_with_probability_alpha(
    looks: tuple[int, ...], alpha: float
) -> None:
    bounds = norm.isf(nominal_levels(looks, alpha))
    at = np.array(looks, dtype=float)
    covariance = np.sqrt(np.minimum.outer(at, at) / np.maximum.outer(at, at))
    none_crossed = multivariate_normal(cov=covariance, seed=0, abseps=3e-6, maxpts=10**5)
    assert 1.0 - none_crossed.cdf(bounds) == pytest.approx(alpha, abs=2e-5)


def test_each_look_spends_what_the_spending_function_allows() -> None:
    looks, alpha = (4, 6, 8, 12), 0.025
    bounds = norm.isf(nominal_levels(looks, alpha))
    for k in range(1, len(looks) + 1):
        at = np.array(looks[:k], dtype=float)
        covariance = np.sqrt(np.minimum.outer(at, at) / np.maximum.outer(at, at))
        none_crossed = multivariate_normal(
            cov=covariance, seed=0, abseps=3e-7, maxpts=3 * 10**5, allow_singular=True
        )
        granted = 2.0 * norm.sf(norm.isf(alpha / 2) / np.sqrt(looks[k - 1] / looks[-1]))
        assert 1.0 - none_crossed.cdf(bounds[:k]) == pytest.approx(granted, abs=1e-6)
        assert alpha_spent(looks[k - 1] / looks[-1], alpha) == pytest.approx(granted)


def test_a_single_look_spends_all_of_alpha() -> None:
    assert nominal_levels((7,), 0.025) == pytest.approx((0.025,))


def test_levels_grow_from_look_to_look() -> None:
    levels = nominal_levels((4, 6, 8, 12, 16, 24, 32), 0.025)
    assert list(levels) == sorted(levels)
    assert levels[0] < 1e-9
    assert 0.02 < levels[-1] < 0.025


def test_a_very_early_first_look_costs_nothing() -> None:
    levels = nominal_levels((2, 5000), 0.025)
    assert levels[0] < 1e-100
    assert levels[1] == pytest.approx(0.025, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.025, 0.05])
@pytest.mark.parametrize("looks", [(4, 6, 8, 12), (2, 3, 4), (4, 6, 8, 12, 16, 24, 32)])
def test_t_tests_at_all_looks_together_err_with_probability_alpha(
    looks: tuple[int, ...], alpha: float
) -> None:
    races = 200_000
    differences = np.random.default_rng(1).normal(size=(races, looks[-1]))
    wrong = {"known variance": nominal_levels(looks, alpha), "t": t_levels(looks, alpha)}
    errors = {}
    for name, levels in wrong.items():
        crossed = np.zeros(races, dtype=bool)
        for look, level in zip(looks, levels, strict=True):
            found = ttest_1samp(differences[:, :look], 0.0, axis=1, alternative="greater")
            crossed |= found.pvalue < level
        errors[name] = crossed.mean()
    # Three standard errors of these races and of those that the levels were computed from.
    assert errors["t"] == pytest.approx(alpha, abs=3 * (alpha * (1 / races + 1 / 800_000)) ** 0.5)
    assert errors["known variance"] > errors["t"]


def test_t_levels_are_never_above_the_nominal_ones() -> None:
    assert t_levels((7,), 0.025) == nominal_levels((7,), 0.025)
    for looks in ((2, 12), (2, 5000), tuple(range(2, 13))):
        pairs = zip(t_levels(looks, 0.025), nominal_levels(looks, 0.025), strict=True)
        assert all(0.8 * nominal < level <= nominal for level, nominal in pairs)


@pytest.mark.parametrize(
    ("looks", "power"), [((4, 5, 6, 7, 8), 1.0), (tuple(range(3, 13)), 1.0), ((3, 4, 5, 6, 8), 3.0)]
)
def test_power_levels_grow_with_the_blocks_and_err_by_alpha(
    looks: tuple[int, ...], power: float
) -> None:
    levels = power_levels(looks, 0.025, power)
    assert np.array(levels) / levels[-1] == pytest.approx((np.array(looks) / looks[-1]) ** power)
    differences = np.random.default_rng(2).normal(size=(40_000, looks[-1]))
    crossed = np.zeros(len(differences), dtype=bool)
    for look, level in zip(looks, levels, strict=True):
        test = ttest_1samp(differences[:, :look], 0.0, axis=1, alternative="greater")
        crossed |= test.pvalue < level
    assert crossed.mean() == pytest.approx(0.025, abs=0.003)


def test_a_single_look_of_a_power_spends_all_of_alpha() -> None:
    assert power_levels((7,), 0.025, 1.0) == pytest.approx((0.025,))


@pytest.mark.parametrize("looks", [(), (4, 4), (6, 4), (0, 4)])
def test_looks_must_increase(looks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="looks must be increasing"):
        nominal_levels(looks, 0.025)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.5, float("nan")])
def test_alpha_must_be_a_probability(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha must lie between 0 and"):
        nominal_levels((4, 8), alpha)
