"""How far outputs can move within a ball: as far as was found, by gradient and by search, and as far as is proved."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip import checks
from artclip.evaluation.auto_pgd import climb
from artclip.evaluation.farthest import Farthest, search
from artclip.evaluation.features import FeatureRules
from artclip.evaluation.random_outputs import is_random, randomness
from artclip.evaluation.threat_model import ThreatModel
from artclip.frameworks import Function, function_of
from artclip.frameworks.check import give_range
from artclip.lipschitz.local.change import changes_around
from artclip.lipschitz.precision import has_gradient
from artclip.norms import lengths
from artclip.reporting.records import as_json, describe
from artclip.reporting.text import budget, counted, norm_name, table, wrapped

_ALONE = 10  # outputs, up to which each is pushed up and down by itself
_FROM = 4  # climbs of the distance for each of those asked for: most lead to a local maximum
_SIZE = 512  # samples in one pass
_MORE, _SHARE = 1.3, 0.02  # times the change, of a share of the samples, that a search may find beyond gradients
_QUANTILES = {"median": 0.5, "95 % of samples": 0.95, "largest": 1.0}


@dataclass(frozen=True, repr=False)
class OutputChange:
    """How far the outputs of a model move within a ball around each sample.

    Attributes:
        settings: norm, radius, norm of the outputs, seed, and what else the figures depend on.
        outputs: of the samples, shape (n, k).
        found: the largest ‖f(x') − f(x)‖ that was found within the ball, shape (n,): a lower bound of the truth.
        examples: the x' of each, shape (n, *input_shape).
        changed: the outputs there, shape (n, k).
        proved: what ‖f(x') − f(x)‖ is at most, for all x' in the ball, shape (n,): an upper bound; inf where nothing
            was proved.
        by_search: which samples the search by outputs alone moved 1.3 times as far as gradients did, shape (n,).
        remarks: what must be said, one line each.
    """

    settings: dict[str, Any]
    outputs: np.ndarray
    found: np.ndarray
    examples: np.ndarray
    changed: np.ndarray
    proved: np.ndarray
    by_search: np.ndarray
    remarks: list[str] = field(default_factory=list)

    def message(self) -> str:
        """What was found, in one sentence."""
        s, worst = self.settings, float(self.found.max())
        within = budget(s["norm"], s["eps"])
        proved, lost = float(self.proved.max()), int(np.isinf(self.proved).sum())
        some = "nothing is proved" + f" of {lost} of them" * (lost < len(self.found))
        most = some if lost else f"at most {proved:.4g} is proved"
        return f"Within {within} the outputs of {counted(len(self.found), 'sample')} move by up to {worst:.4g}; {most}"

    def columns(self) -> list[tuple[str, float, float]]:
        """(which samples, change found, change proved): median, 95 % quantile and the largest of each."""
        both = (np.quantile(v, list(_QUANTILES.values()), method="higher") for v in (self.found, self.proved))
        return [(n, float(a), float(b)) for n, a, b in zip(_QUANTILES, *both, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """All but the inputs and outputs."""
        proved = [float(v) if np.isfinite(v) else None for v in self.proved]
        by_search = self.by_search.astype(int).tolist()
        rows = {"found": self.found.tolist(), "proved": proved, "by_search": by_search, "remarks": self.remarks}
        return {"message": self.message(), **rows, "settings": self.settings}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def __repr__(self) -> str:
        return f"<OutputChange: {self.message()}>"

    def __str__(self) -> str:
        name = norm_name(self.settings["output_norm"])
        said = [(which, f"{found:.4g}", proved) for which, found, proved in self.columns()]
        rows = [[*first, f"{proved:.4g}" if math.isfinite(proved) else "–"] for *first, proved in said]
        lines = table([f"change in {name}", "found", "proved at most"], rows, range(1, 3))
        return "\n".join(
            [*wrapped([f"{self.message()}."], ""), "", *lines, "", *wrapped(f"{remark}." for remark in self.remarks)]
        )


def output_change(
    estimator: Any,
    x: np.ndarray,
    norm: float | str = 2,
    eps: float = 1.0,
    output_norm: float | str = 2,
    max_iter: int = 50,
    nb_restarts: int = 2,
    nb_queries: int = 500,
    max_seconds: float = 60.0,
    seed: int | None = None,
    clip_values: Any = None,
) -> OutputChange:
    """How far the outputs move where an input moves by up to eps: what regressors are evaluated by.

    Auto-PGD (Croce, Hein 2020, arXiv 2003.01690) climbs the distance of the outputs from those of the sample, and up to
    ten outputs each up and down; then Square (Andriushchenko et al. 2020, arXiv 1912.00049) goes on from nothing by
    outputs alone, so that gradients that lead nowhere show; of vectors of up to 64 features half of these queries move
    one feature after the other. Beside it stands what is proved: by bounds of the outputs
    in the ball (CROWN) and by the Lipschitz constant there, whichever is less.

    Args:
        estimator: an ART regressor or classifier, a ``torch.nn.Module`` or a Keras model; of classifiers outputs are as
            ``predict`` gives them. Models without gradients are searched alone.
        x: samples, shape (n, *input_shape), in the units of ``clip_values``.
        norm: of the ball: 1, 2 or inf.
        eps: its radius > 0, in units of the inputs. Only inputs within ``clip_values`` count.
        output_norm: that the change is measured in: 1, 2 or inf, in units of the outputs.
        max_iter: gradients of a climb, >= 1.
        nb_restarts: climbs of each kind, from random points of the ball, >= 1.
        nb_queries: outputs that the search asks for of each sample, >= 0.
        max_seconds: for the proof, > 0; samples that it does not suffice for have a looser bound, or none.
        seed: of all randomness; ``None`` draws one.
        clip_values: range (low, high) of valid inputs of a bare model; an ART estimator has its own.

    Returns:
        The :class:`OutputChange`.

    Raises:
        TypeError, ValueError: bad input, or a model whose outputs are random.
    """
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    checks.positive("eps", eps)
    checks.positive("max_seconds", max_seconds)
    for name, value, least in (
        ("max_iter", max_iter, 1),
        ("nb_restarts", nb_restarts, 1),
        ("nb_queries", nb_queries, 0),
    ):
        checks.positive_integer(name, value, least)
    f, seed = function_of(estimator), checks.seed_or_drawn(seed)
    give_range(f, clip_values)
    x = checks.inputs(x, f.input_shape or None, box=f.clip_values).astype(np.float32)
    f.input_shape = f.input_shape or tuple(x.shape[1:])
    if is_random(lambda a: f.outputs(a, _SIZE), x[:32]):
        raise ValueError("outputs are random: two calls on the same inputs differ, so that they change within any ball")
    view = _Outputs(f, bool(getattr(estimator, "channels_first", f.name != "tensorflow")), q)
    outputs = view.outputs(x)
    lost = np.flatnonzero(~np.isfinite(outputs).all(1))
    if len(lost):
        raise ValueError(
            f"outputs are not finite at {counted(len(lost), 'sample')}, first at sample {lost[0]}: {outputs[lost[0]]}; "
            "leave these out, or mend the model"
        )
    points, threat = Farthest(view, x, outputs, p, eps), ThreatModel(view, p, float(eps))  # type: ignore[arg-type]
    with randomness(f, (seed,)):
        if view.has_gradients:
            for way in _ways(outputs.shape[1]) * nb_restarts:
                labels = np.concatenate([outputs, np.tile(way, (len(x), 1))], axis=1)
                points.try_out(climb(view, x, labels, p, eps, max_iter)[0])  # type: ignore[arg-type]
        by_gradient = points.found.copy()
        search(threat, x, points, nb_queries)
    proved, remarks = changes_around(f, x, float(eps), p, q, max_seconds)
    if points.lost.any():
        proved = np.where(points.lost, np.inf, proved)
        remarks.append(
            f"Outputs are not finite somewhere in the balls of {counted(int(points.lost.sum()), 'sample')}: the change "
            "found is of points where they are, and nothing is proved there"
        )
    by_search = points.found > _MORE * by_gradient if view.has_gradients else np.ones(len(x), bool)
    if not view.has_gradients:
        remarks.append("The model gives no gradients: the change found is by its outputs alone")
    elif by_search.mean() > _SHARE:
        remarks.append(
            f"Of {int(by_search.sum())} of {len(x)} samples the search by outputs alone found a change more than "
            f"{_MORE:g} times as large as gradients did: gradients may be masked, and the truth larger still"
        )
    settings = {
        **{"norm": str(p), "eps": float(eps), "output_norm": str(q), "nb_samples": len(x), "seed": seed},
        **{"max_iter": max_iter, "nb_restarts": nb_restarts, "nb_queries": nb_queries},
        **describe(None),
    }
    return OutputChange(settings, outputs, points.found, points.examples, points.changed, proved, by_search, remarks)


def _ways(k: int) -> list[np.ndarray]:
    """What is climbed: of few outputs each up and down, and of several their distance, which zeros stand for."""
    signs = [sign * row for row in np.eye(k) for sign in (1.0, -1.0)] if k <= _ALONE else []
    return signs + [np.zeros(k)] * (_FROM * (k > 1))


class _Outputs:
    """A model as :func:`~artclip.evaluation.auto_pgd.climb` sees it, whose loss is how far outputs have moved.

    ``labels`` are rows of the outputs at the samples and of the way that is climbed, (n, 2k).
    """

    nb_draws, by_batch, rules = 1, False, FeatureRules()

    def __init__(self, f: Function, channels_first: bool, q: float) -> None:
        self.f, self.channels_first, self._q = f, channels_first, q
        self.clip_values = f.clip_values
        self._at = f.linearise()
        shape = f.input_shape or ()
        self.has_gradients = f.access != "predict alone" and has_gradient(f, np.zeros((1, *shape), np.float32))

    def limits(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest valid inputs."""
        ends = self.clip_values
        return self.rules.limits(x, *((-math.inf, math.inf) if ends is None else ends))

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Shape (n, k), float64."""
        return self.f.outputs(x, _SIZE).reshape(len(x), -1).astype(np.float64)

    def moved(self, change: np.ndarray) -> np.ndarray:
        """Lengths (n,) of changes (n, k)."""
        return lengths(change, self._q)

    def margins(self, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nothing falls; the loss (n,); and its gradients."""
        k, values, gradients = labels.shape[1] // 2, np.empty(len(x)), np.empty(x.shape)
        for i in range(0, len(x), _SIZE):
            part = slice(i, i + _SIZE)
            outputs, pull = self._at(np.ascontiguousarray(x[part], np.float32))
            change, way = outputs - labels[part, :k], labels[part, k:]
            lost = ~np.isfinite(change).all(1)
            change[lost] = 0
            # A norm is the largest of the linear functions of dual length 1: the one that is so here is its gradient.
            slopes = np.where(way.any(1, keepdims=True), way, _steepest(change, self._q))
            values[part] = np.where(lost, -math.inf, (slopes * change).sum(1))
            gradients[part] = np.nan_to_num(pull(slopes))
        return np.full(len(x), -math.inf), values, gradients


def _steepest(change: np.ndarray, q: float) -> np.ndarray:
    """Gradients (n, k) of the q-norm at changes (n, k); where these are 0, that of the first output."""
    change = np.where(change.any(1, keepdims=True), change, np.eye(1, change.shape[1]))
    if q == 1:
        return np.sign(change)
    if q == math.inf:
        largest = np.arange(change.shape[1]) == np.abs(change).argmax(1)[:, None]
        return np.where(largest, np.sign(change), 0.0)
    return change / lengths(change, 2)[:, None]
