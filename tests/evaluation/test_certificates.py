"""The best proof that there is time for."""

import numpy as np
import pytest

from artclip import certified_radius, lipschitz_upper_bound
from artclip.evaluation.certificates import certified_radii
from artclip.evaluation.evaluated_model import EvaluatedModel
from tests.nets import default as nets


@pytest.fixture(scope="module")
def evaluated():
    x, _ = nets.data("mlp", n=60)
    model = nets.classifier("mlp")
    return EvaluatedModel(model, x, model.predict(x).argmax(1))


def test_those_that_fell_are_not_looked_at_again(evaluated):
    upper, fallen = lipschitz_upper_bound(evaluated.estimator), np.arange(60) % 2 == 0
    eps = float(np.median(certified_radius(evaluated.estimator, evaluated.x, method="auto")))
    radii, _ = certified_radii(evaluated, 2, eps, upper, fallen)
    by_constant = certified_radius(evaluated.estimator, evaluated.x, evaluated.y, upper)
    np.testing.assert_array_equal(radii[fallen], by_constant[fallen])
    assert (radii[~fallen] >= by_constant[~fallen]).all()
    assert (radii[~fallen] > by_constant[~fallen]).any()


def test_without_time_constants_alone_count_and_a_remark_says_so(evaluated):
    upper = lipschitz_upper_bound(evaluated.estimator)
    by_constant = certified_radius(evaluated.estimator, evaluated.x, evaluated.y, upper)
    radii, said = certified_radii(evaluated, 2, float(by_constant.max() * 1.01), upper, np.zeros(60, bool), 1e-9)
    np.testing.assert_array_equal(radii, by_constant)
    assert said[1:] == ["No certificates in balls: a sample would take more than 0 s"]
    radii, said = certified_radii(evaluated, np.inf, 0.1, None, np.zeros(60, bool), 1e-9)
    assert radii is None


def test_in_l1_nothing_is_certified(evaluated):
    assert certified_radii(evaluated, 1, 0.1, None, np.zeros(60, bool)) == (None, [])
