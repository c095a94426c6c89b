"""The climbs of a search: momentum keeps centres on their way where single steps are led astray."""

import numpy as np
import pytest
import torch
from torch import nn

from artclip import lipschitz_lower_bound
from artclip.frameworks import function_of
from artclip.lipschitz.clock import Clock
from artclip.lipschitz.pair_rule import make_rule
from artclip.lipschitz.search import Search

SIZE = 256


class Valley(nn.Module):
    """f(x) = s²/2 along the diagonal, s = Σx/√n, so that the slope grows along it."""

    def forward(self, x):
        s = x.sum(1, keepdim=True) / SIZE**0.5
        return s * s / 2


def search_on(module, x):
    f = function_of(module.eval())
    f.clip_values = (0.0, 1.0)
    rule, low, high = make_rule(f, x)
    return Search(rule, x, (low, high), 128, np.random.default_rng(0), Clock(), f.precision, f.precision)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_a_search_with_momentum_ends_at_the_steepest_corner(norm):
    """Of s²/2 the slope is s in L2, at most √n at the corner of ones; its gradient is s·(1, …, 1)/√n."""
    x = np.random.default_rng(0).uniform(0, 0.3, (20, SIZE)).astype(np.float32)
    most = {2: SIZE**0.5, "inf": float(SIZE)}[norm]
    found = lipschitz_lower_bound(Valley(), x, norm, clip_values=(0, 1), nb_restarts=4, max_iter=40, seed=0)
    assert 0.97 * most < found.value <= most


def test_momentum_averages_what_changes_its_sign():
    """The slope in the first input is that of a narrow valley, steeper than all; only the others lead anywhere."""

    class Narrow(nn.Module):
        def forward(self, x):
            s = x[:, 1:].sum(1, keepdim=True) / SIZE**0.5
            return s * s / 2 + 4 * torch.sin(40 * x[:, :1]) * x[:, :1]

    x = np.random.default_rng(0).uniform(0.3, 0.6, (16, SIZE)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal(x.shape)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    gained = []
    for momentum in (0.0, 0.9):
        search = search_on(Narrow(), x)
        _, c, _ = search._ascend(x.astype(float), w, lambda i: (0.1, 0.5), 30, momentum)
        gained.append(float((c - x)[:, 1:].sum(1).mean() / SIZE**0.5))
    assert gained[1] > 1.2 * gained[0] > 0, gained


def test_later_rounds_with_few_pairs_move_all_of_them_every_second_time(monkeypatch):
    x = np.random.default_rng(0).uniform(size=(30, SIZE)).astype(np.float32)
    search = search_on(Valley(), x)
    search.climb(search.screen(30, 8, 2), 3.0, 5)
    _, c, _ = search._apart(2, search.pairs(), 0.3)
    climbed = []
    monkeypatch.setattr(search, "climb", lambda pairs, start, max_iter: climbed.append(pairs[0]))
    for which in range(2):
        search.climb_around_the_best(2, which, 5)
    assert np.array_equal(climbed[0], c)
    assert (np.linalg.norm(climbed[1] - c, axis=1) > 0).all()
