"""Accuracy on clean, noisy and attacked inputs. The attacks are ART's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from artclip.frameworks import function_of

PGD_STEPS = 40


def accuracy(classifier: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Share of x, shape (n, *input_shape), that the classifier labels as the indices y, shape (n,)."""
    return float(np.mean(classifier.predict(x, batch_size=1024).argmax(1) == y))


def noisy(x: np.ndarray, sigma: float, clip_values: tuple[float, float], seed: int) -> np.ndarray:
    """x with Gaussian noise of standard deviation sigma >= 0, clipped to the valid range."""
    noise = np.random.default_rng(seed).normal(0, sigma, x.shape)
    return np.clip(x + noise, *clip_values).astype(np.float32)


def pgd(
    classifier: Any,
    x: np.ndarray,
    y: np.ndarray,
    norm: float,
    eps: float,
    seed: int,
    steps: int = PGD_STEPS,
    batch_size: int = 256,
) -> np.ndarray:
    """ART's projected gradient ascent on the classifier's loss: steps of 2.5·eps/steps and one random start.

    Args:
        classifier: ART classifier with loss gradients.
        x, y: inputs (n, *input_shape) and class indices (n,).
        norm, eps: the budget ‖x' - x‖ <= eps, eps > 0.
        steps: how many, >= 1.
        batch_size: samples attacked together, >= 1.
        seed: of the random start; the global RNGs are left as found.

    Returns:
        Adversarial inputs, in shape and range of x.
    """
    from art.attacks.evasion import ProjectedGradientDescent

    attack = ProjectedGradientDescent(
        classifier,
        norm=norm,
        eps=eps,
        eps_step=2.5 * eps / steps,
        max_iter=steps,
        num_random_init=1,
        batch_size=batch_size,
        verbose=False,
    )
    # ART draws from numpy's global RNG, and from the framework's when it makes batches.
    with _numpy_seed(seed), function_of(classifier).seeded(seed):
        return attack.generate(x, np.eye(classifier.nb_classes, dtype=np.float32)[y])


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
