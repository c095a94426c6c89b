"""X_Lip: pairs of points that climb the difference quotient Q(u, v) = ‖f(u) - f(v)‖ / ‖u - v‖ (algorithm 1).

A pair is kept as its centre c and its unit direction w, so that u, v = c ∓ h·w/2 are always a distance h apart:
``u == v`` cannot arise, and h is chosen well above the distance at which Q would be float rounding.

The update is a power iteration. For small h, f(v) - f(u) = h·J·w with the Jacobian J, and the next direction is the
unit vector that the pulled-back difference Jᵀ(f(v) - f(u)) points to. For a linear f in L2 this is the power method on
JᵀJ; for other norms it is the power method for operator norms (Boyd 1974; Higham 1992). One ascent costs one forward
and one input gradient of 2P samples; no parameter gradient is taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artclip import checks
from artclip.frameworks.base import Function, Tensor
from artclip.lipschitz.pair_rule import INITS, PairRule, State, make_rule
from artclip.norms import column, lengths, unit


class PairSet:
    """The set X_Lip as an object: pairs that climb, and the quotients they have reached.

    Args:
        f: function, from :func:`artclip.frameworks.function_of`.
        x: shape (n, *input_shape), n >= 1: points to start from, in the units that the model takes.
        nb_pairs: number of pairs P, >= 1.
        init: ``"near"`` (around a data point, in a random direction), ``"data"`` (two data points; their distance
            halves at each step until it is ``separation``), ``"noise"`` (uniform over the box or over the range of x),
            ``"batch"`` (as ``"near"``; meant for fresh :meth:`anchor` calls).
        norm: norm on inputs: 1, 2 or inf.
        output_norm: norm on outputs: 1, 2 or inf.
        domain: ``"clip_values"`` keeps u and v inside the classifier's ``clip_values``; ``"free"`` does not.
        separation: distance ‖u - v‖ > 0 in ``norm``; ``None`` for 1/28 of the diagonal of the classifier's
            ``clip_values`` (1.0 for MNIST in L2), at most their widest side; without them, of the range of x.
        seed: seed of the start, or ``None``.

    Raises:
        ValueError: a bad value, or a separation so small that quotients would be rounding noise.
    """

    def __init__(
        self,
        f: Function,
        x: np.ndarray,
        nb_pairs: int = 16,
        *,
        init: str = "near",
        norm: float | str = 2,
        output_norm: float | str = 2,
        domain: str = "clip_values",
        separation: float | None = None,
        seed: int | None = None,
    ) -> None:
        checks.one_of("init", init, INITS)
        checks.positive_integer("nb_pairs", nb_pairs)
        x = checks.inputs(x, f.input_shape or None)
        self.rule, low, high = make_rule(f, x, norm, output_norm, domain, separation)
        rng = np.random.default_rng(seed)
        anchors = x[rng.choice(len(x), nb_pairs, replace=len(x) < nb_pairs)].astype(np.float64)
        directions = rng.standard_normal((nb_pairs, *x.shape[1:]))
        self._spread = 1.0
        if init == "noise":
            anchors = rng.uniform(low, high, anchors.shape)
        elif init == "data":
            others = x[rng.choice(len(x), nb_pairs, replace=len(x) < nb_pairs)] - anchors
            distances = lengths(others, self.rule.norm)
            apart = distances > 0
            directions = np.where(column(apart, others), others, directions)
            anchors = anchors + column(apart, others) * others / 2
            self._spread = max(1.0, float(np.median(distances)) / self.rule.separation)
        directions = unit(directions, self.rule.norm)
        self.state: State = (f.tensor(anchors), f.tensor(directions))

    def _current(self) -> PairRule:
        if self._spread == 1.0:
            return self.rule
        return replace(self.rule, separation=self.rule.separation * self._spread, narrow=True)

    @property
    def u(self) -> Tensor:
        """First points, shape (P, *input_shape)."""
        return self._current().ends(self.state)[: self.state[1].shape[0]]

    @property
    def v(self) -> Tensor:
        """Second points, shape (P, *input_shape)."""
        return self._current().ends(self.state)[self.state[1].shape[0] :]

    def ascend(self, steps: int = 1) -> PairSet:
        """Climb ``steps`` >= 0 times; returns itself."""
        for _ in range(steps):
            self.state = self._current().ascend(self.state)
            self._spread = max(1.0, self._spread / 2)
        return self

    def settle(self) -> PairSet:
        """Climb until all pairs are ``separation`` apart; returns itself."""
        while self._spread > 1.0:
            self.ascend()
        return self

    def anchor(self, x: np.ndarray) -> PairSet:
        """Move the pairs to the first points of x, shape (n, *input_shape); returns itself."""
        nb_pairs = self.state[1].shape[0]
        x = checks.inputs(x, tuple(self.state[1].shape[1:]))
        self.state = self.rule.start(self.rule.f.tensor(np.resize(x, (nb_pairs, *x.shape[1:]))), self.state[1])
        self._spread = 1.0
        return self

    def refresh(self, x: np.ndarray, share: float = 0.25) -> PairSet:
        """Give the flattest pairs new places; returns itself.

        Args:
            x: shape (n, *input_shape): where to go.
            share: part of the pairs to replace, in (0, 1].
        """
        checks.share("share", share)
        nb_pairs = self.state[1].shape[0]
        x = checks.inputs(x, tuple(self.state[1].shape[1:]))
        places = self.rule.f.tensor(np.resize(x, (nb_pairs, *x.shape[1:])))
        self.state = self._current().refresh(self.state, places, share)
        return self

    def quotients(self) -> np.ndarray:
        """Q(u, v) of each pair, shape (P,), in output units per input unit.

        Each is a lower bound of the Lipschitz constant, up to float rounding of f.
        """
        return self.rule.f.to_numpy([self._current().quotients(self.state)])
