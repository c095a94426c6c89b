"""Attacks that see outputs alone: random search, gradients estimated from outputs, walks along the boundary."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from art.estimators.classification import BlackBoxClassifierNeuralNetwork

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.images import image_shape, showable
from artclip.evaluation.losses import LOSSES
from artclip.evaluation.threat_model import Stage, ThreatModel, numpy_pgd
from artclip.norms import column, lengths

Outputs = Callable[[np.ndarray], np.ndarray]
_FIRST = 0.8  # share of an input that the first windows take, as in ART
_HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the queries at which windows halve
_NUMBERS = 1 << 23  # of inputs around samples in one pass


def square(threat: ThreatModel, *, max_iter: int = 1000) -> list[Stage]:
    """Random squares, kept where they lower the margin; ART's on square images, else windows of the true shape.

    ART's needs ``clip_values``, and images with as many rows as columns that its largest square leaves some of; a
    vector of a square number of entries, from 8×8 on, is such an image. All other inputs get :func:`windows`.
    """
    classifier, clip = threat.classifier, threat.classifier.clip_values
    shape = image_shape(classifier.true_shape, classifier.channels_first)
    height, width = (0, 1) if shape is None else shape[1:] if classifier.channels_first else shape[:2]
    largest = round(math.sqrt(_FIRST) * height)
    if threat.norm == 2:
        largest += 1 - largest % 2
    plain = clip is not None and np.ndim(clip[0]) == 0
    if not (plain and height == width >= 8 and largest < height and classifier.has_gradients and not classifier.flat):
        return [windows(threat, max_iter)]

    from art.attacks.evasion import SquareAttack

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        size = max(classifier.batch_size, 1024)

        def once(outputs: Outputs) -> Outputs:
            # ART's asks thrice a step; all but the new points it has seen in the step before.
            if classifier.nb_draws > 1 or classifier.by_batch:  # the same sample may have other outputs now
                return outputs
            return remembering(outputs, 3 * -(-len(x) // size))

        box = outputs_alone(classifier, around=once)
        attack = SquareAttack(box, norm=threat.norm, eps=threat.eps, max_iter=max_iter, batch_size=size, verbose=False)
        with np.errstate(invalid="ignore", divide="ignore"):  # on images of 8×8 its first tiles are empty
            return np.asarray(attack.generate(x.copy(), threat.labels(y)))

    return [threat.on_images(run, 8)]


def remembering(outputs: Outputs, nb_calls: int) -> Outputs:
    """The same outputs, computed for those rows alone that the last ``nb_calls`` calls did not hold."""
    seen: deque[dict[bytes, np.ndarray]] = deque(maxlen=nb_calls)

    def known(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float32, copy=False)  # as the classifier takes it, and as the attack keeps it
        rows = [row.tobytes() for row in x]
        found = {row: calls[row] for row in rows for calls in seen if row in calls}
        new = [i for i, row in enumerate(rows) if row not in found]
        if new:
            found |= zip((rows[i] for i in new), outputs(x[new]), strict=True)
        seen.append(found)
        return np.stack([found[row] for row in rows]) if rows else outputs(x)

    return known


def windows(threat: ThreatModel, max_iter: int) -> Stage:
    """The search of Square for inputs of any shape: windows of height × width, or runs of the entries of a vector.

    Each sample has windows of its own, and a step that changes nothing is taken too, as outputs of trees and of
    rounded models are flat nearly everywhere. In L2 a step moves what a second window holds into the first.
    """
    classifier, inf = threat.classifier, threat.norm == math.inf
    shape = classifier.true_shape
    images, first = len(shape) == 3, classifier.channels_first
    channels, height, width = (shape if first else (shape[2], *shape[:2])) if images else (1, 1, math.prod(shape))

    def layers(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 3, 1) if images and not first else x.reshape(-1, channels, height, width)

    def back(delta: np.ndarray) -> np.ndarray:
        return np.moveaxis(delta, 1, 3) if images and not first else delta.reshape(-1, *shape)

    def window(n: int, share: float) -> np.ndarray:
        """A window of each sample, as bool, shape (n, 1, height, width)."""
        h = min(height, max(1, round(math.sqrt(share * height * width))))
        w = min(width, max(1, round(share * height * width / h)))
        rows, columns = np.arange(height)[:, None], np.arange(width)
        top, left = (np.random.randint(0, k + 1, (n, 1, 1, 1)) for k in (height - h, width - w))  # noqa: NPY002
        return (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)

    def signs(*size: int) -> np.ndarray:
        return np.random.choice([-1.0, 1.0], size=size)  # noqa: NPY002

    def moved(delta: np.ndarray, share: float) -> np.ndarray:
        n = len(delta)
        here = window(n, share)
        if inf:
            return np.where(here, threat.eps * signs(n, channels, 1, 1), delta)
        there = window(n, share)
        rest = np.where(here | there, 0, delta)
        inside = np.where(here, delta, 0)
        part = inside / column(np.maximum(lengths(inside, 2), 1e-30), delta)
        part = part + np.where(here, signs(n, channels, 1, 1), 0) / math.sqrt(channels * here[0].sum())
        room = np.sqrt(np.maximum(threat.eps**2 - lengths(rest, 2) ** 2, 0))
        return rest + part * column(room / np.maximum(lengths(part, 2), 1e-30), delta)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        best, labels = x.astype(np.float32), threat.labels(y)
        loss, remaining = _margin(threat, best, labels)
        for step in range(max_iter + 1):
            index = np.flatnonzero(remaining)
            if not len(index):
                break
            if step == 0:
                delta = threat.eps * signs(len(index), channels, 1, width) * np.ones((1, 1, height, 1))
                delta /= 1 if inf else math.sqrt(x[0].size)
            else:
                share = _FIRST / 2 ** int(np.searchsorted(_HALVED, step / max_iter))
                delta = moved(layers(best[index].astype(np.float64) - x[index]), share)
            tried = threat.into_range(x[index] + back(delta))
            now, right = _margin(threat, tried, labels[index])
            better = now >= loss[index]
            best[index[better]], loss[index[better]] = tried[better], now[better]
            remaining[index[better]] = right[better]
        return best

    return run


def _margin(threat: ThreatModel, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest wrong logit minus the right one, shape (n,); and whether the label is right."""
    logits = threat.classifier.predict(x)
    return LOSSES["margin"](logits.astype(np.float64), labels)[0], logits.argmax(1) == labels.argmax(1)


def nes(threat: ThreatModel, *, max_iter: int = 20, num_basis: int = 50, sigma: float = 0.01) -> list[Stage]:
    """PGD on gradients estimated from outputs in random directions; sigma is a share of the inputs' range."""
    from art.estimators.classification import QueryEfficientGradientEstimationClassifier

    classifier, clip = threat.classifier, threat.classifier.clip_values
    width = sigma * (1.0 if clip is None else float(np.max(np.subtract(clip[1], clip[0]))))

    class Estimated(QueryEfficientGradientEstimationClassifier):
        """ART's estimate is of one sample at a time, and of the cross-entropy of probabilities, which saturates."""

        def loss_gradient(self, x: np.ndarray, y: np.ndarray, **_: Any) -> np.ndarray:
            directions = self.sigma * np.random.normal(size=(self.num_basis, *x.shape[1:]))  # noqa: NPY002
            step, gradients = max(1, _NUMBERS // directions.size), np.zeros(x.shape, np.float32)
            for i in range(0, len(x), step):
                rows = x[i : i + step]
                around = np.tile(directions, (len(rows), *[1] * (x.ndim - 1)))
                labels = np.repeat(y[i : i + step], self.num_basis, axis=0)
                minus, plus = (_margin(threat, side, labels)[0] for side in self._generate_samples(rows, around))
                rises = (plus - minus).reshape(len(rows), self.num_basis)
                rises /= np.maximum(np.abs(rises).max(1, keepdims=True), np.finfo(float).tiny)
                gradients[i : i + step] = np.tensordot(rises, directions, 1)
            return gradients

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        box = Estimated(outputs_alone(classifier), num_basis, width)
        attack = threat.projected_gradient(numpy_pgd(), box, max_iter, num_random_init=0)
        return np.asarray(attack.generate(x, threat.labels(y)))

    return [run]


def hopskipjump(threat: ThreatModel, *, max_iter: int = 20, max_eval: int = 1000) -> list[Stage]:
    """Walks along the boundary by labels alone; what ends outside the ball is scaled back into it.

    A walk starts from the nearest of the other samples that has another label; where there is none, from noise.
    """
    from art.attacks.evasion import HopSkipJump

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        within = float(x.min() - threat.eps), float(x.max() + threat.eps)  # else ART's takes the least and most of x
        attack = HopSkipJump(
            outputs_alone(threat.classifier, within),
            norm=threat.norm,
            max_iter=max_iter,
            max_eval=max_eval,
            init_eval=min(50, max_eval),
            verbose=False,
        )
        predicted, starts = threat.classifier.predict(x).argmax(1), x.copy()
        for i, label in enumerate(predicted):
            others = x[predicted != label]
            if len(others):
                starts[i] = others[lengths(others - x[i], threat.norm).argmin()]
        return threat.into_ball(x, attack.generate(x, threat.labels(y), x_adv_init=starts))

    return [run]


def outputs_alone(
    classifier: AttackClassifier, within: Any = None, around: Any = lambda outputs: outputs
) -> BlackBoxClassifierNeuralNetwork:
    """What an attacked model says, as ``around`` hands it on; ``within`` is a range, for a model without one."""

    def outputs(x: np.ndarray) -> np.ndarray:
        # A model may make numbers of NaN, and a search that asks for them would keep it; another may refuse it.
        finite, shown = showable(x)
        if (
            classifier.f.approximated and classifier.clip_values is not None
        ):  # a defence in numpy may refuse what lies outside
            shown = np.clip(shown, *classifier.clip_values)
        logits = classifier.predict(shown)
        logits[~finite] = np.nan
        return logits

    about = classifier.input_shape, classifier.nb_classes, classifier.channels_first
    return BlackBoxClassifierNeuralNetwork(around(outputs), *about, clip_values=classifier.clip_values or within)
