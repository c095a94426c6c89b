"""ART's attacks as stages: functions from samples that still stand to adversarial candidates.

An attack is a list of stages. Each later stage, a restart, a target, or another member of a set, is tried only on what
the earlier ones left standing; so restarts cost as much as there is left to attack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.evaluation.images import image_shape
from artclip.evaluation.square import square
from artclip.evaluation.threat_model import Stage, ThreatModel, members, numpy_pgd

_PATCH_SAMPLES = 64  # that a patch is made on


def noise(threat: ThreatModel, *, sigma: float = 0.5) -> list[Stage]:
    """Gaussian noise, clipped; one draw."""
    return [lambda x, y: threat.into_range(x + np.random.normal(0, sigma, x.shape))]  # noqa: NPY002


def fgsm(threat: ThreatModel) -> list[Stage]:
    """One step to the edge of the ball."""
    from art.attacks.evasion import FastGradientMethod

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        classifier = threat.classifier.with_loss("cross-entropy")
        attack = FastGradientMethod(
            classifier, norm=threat.norm, eps=threat.eps, eps_step=threat.eps, batch_size=classifier.batch_size
        )
        return np.asarray(attack.generate(x, threat.labels(y), **threat.mask()))

    return [run]


def pgd(threat: ThreatModel, loss: str, *, max_iter: int = 100, nb_restarts: int = 5) -> list[Stage]:
    """Restarts from random points, after a short run that spares the easy samples the long ones."""
    short = [(10, 1)] if nb_restarts * max_iter > 40 else []
    return [_pgd(threat, loss, steps) for steps, n in (*short, (max_iter, nb_restarts)) for _ in range(n)]


def _pgd(threat: ThreatModel, loss: str, max_iter: int) -> Stage:
    from artclip.evaluation.l1_pgd import SparseProjectedGradientDescent

    kind = SparseProjectedGradientDescent if threat.norm == 1 else numpy_pgd()

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = threat.projected_gradient(kind, threat.classifier.with_loss(loss), max_iter)
        return np.asarray(attack.generate(x, threat.labels(y), **threat.mask()))

    return run


def pgd_sign(threat: ThreatModel, *, max_iter: int = 100, eps_step: float = 0.5) -> list[Stage]:
    """PGD along the sign of the gradient whatever the norm, through the model's own outputs and loss.

    That is how the published CLIP code attacks: far too weak in L2. It is here to be compared with its figures.
    """

    class SignGradient(numpy_pgd()):  # type: ignore[misc]
        def _compute_perturbation(self, x: np.ndarray, y: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
            return np.sign(self.estimator.loss_gradient(x.astype(np.float32), y))

    if not hasattr(threat.classifier.estimator, "loss_gradient"):
        raise ValueError("it climbs the loss that an ART classifier was made with, and this model is none")

    if threat.classifier.one is not None:
        raise ValueError("it climbs the loss of ART's loss_gradient, whose labels a model of one output does not take")

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = threat.projected_gradient(SignGradient, threat.classifier.estimator, max_iter, eps_step=eps_step)
        return np.asarray(attack.generate(x, threat.labels(y), **threat.mask()))

    return [run]


def apgd(threat: ThreatModel, loss: str, nb_restarts: int = 1, *, max_iter: int = 100) -> list[Stage]:
    """ART's Auto-PGD; targeted DLR goes for the most likely wrong classes, one stage each."""
    from art.attacks.evasion import AutoProjectedGradientDescent

    if "DLR" in loss and threat.classifier.nb_classes < 3 + loss.startswith("targeted"):
        raise ValueError(f"the {loss} loss compares more logits than the {threat.classifier.nb_classes} of this model")

    # Labels, and numbers that are rounded, tell no ratio: most of their differences are 0.
    climbed = "targeted margin" if loss == "targeted DLR" and threat.classifier.stepped else loss

    def stage(rank: int | None) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            labels = threat.labels(y)
            if rank is not None:  # a label row names its class, and the target as the second largest entry
                labels[np.arange(len(y)), threat.wrong_class(x, y, rank)] = 0.5
            attack = AutoProjectedGradientDescent(
                threat.classifier.with_loss(climbed),
                norm=threat.norm,
                eps=threat.eps,
                eps_step=2 * threat.eps,
                max_iter=max_iter,
                nb_random_init=1,
                batch_size=threat.classifier.batch_size,
                loss_type=None,
                verbose=False,
            )
            return np.asarray(attack.generate(x, labels, **threat.mask()))

        return run

    ranks = range(1, min(10, threat.classifier.nb_classes)) if loss.startswith("targeted") else [None]
    return [stage(rank) for rank in ranks for _ in range(nb_restarts)]


def autoattack(threat: ThreatModel, *, max_iter: int = 100, square_queries: int = 5000) -> list[Stage]:
    """The set of AutoAttack as far as ART has it: APGD-CE, targeted APGD-DLR, and Square; no FAB."""
    targeted = threat.classifier.nb_classes >= 4
    second = apgd(threat, "targeted DLR" if targeted else "margin", max_iter=max_iter)
    return [
        *members("APGD-CE", apgd(threat, "cross-entropy", max_iter=max_iter)),
        *members("APGD-T" if targeted else "APGD on the margin", second),
        *members("Square", square(threat, max_iter=square_queries)),
    ]


def arts_autoattack(
    threat: ThreatModel, *, max_iter: int = 100, nb_starts: int = 5, square_queries: int = 5000
) -> list[Stage]:
    """ART's set as its AutoAttack class makes it: APGD-CE and APGD-DLR of some starts, DeepFool, Square of as many."""
    loss, name = ("DLR", "APGD-DLR") if threat.classifier.nb_classes >= 3 else ("margin", "APGD on the margin")
    return [
        *members("APGD-CE", apgd(threat, "cross-entropy", nb_starts, max_iter=max_iter)),
        *members(name, apgd(threat, loss, nb_starts, max_iter=max_iter)),
        *members("DeepFool", deepfool(threat, max_iter=max_iter) if threat.norm == 2 else []),
        *members("Square", [s for _ in range(nb_starts) for s in square(threat, max_iter=square_queries)]),
    ]


def deepfool(threat: ThreatModel, *, max_iter: int = 50) -> list[Stage]:
    """Steps to the nearest linearised boundary; what ends outside the ball is scaled back into it."""
    from art.attacks.evasion import DeepFool

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = DeepFool(threat.classifier, max_iter, 1e-3, batch_size=threat.classifier.batch_size, verbose=False)
        return threat.into_ball(x, attack.generate(x))

    return [run]


def carlini(
    threat: ThreatModel, *, max_iter: int = 100, binary_search_steps: int = 5, learning_rate: float = 0.05
) -> list[Stage]:
    """The smallest perturbation by a penalty, with Adam; what ends outside the ball is scaled back into it."""
    from art.attacks.evasion import CarliniL2Method, CarliniLInfMethod

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        options: dict[str, Any] = {"learning_rate": learning_rate, "max_iter": max_iter, "verbose": False}
        options["batch_size"] = threat.classifier.batch_size
        if threat.norm == 2:
            attack = CarliniL2Method(
                threat.classifier, binary_search_steps=binary_search_steps, initial_const=1.0, **options
            )
        else:
            attack = CarliniLInfMethod(threat.classifier, initial_const=1.0, largest_const=20.0, **options)
        return threat.into_ball(x, attack.generate(x, threat.labels(y)))

    return [run]


def universal(threat: ThreatModel, *, max_iter: int = 3) -> list[Stage]:
    """One perturbation for all samples."""
    from art.attacks.evasion import UniversalPerturbation

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        classifier = threat.classifier.with_loss("cross-entropy")
        attack = UniversalPerturbation(
            classifier,
            "pgd",
            {"norm": threat.norm, "eps": threat.eps, "eps_step": threat.eps / 4, "max_iter": 10, "verbose": False},
            delta=0.01,
            max_iter=max_iter,
            eps=threat.eps,
            norm=threat.norm,
            batch_size=classifier.batch_size,
            verbose=False,
        )
        return np.asarray(attack.generate(x, threat.labels(y)))

    return [run]


def spatial(threat: ThreatModel, *, max_translation: float = 10.0, max_rotation: float = 30.0) -> list[Stage]:
    """Shifts and turns on a grid, the mildest first; a stage each, so that every sample meets its own worst."""
    from art.attacks.evasion import SpatialTransformation

    shape = image_shape(threat.classifier.true_shape, threat.classifier.channels_first) or (0, 0, 0)
    height, width = shape[1:] if threat.classifier.channels_first else shape[:2]

    def stage(down: float, right: float, turn: float) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            attack = SpatialTransformation(threat.classifier, verbose=False)
            # Its own search takes one transformation for all samples, and channels for rows where they come first.
            attack.attack_trans_x = round(down * max_translation / 100 * height)
            attack.attack_trans_y = round(right * max_translation / 100 * width)
            attack.attack_rot = turn * max_rotation
            return threat.into_range(attack.generate(x))

        return threat.on_images(run)

    sides = (-1, 0, 1)
    grid = [(a, b, c) for a in sides for b in sides for c in (-1, -0.5, 0, 0.5, 1) if (a, b, c) != (0, 0, 0)]
    return [stage(*move) for move in sorted(grid, key=lambda move: sum(map(abs, move)))]


def patch(threat: ThreatModel, *, scale: float = 0.3, max_iter: int = 50, nb_targets: int = 3) -> list[Stage]:
    """A round patch for all samples, made to be seen as one class; a stage for each of some classes."""
    from art.attacks.evasion.adversarial_patch.adversarial_patch_numpy import AdversarialPatchNumpy

    def stage(target: int) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            classifier = threat.classifier.with_loss("cross-entropy")
            attack = AdversarialPatchNumpy(
                classifier,
                rotation_max=22.5,
                scale_min=scale * 0.9,
                scale_max=scale,
                learning_rate=float(np.ptp(classifier.clip_values)) / 10,
                max_iter=max_iter,
                batch_size=classifier.batch_size,
                verbose=False,
            )
            few = x[:_PATCH_SAMPLES]
            attack.generate(few, threat.labels(np.full(len(few), target)))
            return threat.into_range(attack.apply_patch(x, scale))

        return threat.on_images(run)

    if threat.classifier.clip_values is None:
        raise ValueError("a patch needs clip_values")
    k = threat.classifier.nb_classes
    return [stage(target) for target in np.linspace(0, k - 1, min(nb_targets, k)).round().astype(int)]


def of_art(threat: ThreatModel, attack: Any) -> list[Stage]:
    """An attack object of ART that the user made, on the estimator that the user gave it.

    A targeted one is given targets: the most likely wrong classes, a stage each, from the likeliest on.
    """

    def stage(rank: int) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            labels = threat.labels(threat.wrong_class(x, y, rank) if rank else y)
            return np.asarray(attack.generate(x, labels, **threat.mask()))

        return run

    return [stage(rank) for rank in (range(1, min(10, threat.classifier.nb_classes)) if is_targeted(attack) else (0,))]


def is_targeted(attack: Any) -> bool:
    """Whether an attack object of ART takes its labels for targets."""
    return bool(getattr(attack, "targeted", getattr(attack, "_targeted", False)))
