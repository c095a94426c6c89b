"""ART's attacks that see outputs alone: gradients estimated from outputs, walks along the boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.estimators.classification import BlackBoxClassifierNeuralNetwork

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.images import showable
from artclip.evaluation.threat_model import Stage, ThreatModel, numpy_pgd
from artclip.norms import lengths

_NUMBERS = 1 << 23  # of inputs around samples in one pass


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
                minus, plus = (threat.margins(side, labels)[0] for side in self._generate_samples(rows, around))
                rises = (plus - minus).reshape(len(rows), self.num_basis)
                rises /= np.maximum(np.abs(rises).max(1, keepdims=True), np.finfo(float).tiny)
                gradients[i : i + step] = np.tensordot(rises, directions, 1)
            return gradients

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        box = Estimated(outputs_alone(classifier), num_basis, width)
        attack = threat.projected_gradient(numpy_pgd(), box, max_iter, num_random_init=0)
        return np.asarray(attack.generate(x, threat.labels(y), **threat.mask()))

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
        return threat.into_ball(x, attack.generate(x, threat.labels(y), x_adv_init=starts, **threat.mask()))

    return [run]


def outputs_alone(classifier: AttackClassifier, within: Any = None) -> BlackBoxClassifierNeuralNetwork:
    """What an attacked model says; ``within`` is a range, for a model without one."""

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
    ends = within if classifier.clip_values is None else classifier.clip_values
    return BlackBoxClassifierNeuralNetwork(outputs, *about, clip_values=ends)
