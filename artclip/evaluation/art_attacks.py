"""ART's attacks as stages: functions from samples that still stand to adversarial candidates.

An attack is a list of stages. Each later stage, a restart, a target, or another member of a set, is tried only on what
the earlier ones left standing; so restarts cost as much as there is left to attack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.evaluation.attack_classifier import image_shape
from artclip.evaluation.black_box import square
from artclip.evaluation.threat_model import Stage, Task, members, numpy_pgd

_PATCH_SAMPLES = 64  # that a patch is made on


def noise(task: Task, sigma: float) -> list[Stage]:
    """Gaussian noise, clipped; one draw."""
    return [lambda x, y: task.into_range(x + np.random.normal(0, sigma, x.shape))]  # noqa: NPY002


def fgsm(task: Task) -> list[Stage]:
    """One step to the edge of the ball."""
    from art.attacks.evasion import FastGradientMethod

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        victim = task.victim.with_loss("cross-entropy")
        attack = FastGradientMethod(
            victim, norm=task.norm, eps=task.eps, eps_step=task.eps, batch_size=victim.batch_size
        )
        return np.asarray(attack.generate(x, task.labels(y)))

    return [run]


def pgd(task: Task, loss: str, max_iter: int, nb_restarts: int) -> list[Stage]:
    """Restarts from random points, after a short run that spares the easy samples the long ones."""
    short = [(10, 1)] if nb_restarts * max_iter > 40 else []
    return [_pgd(task, loss, steps) for steps, n in (*short, (max_iter, nb_restarts)) for _ in range(n)]


def _pgd(task: Task, loss: str, max_iter: int) -> Stage:
    from artclip.evaluation.l1_pgd import SparseProjectedGradientDescent

    kind = SparseProjectedGradientDescent if task.norm == 1 else numpy_pgd()

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = task.projected_gradient(kind, task.victim.with_loss(loss), max_iter)
        return np.asarray(attack.generate(x, task.labels(y)))

    return run


def pgd_sign(task: Task, max_iter: int, eps_step: float) -> list[Stage]:
    """PGD along the sign of the gradient whatever the norm, through the model's own outputs and loss.

    That is how the published CLIP code attacks: far too weak in L2. It is here to be compared with its figures.
    """

    class SignGradient(numpy_pgd()):  # type: ignore[misc]
        def _compute_perturbation(self, x: np.ndarray, y: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
            return np.sign(self.estimator.loss_gradient(x.astype(np.float32), y))

    if not hasattr(task.victim.estimator, "loss_gradient"):
        raise ValueError("it climbs the loss that an ART classifier was made with, and this model is none")

    if task.victim.one is not None:
        raise ValueError("it climbs the loss of ART's loss_gradient, whose labels a model of one output does not take")

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = task.projected_gradient(SignGradient, task.victim.estimator, max_iter, eps_step=eps_step)
        return np.asarray(attack.generate(x, task.labels(y)))

    return [run]


def apgd(task: Task, loss: str, max_iter: int, nb_restarts: int = 1) -> list[Stage]:
    """Auto-PGD, which sets its own steps; targeted DLR goes for the most likely wrong classes, one stage each."""
    from art.attacks.evasion import AutoProjectedGradientDescent

    if "DLR" in loss and task.victim.nb_classes < 3 + loss.startswith("targeted"):
        raise ValueError(f"the {loss} loss compares more logits than the {task.victim.nb_classes} of this model")

    # Labels, and numbers that are rounded, tell no ratio: most of their differences are 0.
    climbed = "targeted margin" if loss == "targeted DLR" and task.victim.stepped else loss

    def stage(rank: int | None) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            labels = task.labels(y)
            if rank is not None:  # a label row names its class, and the target as the second largest entry
                labels[np.arange(len(y)), task.wrong_class(x, y, rank)] = 0.5
            attack = AutoProjectedGradientDescent(
                task.victim.with_loss(climbed),
                norm=task.norm,
                eps=task.eps,
                eps_step=2 * task.eps,
                max_iter=max_iter,
                nb_random_init=1,
                batch_size=task.victim.batch_size,
                loss_type=None,
                verbose=False,
            )
            return np.asarray(attack.generate(x, labels))

        return run

    ranks = range(1, min(10, task.victim.nb_classes)) if loss.startswith("targeted") else [None]
    return [stage(rank) for rank in ranks for _ in range(nb_restarts)]


def autoattack(task: Task, max_iter: int, square_queries: int) -> list[Stage]:
    """The standard set as far as ART has it: APGD-CE, targeted APGD-DLR, and Square; no FAB."""
    targeted = task.victim.nb_classes >= 4
    second = apgd(task, "targeted DLR" if targeted else "margin", max_iter)
    return [
        *members("APGD-CE", apgd(task, "cross-entropy", max_iter)),
        *members("APGD-T" if targeted else "APGD on the margin", second),
        *members("Square", square(task, square_queries)),
    ]


def arts_autoattack(task: Task, max_iter: int, nb_starts: int, square_queries: int) -> list[Stage]:
    """ART's set as its AutoAttack class makes it: APGD-CE and APGD-DLR of some starts, DeepFool, Square of as many."""
    loss = "DLR" if task.victim.nb_classes >= 3 else "margin"
    return [
        *members("APGD-CE", apgd(task, "cross-entropy", max_iter, nb_starts)),
        *members("APGD-DLR" if loss == "DLR" else "APGD on the margin", apgd(task, loss, max_iter, nb_starts)),
        *members("DeepFool", deepfool(task, max_iter) if task.norm == 2 else []),
        *members("Square", [s for _ in range(nb_starts) for s in square(task, square_queries)]),
    ]


def deepfool(task: Task, max_iter: int) -> list[Stage]:
    """Steps to the nearest linearised boundary; what ends outside the ball is scaled back into it."""
    from art.attacks.evasion import DeepFool

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        attack = DeepFool(task.victim, max_iter, 1e-3, batch_size=task.victim.batch_size, verbose=False)
        return task.into_ball(x, attack.generate(x))

    return [run]


def carlini(task: Task, max_iter: int, binary_search_steps: int, learning_rate: float) -> list[Stage]:
    """The smallest perturbation by a penalty, with Adam; what ends outside the ball is scaled back into it."""
    from art.attacks.evasion import CarliniL2Method, CarliniLInfMethod

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        options: dict[str, Any] = {"learning_rate": learning_rate, "max_iter": max_iter, "verbose": False}
        options["batch_size"] = task.victim.batch_size
        if task.norm == 2:
            attack = CarliniL2Method(task.victim, binary_search_steps=binary_search_steps, initial_const=1.0, **options)
        else:
            attack = CarliniLInfMethod(task.victim, initial_const=1.0, largest_const=20.0, **options)
        return task.into_ball(x, attack.generate(x, task.labels(y)))

    return [run]


def universal(task: Task, max_iter: int) -> list[Stage]:
    """One perturbation for all samples."""
    from art.attacks.evasion import UniversalPerturbation

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        victim = task.victim.with_loss("cross-entropy")
        attack = UniversalPerturbation(
            victim,
            "pgd",
            {"norm": task.norm, "eps": task.eps, "eps_step": task.eps / 4, "max_iter": 10, "verbose": False},
            delta=0.01,
            max_iter=max_iter,
            eps=task.eps,
            norm=task.norm,
            batch_size=victim.batch_size,
            verbose=False,
        )
        return np.asarray(attack.generate(x, task.labels(y)))

    return [run]


def spatial(task: Task, max_translation: float, max_rotation: float) -> list[Stage]:
    """Shifts and turns on a grid, the mildest first; a stage each, so that every sample meets its own worst."""
    from art.attacks.evasion import SpatialTransformation

    shape = image_shape(task.victim.true_shape, task.victim.channels_first) or (0, 0, 0)
    height, width = shape[1:] if task.victim.channels_first else shape[:2]

    def stage(down: float, right: float, turn: float) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            attack = SpatialTransformation(task.victim, verbose=False)
            # Its own search takes one transformation for all samples, and channels for rows where they come first.
            attack.attack_trans_x = round(down * max_translation / 100 * height)
            attack.attack_trans_y = round(right * max_translation / 100 * width)
            attack.attack_rot = turn * max_rotation
            return task.into_range(attack.generate(x))

        return task.on_images(run)

    sides = (-1, 0, 1)
    grid = [(a, b, c) for a in sides for b in sides for c in (-1, -0.5, 0, 0.5, 1) if (a, b, c) != (0, 0, 0)]
    return [stage(*move) for move in sorted(grid, key=lambda move: sum(map(abs, move)))]


def patch(task: Task, scale: float, max_iter: int, nb_targets: int) -> list[Stage]:
    """A round patch for all samples, made to be seen as one class; a stage for each of some classes."""
    from art.attacks.evasion.adversarial_patch.adversarial_patch_numpy import AdversarialPatchNumpy

    def stage(target: int) -> Stage:
        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            victim = task.victim.with_loss("cross-entropy")
            attack = AdversarialPatchNumpy(
                victim,
                rotation_max=22.5,
                scale_min=scale * 0.9,
                scale_max=scale,
                learning_rate=float(np.ptp(victim.clip_values)) / 10,
                max_iter=max_iter,
                batch_size=victim.batch_size,
                verbose=False,
            )
            few = x[:_PATCH_SAMPLES]
            attack.generate(few, task.labels(np.full(len(few), target)))
            return task.into_range(attack.apply_patch(x, scale))

        return task.on_images(run)

    if task.victim.clip_values is None:
        raise ValueError("a patch needs clip_values")
    k = task.victim.nb_classes
    return [stage(target) for target in np.linspace(0, k - 1, min(nb_targets, k)).round().astype(int)]


def of_art(task: Task, attack: Any) -> list[Stage]:
    """An attack object of ART that the user made, on the estimator that the user gave it.

    A targeted one is given targets: the most likely wrong classes, a stage each, from the likeliest on.
    """

    def stage(rank: int) -> Stage:
        return lambda x, y: np.asarray(attack.generate(x, task.labels(task.wrong_class(x, y, rank) if rank else y)))

    return [stage(rank) for rank in (range(1, min(10, task.victim.nb_classes)) if is_targeted(attack) else (0,))]


def is_targeted(attack: Any) -> bool:
    """Whether an attack object of ART takes its labels for targets."""
    return bool(getattr(attack, "targeted", getattr(attack, "_targeted", False)))
