"""Accuracy over the budget of an attack, over its calls, or over noise: for one model, or several side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from artclip import checks
from artclip.evaluation.attacks import AttackConfig, choose
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.plots import plot_curves
from artclip.evaluation.units import rising
from artclip.hashing.digests import digest
from artclip.reporting.records import as_json, describe


@dataclass
class Curve:
    """Accuracies over eps, the calls of an attack, or sigma.

    Attributes:
        settings: everything that the figures depend on, with versions and machine.
        title: what was done to the samples.
        label: of the axis that ``values`` are on.
        values: eps, ``max_iter`` or sigma, rising from 0.
        nb_samples: how many samples the accuracies are of.
        accuracy: by model, shares in [0, 1], one for each of ``values``.
        spread: by model, their standard deviations over draws of noise; empty where nothing was drawn anew.
        calls: by model, how often the attack calls it for a sample that does not fall, one for each of ``values``;
            empty where these are no iterations.
        seconds: in all.
    """

    settings: dict[str, Any]
    title: str
    label: str
    values: list[float]
    nb_samples: int
    accuracy: dict[str, list[float]]
    spread: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return dict(vars(self))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def plot(self) -> Any:
        """One line a model, as a ``matplotlib.figure.Figure``."""
        return plot_curves(self)


def robustness_curve(
    estimators: Any,
    x: np.ndarray,
    y: np.ndarray,
    norm: float | str = 2,
    eps: Sequence[float] = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0),
    attack: str = "pgd-margin:max_iter=50,nb_restarts=1",
    batch_size: int | None = None,
    seed: int | None = None,
    verbose: bool = True,
) -> Curve:
    """Accuracy under an attack of growing budget.

    A sample that falls at some eps counts as fallen at every larger one, where its adversarial example is still valid;
    so accuracies never rise. Each is an upper bound of the robust accuracy at its eps.

    Args:
        estimators: an ART classifier, a bare ``torch.nn.Module`` or Keras model; or a dict from names to those.
        x: inputs, shape (n, *input_shape), in the units of ``clip_values``.
        y: class indices of shape (n,), or one-hot labels.
        norm: of the budgets: 1, 2 or inf.
        eps: the budgets, >= 0, in units of the inputs; 0, the accuracy on clean samples, is always among them.
        attack: name of an attack within a budget, with settings; one of
            :data:`artclip.evaluation.attacks.ATTACKS`.
        batch_size: samples in one pass, >= 1; ``None`` for one that suits the inputs.
        seed: of all randomness; ``None`` draws one.
        verbose: show progress, on a terminal or in a notebook.

    Returns:
        The :class:`Curve`.

    Raises:
        ValueError, TypeError: bad input, before any attack; or a model that the attack cannot be run on.
    """
    started, norm = time.perf_counter(), checks.norm("norm", norm)
    values, chosen = sorted({0.0, *rising("eps", eps, checks.non_negative)}), _chosen(attack, norm)
    models, seed = _models(estimators, x, y, batch_size), checks.seed_or_drawn(seed)
    accuracy = {}
    with tqdm(total=len(models) * (len(values) - 1), disable=None if verbose else True, unit="eps") as progress:
        for model in models:
            progress.set_description(model.name)
            standing = _standing(model, [(chosen, budget) for budget in values[1:]], norm, seed, progress)
            accuracy[model.name] = [float(some.mean()) for some in standing]
    settings = {"norm": str(norm), "attack": attack, "parameters": chosen.options, "seed": seed}
    return Curve(
        settings={**settings, **_described(models)},
        title=f"{chosen.title} on {len(x)} samples",
        label=f"eps, L{norm}",
        values=values,
        nb_samples=len(x),
        accuracy=accuracy,
        seconds=time.perf_counter() - started,
    )


def query_curve(
    estimators: Any,
    x: np.ndarray,
    y: np.ndarray,
    norm: float | str = 2,
    eps: float = 2.0,
    attack: str = "square",
    max_iter: Sequence[int] = (10, 30, 100, 300, 1000),
    batch_size: int | None = None,
    seed: int | None = None,
    verbose: bool = True,
) -> Curve:
    """Accuracy under an attack that may call the model more and more often: by outputs alone, or by gradients.

    A forward pass counts as one call and a gradient as another, as in AttackBench (Cinà et al. 2025, arXiv 2404.19460);
    where outputs are random, each draw counts. A sample that falls to few calls counts as fallen at more.

    Args:
        estimators, x, y, batch_size, seed, verbose: as for :func:`robustness_curve`.
        norm: of the budget: 1, 2 or inf.
        eps: the budget > 0, in units of the inputs.
        attack: name of an attack within a budget that has the setting ``max_iter``, with other settings; one of
            :data:`artclip.evaluation.attacks.ATTACKS`.
        max_iter: the values of that setting, integers >= 1.

    Returns:
        The :class:`Curve`, whose ``calls`` are how often a sample is looked at that stands throughout.

    Raises:
        ValueError, TypeError: bad input, before any attack; or a model that the attack cannot be run on.
    """
    started, norm = time.perf_counter(), checks.norm("norm", norm)
    checks.positive("eps", eps)
    chosen, values = _chosen(attack, norm), [int(k) for k in rising("max_iter", max_iter, checks.positive_integer)]
    if "max_iter" not in chosen.options:
        raise ValueError(f"attack {attack!r} has no setting max_iter; use one that has, as square, nes or pgd")
    models, seed = _models(estimators, x, y, batch_size), checks.seed_or_drawn(seed)
    accuracy, calls = {}, {}
    with tqdm(total=len(models) * len(values), disable=None if verbose else True, unit="max_iter") as progress:
        for model in models:
            progress.set_description(model.name)
            attacks = [replace(chosen, options={**chosen.options, "max_iter": k}) for k in values]
            standing = _standing(model, [(one, eps) for one in attacks], norm, seed, progress)
            accuracy[model.name] = [float(some.mean()) for some in standing]
            last = np.flatnonzero(next((some for some in reversed(standing) if some.any()), model.right))[:1]
            calls[model.name] = [0.0, *(_calls(model, one, last, norm, eps, seed) for one in attacks)]
    settings = {"norm": str(norm), "eps": float(eps), "attack": attack, "parameters": chosen.options, "seed": seed}
    return Curve(
        settings={**settings, **_described(models)},
        title=f"{chosen.attack.title} within L{norm} {eps:g} on {len(x)} samples",
        label="calls of the model for a sample",
        values=[0.0, *map(float, values)],
        nb_samples=len(x),
        accuracy=accuracy,
        calls=calls,
        seconds=time.perf_counter() - started,
    )


def noise_curve(
    estimators: Any,
    x: np.ndarray,
    y: np.ndarray,
    sigma: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
    nb_draws: int = 3,
    batch_size: int | None = None,
    seed: int | None = None,
    verbose: bool = True,
) -> Curve:
    """Accuracy under Gaussian noise, clipped to ``clip_values``: the mean over draws, and their standard deviation.

    All models get the same noise.

    Args:
        estimators, x, y, batch_size, seed, verbose: as for :func:`robustness_curve`.
        sigma: standard deviations, >= 0, in units of the inputs; 0, the clean samples, is always among them.
        nb_draws: how often noise is drawn, >= 1.

    Returns:
        The :class:`Curve`.

    Raises:
        ValueError, TypeError: bad input.
    """
    started, values = time.perf_counter(), sorted({0.0, *rising("sigma", sigma, checks.non_negative)})
    checks.positive_integer("nb_draws", nb_draws)
    models, seed = _models(estimators, x, y, batch_size), checks.seed_or_drawn(seed)
    everything, accuracy, spread = np.ones(len(x), bool), {}, {}
    with tqdm(total=len(models) * (len(values) - 1), disable=None if verbose else True, unit="sigma") as progress:
        for model in models:
            progress.set_description(model.name)
            draws = []
            for width in values[1:]:
                noise = choose([f"noise:sigma={width!r}"], 2)[0]
                outcomes = (_broken(model, noise, everything, 2, width, seed + draw) for draw in range(nb_draws))
                draws.append([float(1 - broken.mean()) for broken in outcomes])
                progress.update()
            accuracy[model.name] = [float(model.right.mean()), *(float(np.mean(d)) for d in draws)]
            spread[model.name] = [0.0, *(float(np.std(d, ddof=1)) if len(d) > 1 else 0.0 for d in draws)]
    return Curve(
        settings={"nb_draws": nb_draws, "seed": seed, **_described(models)},
        title=f"Gaussian noise on {len(x)} samples, mean of {nb_draws} draw{'s' * (nb_draws > 1)}",
        label="sigma",
        values=values,
        nb_samples=len(x),
        accuracy=accuracy,
        spread=spread,
        seconds=time.perf_counter() - started,
    )


def _broken(
    model: EvaluatedModel, chosen: AttackConfig, remaining: np.ndarray, norm: float, eps: float, seed: int
) -> np.ndarray:
    """Which of the samples that stand an attack breaks, shape (n,)."""
    outcome = model.runner(norm, eps, seed).attack(chosen, remaining)
    if outcome.error:
        raise ValueError(f"{chosen.title} could not be run on {model.name}: {outcome.error}")
    return outcome.broken


def _standing(
    model: EvaluatedModel, attempts: list[tuple[AttackConfig, float]], norm: float, seed: int, progress: Any
) -> list[np.ndarray]:
    """Which samples stand, shape (n,), before and after each attempt, an attack and its eps; none stands up again."""
    standing = [model.right]
    for chosen, eps in attempts:
        standing.append(standing[-1] & ~_broken(model, chosen, standing[-1], norm, eps, seed))
        progress.update()
    return standing


def _calls(model: EvaluatedModel, chosen: AttackConfig, index: np.ndarray, norm: float, eps: float, seed: int) -> float:
    """Passes and gradients that an attack takes on one sample, or on none."""
    one = np.zeros(len(model.x), bool)
    one[index] = True
    outcome = model.runner(norm, eps, seed).attack(chosen, one)
    return float(outcome.passes + outcome.gradients)


def _models(estimators: Any, x: np.ndarray, y: np.ndarray, batch_size: int | None) -> list[EvaluatedModel]:
    named = estimators if isinstance(estimators, dict) else {None: estimators}
    if not named:
        raise ValueError("estimators is empty; give a classifier, or a dict from names to classifiers")
    return [
        EvaluatedModel(estimator, x, y, batch_size, None if name is None else str(name))
        for name, estimator in named.items()
    ]


def _chosen(attack: str, norm: float) -> AttackConfig:
    if not isinstance(attack, str):
        raise TypeError(f"attack is a {type(attack).__name__}; expected a name, as 'pgd:max_iter=20'")
    chosen = choose([attack], norm)[0]
    if not chosen.attack.in_budget:
        raise ValueError(f"attack {attack!r} keeps to no eps; use an attack that does, or noise_curve for noise")
    return chosen


def _described(models: list[EvaluatedModel]) -> dict[str, Any]:
    """What all curves say of the models, the data and the machine."""
    descriptions = [describe(m.package) for m in models]
    versions = {package: v for one in descriptions for package, v in one["versions"].items()}
    return {
        "models": [m.name for m in models],
        "outputs": {m.name: m.classifier.kind for m in models},
        "batch_size": {m.name: m.classifier.batch_size for m in models},
        "data_sha256": digest(models[0].x, models[0].y),
        **descriptions[0],
        "versions": versions,
    }
