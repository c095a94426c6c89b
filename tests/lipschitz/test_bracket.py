"""Two bounds of one constant: options reach the right one, and a contradiction is never a result."""

import functools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from artclip import lipschitz_bracket
from artclip.lipschitz import bracket
from tests.nets import torch_nets as nets

X = np.random.default_rng(0).uniform(size=(20, 5)).astype(np.float32)
QUICK = {"nb_restarts": 2, "max_iter": 2, "seed": 0}


@pytest.fixture
def model():
    return nets.linear_classifier(np.random.default_rng(0).standard_normal((3, 5)))


@pytest.fixture
def calls(monkeypatch):
    """Keyword arguments that the two functions were called with."""
    made = {}
    for name in ("lipschitz_lower_bound", "lipschitz_upper_bound"):
        function = getattr(bracket, name)

        def recorded(*args, function=function, name=name, **kwargs):
            made[name.split("_")[1]] = kwargs
            return function(*args, **kwargs)

        monkeypatch.setattr(bracket, name, functools.wraps(function)(recorded))
    return made


def test_options_reach_the_function_that_they_are_for(model, calls):
    lower, upper = lipschitz_bracket(
        model, X, method="product", max_seconds=8.0, verbose=False, domain="clip_values", **QUICK
    )
    assert calls["upper"] == {"method": "product", "max_seconds": 4.0, "verbose": False}
    assert calls["lower"].items() >= {"verbose": False, "domain": "clip_values", **QUICK}.items()
    assert calls["lower"].keys() <= {"verbose", "domain", "max_seconds", *QUICK}
    assert calls["lower"].get("max_seconds", 4.0) <= 8.0
    assert 0 < lower.value <= upper.value
    assert (lower.kind, upper.kind) == ("lower", "upper")


@pytest.mark.parametrize(("option", "error"), [({"separation": 0.1}, TypeError), ({"max_seconds": 0}, ValueError)])
def test_other_options_are_refused_by_name(model, option, error):
    with pytest.raises(error, match=next(iter(option))):
        lipschitz_bracket(model, X, **option)


def test_a_contradiction_says_both_figures(model, monkeypatch):
    whole = bracket.lipschitz_upper_bound

    @functools.wraps(whole)
    def half(*args, **kwargs):
        found = whole(*args, **kwargs)
        return replace(found, value=found.value / 2)

    monkeypatch.setattr(bracket, "lipschitz_upper_bound", half)
    with pytest.raises(bracket.Contradiction, match=r"contradict each other: Lip >= .* and Lip (<=|==) .*report it"):
        lipschitz_bracket(model, X, **{**QUICK, "max_iter": 20})


def test_rounding_is_no_contradiction(model):
    lower, upper = lipschitz_bracket(model, X, **QUICK)
    above = replace(lower, value=upper.value * (1 + 5e-7))
    assert bracket._compared(above, upper, 1e-6).value == upper.value
    with pytest.raises(ValueError, match="contradict"):
        bracket._compared(above, upper, 1e-7)
