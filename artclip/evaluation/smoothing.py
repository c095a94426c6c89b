"""Randomised smoothing: radii that hold for the most frequent label of noisy copies, each with a confidence.

ART's ``RandomizedSmoothingMixin`` counts labels and certifies (Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from art.estimators.certification.randomized_smoothing import NumpyRandomizedSmoothing, RandomizedSmoothingMixin
from scipy import stats

from artclip import checks
from artclip.evaluation.outputs import labels_of
from artclip.evaluation.random_outputs import randomness
from artclip.frameworks import Function, function_of
from artclip.frameworks.check import is_regressor
from artclip.frameworks.class_labels import as_columns
from artclip.frameworks.one_output import how_read

NB_DRAWS, ALPHA = 1000, 1e-3
_CHOSEN_BY = 100  # draws by which the label is chosen, before those by which it is certified
_NUMBERS = 1 << 22  # of inputs in one pass


@dataclass(frozen=True)
class Smoothing:
    """A smoothed classifier: its label is the one that most copies of an input with Gaussian noise get.

    Args:
        sigma: standard deviation > 0 of the noise, in units of the inputs.
        nb_draws: copies of a sample by which its radius is certified, >= 100.
        alpha: probability, 0 < alpha < 1/2, with which a radius may be wrong, for each sample.

    Raises:
        ValueError: one of them is out of its range.
    """

    sigma: float
    nb_draws: int = NB_DRAWS
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        checks.positive("sigma", self.sigma)
        checks.positive_integer("nb_draws", self.nb_draws, 100)
        checks.positive("alpha", self.alpha)
        if self.alpha >= 0.5:
            raise ValueError(f"alpha={self.alpha!r} is a probability of error; it must be below 1/2, as 0.001")

    @property
    def largest(self) -> float:
        """The radius in L2 that is certified where all copies get one label: none is larger."""
        return float(self.sigma * stats.norm.ppf(_lower(self.nb_draws, self.nb_draws, self.alpha)))

    def outcomes(self, estimator: Any, x: np.ndarray, y: np.ndarray, eps: float, seed: int) -> dict[str, np.ndarray]:
        """Which samples the smoothed classifier gets right, and provably within the L2 radius eps, shape (n,) each."""
        right, radii = self.right_and_radii(estimator, x, y, seed)
        return {"smoothed": right, "smoothed_certified": radii >= eps}

    def right_and_radii(
        self, estimator: Any, x: np.ndarray, y: np.ndarray, seed: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of which samples most draws have the right label, and the radii of :func:`smoothed_radius`, (n,) each."""
        f = function_of(unsmoothed(estimator)[0])
        x = checks.inputs(x, f.input_shape or None, box=f.clip_values).astype(np.float32)
        if is_regressor(f):
            raise ValueError("a certificate is about labels, and this estimator is a regressor; give a classifier")
        f.input_shape = f.input_shape or tuple(x.shape[1:])
        outputs = f.outputs(x, _size(x))
        if np.isnan(outputs).all():
            raise ValueError("all outputs of the model are NaN: it has no labels to smooth")
        read, nb_classes = how_read(f, x, outputs), max(2, outputs.shape[1])
        labels = checks.classes(x, as_columns(y, f.class_labels)[0], nb_classes)
        seed = checks.seed_or_drawn(seed)
        smoothed = _Smoothed(f, read, nb_classes, self, seed)
        with randomness(f, (seed,)):  # of a model that draws itself
            predicted, radii = smoothed.certify(x, n=self.nb_draws, batch_size=_size(x))
        return np.array(smoothed.frequent[1::2]) == labels, np.where(predicted == labels, radii, 0.0)

    def said(self, eps: float) -> str:
        """What must be said beside a share that is certified at the L2 radius eps."""
        least = f"; no radius above {self.largest:.3g} can be" * (self.largest < eps)
        return (
            f"The columns 'smoothed' are of the most frequent label under Gaussian noise of σ = {self.sigma:g}, all "
            f"others of the net without noise; each sample is certified by {self.nb_draws:,} draws, with a confidence "
            f"of {100 * (1 - self.alpha):g} %{least}"
        )


def unsmoothed(estimator: Any) -> tuple[Any, Smoothing | None]:
    """The net of an estimator that ART smooths, and how; any other estimator as it is, and ``None``."""
    if not isinstance(estimator, RandomizedSmoothingMixin):
        return estimator, None
    smoothing = Smoothing(float(estimator.scale), NB_DRAWS, float(estimator.alpha))
    return estimator.classifier if isinstance(estimator, NumpyRandomizedSmoothing) else estimator, smoothing


def smoothed_radius(
    estimator: Any,
    x: np.ndarray,
    y: np.ndarray,
    sigma: float,
    nb_draws: int = NB_DRAWS,
    alpha: float = ALPHA,
    seed: int | None = None,
) -> np.ndarray:
    """The L2 radius around each sample within which the *smoothed* classifier keeps its label, by ART's ``certify``.

    The smoothed classifier gives the label that most copies of an input with Gaussian noise get: it is not the model
    itself, takes many passes for one answer, and each radius is wrong with a probability of up to ``alpha``. A label is
    chosen by 100 copies, and its share among ``nb_draws`` others is bounded from below (Clopper, Pearson 1934); the
    radius is sigma times the normal quantile of that (Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918, theorem 1). By
    1,000 draws and alpha = 0.001 it is at most 2.46·sigma, by 100,000 3.81·sigma. Train the model on noise like it:
    :class:`artclip.NoiseTrainer`.

    Args:
        estimator: a classifier, as for :func:`artclip.evaluate`.
        x: shape (n, *input_shape), in the units of the classifier's ``clip_values``; noise may leave these.
        y: class indices of shape (n,) or one-hot labels.
        sigma: standard deviation > 0 of the noise, in units of x.
        nb_draws: copies of each sample, >= 100.
        alpha: probability, 0 < alpha < 1/2, with which the radius of a sample may be wrong.
        seed: of the noise; ``None`` draws one.

    Returns:
        Radii >= 0 of shape (n,); 0 where the label is not y, or where no label has clearly more than half of the draws.

    Raises:
        TypeError, ValueError: bad input, or a regressor.
    """
    return Smoothing(sigma, nb_draws, alpha).right_and_radii(estimator, x, y, seed)[1]


class _Smoothed(RandomizedSmoothingMixin):
    """A model's labels, behind what ART smooths.

    ``frequent`` has the most frequent label of each draw: for each sample of those that choose, then of the others.
    """

    def __init__(self, f: Function, read: Any, nb_classes: int, smoothing: Smoothing, seed: int) -> None:
        super().__init__(sample_size=_CHOSEN_BY, scale=smoothing.sigma, alpha=smoothing.alpha)
        self._f, self._read, self._nb_classes = f, read, nb_classes
        self._rng, self.frequent = np.random.default_rng(seed), list[int]()

    def _prediction_counts(self, x: np.ndarray, n: int | None = None, batch_size: int = 128) -> np.ndarray:
        # As ART's, which makes all copies at once, in float64: of 100,000 for an image of CIFAR-10 they take 2.5 GB.
        counts = np.zeros(self._nb_classes + 1)  # the last is of outputs that are NaN, whose label is -1
        for left in range(n or self.sample_size, 0, -batch_size):
            noisy = self._rng.standard_normal((min(left, batch_size), *x.shape), np.float32)
            noisy *= np.float32(self.scale)
            noisy += x
            outputs = self._f.outputs(noisy, batch_size)
            labels = labels_of(outputs if self._read is None else self._read.columns(outputs))
            counts += np.bincount(labels % len(counts), minlength=len(counts))
        most = int(counts.argmax())
        self.frequent.append(most if most < self._nb_classes else -1)
        return counts

    def _lower_confidence_bound(self, n_class_samples: int, n_total_samples: int) -> float:
        # As ART's, which takes it from statsmodels, a package that ART does not install.
        return _lower(int(n_class_samples), n_total_samples, self.alpha)


def _lower(right: int, nb: int, alpha: float) -> float:
    """Below the share that ``right`` of ``nb`` draws speak for, with confidence 1 - alpha (Clopper, Pearson 1934)."""
    return float(stats.beta.ppf(alpha, right, nb - right + 1)) if right else 0.0


def _size(x: np.ndarray) -> int:
    return int(min(1024, max(1, _NUMBERS // x[0].size)))
