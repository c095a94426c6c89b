"""Signs that a robust accuracy is not what it seems, each with what was seen and what to try.

After Carlini et al. 2019 (arXiv 1902.06705) and Athalye et al. 2018 (arXiv 1802.00420). Most signs come from probes:
short attacks on a few samples that the model gets right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from artclip.evaluation.attacks import CLOSED, WHITE, Chosen, choose
from artclip.evaluation.run import Arena, Outcome, distances
from artclip.evaluation.victim import ASIDE

PROBED = 100  # samples at most
_CLEAR = 0.1  # differences of accuracy that are no accident
_STEPS = 20
_QUERIES = 300  # of a short search by outputs alone


@dataclass(frozen=True)
class Sign:
    """A sign of gradient masking, or of an attack that is too weak.

    Attributes:
        name: which sign.
        finding: what was seen, with figures.
        advice: what to try.
        doubtful: whether the worst case of the evaluation itself may be too high; else it is about other figures.
    """

    name: str
    finding: str
    advice: str
    doubtful: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.finding}. {self.advice}."


@dataclass
class Probe:
    """A few samples that the model gets right, and short attacks on them.

    Args:
        estimator: as the user gave it.
        arena: those samples and the victim.
        outcomes: of the evaluation, in the order in which they were run.
        broken: samples of the evaluation that some attack within the budget broke, shape (n,).
        certified: certified L2 radii of the evaluation's samples, shape (n,), or ``None``.
        index: of those samples among the evaluation's, shape (m,).
        nan: samples of the evaluation that outputs are NaN for, inputs of attacks that they are, and of how many.

    Attributes:
        fell: which of the samples the short attacks broke within the evaluation's budget, shape (m,).
    """

    estimator: Any
    arena: Arena
    outcomes: list[Outcome]
    broken: np.ndarray
    certified: np.ndarray | None = None
    index: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    nan: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.fell = np.zeros(len(self.arena.x), bool)

    @property
    def enough(self) -> bool:
        """Whether there is something to attack by gradients."""
        return len(self.arena.x) > 0 and self.arena.task.victim.has_gradients

    @property
    def alone(self) -> np.ndarray:
        """Which of the evaluation's samples fell to the short attacks alone, shape (n,)."""
        found = np.zeros(len(self.broken), bool)
        found[self.index[self.fell]] = True
        return found & ~self.broken

    def accuracy(self, attack: str, eps: float | None = None) -> float:
        """Accuracy on the samples under an attack by name; ``eps`` as in the evaluation where it is not given."""
        task = self.arena.task if eps is None else replace(self.arena.task, eps=eps)
        return self.left_by(choose([attack], task.norm)[0], replace(self.arena, task=task))

    def left_by(self, chosen: Chosen, arena: Arena) -> float:
        """Share of an arena's samples that an attack leaves standing."""
        broken = arena.attack(chosen, np.ones(len(arena.x), bool)).broken
        if arena.task.eps <= self.arena.task.eps:
            self.fell |= broken
        return float(1 - broken.mean())

    @cached_property
    def curve(self) -> list[tuple[float, float]]:
        """(eps, accuracy) of short PGD attacks, until nothing stands or eps reaches every valid input."""
        if not self.enough:
            return []
        task, attack = self.arena.task, f"pgd-margin:max_iter={_STEPS},nb_restarts=1"
        largest = self.largest
        below = [m * task.eps for m in (0.25, 0.5) if m * task.eps < largest]
        found = [(0.0, 1.0), *((eps, self.accuracy(attack, eps)) for eps in below), (task.eps, self.reference)]
        while found[-1][1] > 0 and found[-1][0] < largest:
            eps = min(2 * found[-1][0], largest)
            found.append((eps, self.accuracy(attack, eps)))
        return found

    @cached_property
    def largest(self) -> float:
        """An eps at which no label can be robust: 0 where the samples tell of none.

        It reaches every valid input; without ``clip_values``, from each sample some sample of another label.
        """
        task, x = self.arena.task, self.arena.x
        if task.victim.clip_values is not None:
            wide = float(np.max(np.subtract(task.victim.clip_values[1], task.victim.clip_values[0])))
            return wide * (1.0 if task.norm == np.inf else x[0].size ** (1 / task.norm))
        others = [x[self.arena.y != label] for label in self.arena.y]
        if not all(map(len, others)):
            return 0.0
        return float(max(distances(o, row[None], task.norm).min() for o, row in zip(others, x, strict=True)))

    @cached_property
    def reference(self) -> float:
        """Accuracy under a short PGD on the margin: what other short attacks are held against."""
        return self.accuracy(f"pgd-margin:max_iter={_STEPS},nb_restarts=1")

    @cached_property
    def blind(self) -> float:
        """Accuracy under a short search by outputs alone, where gradients lead nowhere."""
        return self.accuracy(f"square:max_iter={_QUERIES}")

    @cached_property
    def flat_margin(self) -> float:
        """Share of samples at which the margin of the logits has a gradient of exactly zero."""
        a = self.arena
        return _share_of_zeros(a.task.victim.with_loss("margin").loss_gradient(a.x, a.task.labels(a.y)))


def random_outputs(p: Probe) -> Sign | None:
    """Two calls, two answers."""
    x = p.arena.x
    if not len(x):
        return None
    victim = p.arena.task.victim
    first, second = (victim.f.outputs(x, victim.batch_size) for _ in range(2))
    same = (first == second) | (np.isnan(first) & np.isnan(second))  # infinities among them
    size = np.abs(first[np.isfinite(first)]).max(initial=1e-12)
    with np.errstate(invalid="ignore"):
        apart = float(np.nan_to_num(np.abs(np.where(same, 0, first - second)), nan=np.inf).max() / size)
    if apart <= 1e-3:
        return None
    return Sign(
        "random outputs",
        f"two calls on the same inputs differ by {apart:.1%} of the largest output",
        "Attack the mean of many calls (expectation over transformation), or switch the randomness off",
    )


def zero_gradients(p: Probe) -> Sign | None:
    """The margin of the logits does not change with the input."""
    if not p.enough or (zero := p.flat_margin) <= 0.05:
        return None
    return Sign(
        "zero gradients",
        f"the margin of the logits has a gradient of exactly zero at {zero:.0%} of {len(p.arena.x)} samples",
        "Gradient attacks find nothing there: look for rounding, steps or saturated units; try closed-box attacks",
    )


def astray_gradients(p: Probe) -> Sign | None:
    """Gradients are NaN or infinite, as that of a root at 0."""
    if not p.enough:
        return None
    a, victim = p.arena, p.arena.task.victim
    before = victim.nb_astray
    victim.with_loss("margin").loss_gradient(a.x, a.task.labels(a.y))
    here = victim.nb_astray - before
    if not victim.nb_astray:
        return None
    return Sign(
        "gradients that are not finite",
        f"the margin has a gradient with NaN or infinite entries at {here} of {len(a.x)} samples, and all attacks met "
        f"{victim.nb_astray} such gradients; they took those of points {ASIDE:g} of the range away instead",
        "Mend the model, as by sqrt(x + 1e-12) for sqrt(x), or hold the figure against closed-box attacks",
    )


def nan_outputs(p: Probe) -> Sign | None:
    """Outputs that are no numbers."""
    samples, inputs, nb = p.nan
    if not inputs and not samples:
        return None
    return Sign(
        "outputs that are not finite",
        f"outputs are NaN for {samples} of {nb} samples, and for {inputs} inputs of the attacks; they count as wrong",
        "Find out what makes them, as a division by zero or a logarithm: the figures are of a model that fails there",
    )


def saturated_loss(p: Probe) -> Sign | None:
    """An attack through the model's own loss sees less than there is."""
    gradient = getattr(p.estimator, "loss_gradient", None)
    if gradient is None or not p.enough:
        return None
    a = p.arena
    try:
        zero = _share_of_zeros(np.asarray(gradient(a.x, a.task.labels(a.y))))
        ordinary = _through_own_loss(p)
    except Exception:  # an estimator without a loss, or whose gradient fails: nothing to compare
        return None
    # The same loss of the logits, but for saturation: that a margin finds more than either is no sign of masking.
    sound = p.accuracy(f"pgd:max_iter={_STEPS},nb_restarts=1")
    if zero - p.flat_margin <= 0.05 and ordinary - sound <= _CLEAR:
        return None
    victim = a.task.victim
    logits = np.sort(victim.predict(a.x), axis=1)
    return Sign(
        "saturated loss",
        f"through the model's own loss, PGD of {_STEPS} steps leaves {ordinary:.0%} of {len(a.x)} samples standing, "
        f"through a cross-entropy of the logits that does not saturate {sound:.0%}; the loss gradient is exactly zero "
        f"at {zero:.0%} of them; outputs are {victim.kind}, with a median margin of "
        f"{np.median(logits[:, -1] - logits[:, -2]):.3g} in the logits",
        "Do not trust attacks through that loss; those of this evaluation, but for any of your own, are on the logits",
        doubtful=False,
    )


def _share_of_zeros(gradients: np.ndarray) -> float:
    return float((np.abs(gradients.reshape(len(gradients), -1)).max(1) == 0).mean())


def _through_own_loss(p: Probe) -> float:
    from art.attacks.evasion import ProjectedGradientDescent

    task = p.arena.task
    attack = task.projected_gradient(ProjectedGradientDescent, p.estimator, _STEPS)
    return p.left_by(choose({"own loss": attack}, task.norm)[0], p.arena)


def closed_box_beats_white_box(p: Probe) -> Sign | None:
    """Attacks without gradients break what those with gradients could not."""
    inside = [o for o in p.outcomes if o.chosen.attack.in_budget and not o.error]
    white = [o for o in inside if o.chosen.attack.access == WHITE and o.chosen.given is None]
    closed = [o for o in inside if o.chosen.attack.access == CLOSED]
    if not white or not closed:
        return None
    found = np.logical_or.reduce([o.broken for o in closed]) & ~np.logical_or.reduce([o.broken for o in white])
    earlier = [o for o in white if p.outcomes.index(o) < p.outcomes.index(closed[0])]
    if not earlier or found.sum() <= max(2, 0.02 * len(found)):
        return None
    return Sign(
        "closed box beats white box",
        f"{found.sum()} samples that the gradient attacks left standing fell to {closed[0].chosen.title}",
        "Gradients lead nowhere: look for rounding, steps or saturated parts, and attack a smooth stand-in",
    )


def single_step_beats_many(p: Probe) -> Sign | None:
    """FGSM finds more than PGD."""
    if not p.enough:
        return None
    one = p.accuracy("fgsm")
    if p.reference - one <= _CLEAR / 2 or (p.reference - one) * len(p.arena.x) < 3:
        return None
    return Sign(
        "one step beats many",
        f"FGSM leaves {one:.0%} standing, PGD of {_STEPS} steps {p.reference:.0%}",
        "Gradients near the samples mislead: try larger steps, restarts, and closed-box attacks",
    )


def more_steps(p: Probe) -> Sign | None:
    """More steps, or more restarts, do not make the attack stronger, or still make it much stronger."""
    if not p.enough or p.reference == 0:
        return None
    longer = p.accuracy(f"pgd-margin:max_iter={5 * _STEPS},nb_restarts=1")
    if longer > p.reference + _CLEAR / 2:
        return Sign(
            "more steps attack less",
            f"PGD of {5 * _STEPS} steps leaves {longer:.0%} standing, of {_STEPS} steps {p.reference:.0%}",
            "The gradients are rough: try other step sizes, restarts, and closed-box attacks",
        )
    again = p.accuracy(f"pgd-margin:max_iter={5 * _STEPS},nb_restarts=5")
    if longer - again > _CLEAR:
        return Sign(
            "restarts still find more",
            f"five starts leave {again:.0%} standing, one {longer:.0%}",
            "The figure depends on luck: use many more restarts, as pgd-margin:nb_restarts=20",
        )
    return None


def budget(p: Probe) -> Sign | None:
    """Accuracy must fall as eps grows, and reach 0: every image of another class comes into reach."""
    if not p.curve:
        return None
    steps = [(a, b) for a, b in zip(p.curve, p.curve[1:], strict=False) if b[1] > a[1] + _CLEAR / 2]
    if steps:
        (low, before), (high, after) = steps[0]
        return Sign(
            "a larger budget attacks less",
            f"PGD leaves {before:.0%} standing at eps = {low:.3g}, but {after:.0%} at eps = {high:.3g}",
            "The attack gets lost: try smaller steps, restarts, and closed-box attacks",
        )
    (eps, left), bounded = p.curve[-1], p.arena.task.victim.clip_values is not None
    if left > 0.02 and eps >= p.largest > 0:
        reached = "every valid input" if bounded else "a sample of another label from each of them"
        return Sign(
            "a large budget does not suffice",
            f"at eps = {eps:.3g}, which reaches {reached}, PGD still leaves {left:.0%} standing",
            "No model is that robust, so the attack fails: its gradients are masked; try closed-box attacks",
        )
    return None


def no_gradients(p: Probe) -> Sign | None:
    """Nothing but closed-box attacks could be run."""
    if p.arena.task.victim.has_gradients:
        return None
    ran = ", ".join(o.chosen.title for o in p.outcomes if o.in_budget)
    return Sign(
        "no gradients",
        f"the model gives none; attacks within the budget that ran without: {ran or 'none'}",
        "Read the robust accuracy as an optimistic one; attack a differentiable model trained to imitate this one",
    )


def weaker_than_the_probe(p: Probe) -> Sign | None:
    """Short attacks on a few samples break what all attacks of the evaluation left standing."""
    if not any(o.in_budget for o in p.outcomes):
        return None  # there is no worst case
    if len(p.arena.x) and (not p.enough or p.arena.task.victim.flat):
        p.blind  # noqa: B018  runs it
    if p.enough:
        p.reference  # noqa: B018
    found, few = int(p.alone.sum()), len(p.arena.x)
    if found <= max(2, _CLEAR / 2 * few):
        return None
    return Sign(
        "weaker than the probe",
        f"artclip's own short attacks broke {found} of {few} probed samples that the attacks of this evaluation left "
        "standing",
        "The worst case counts these, but on samples that were not probed it is as much too high: run stronger "
        "attacks, as 'standard'",
    )


def weak_attack(p: Probe) -> Sign | None:
    """An attack that the user brought overstates the robustness."""
    for o in p.outcomes:
        own, worst = (float((o.tried & ~broken).mean()) for broken in (o.broken, p.broken | p.alone))
        if o.chosen.given is not None and not o.error and own - worst > _CLEAR / 2:
            return Sign(
                "weak attack",
                f"{o.chosen.name} leaves {own:.1%} of all samples standing, the attacks together {worst:.1%}",
                "Do not report its figure as the robust accuracy",
                doubtful=False,
            )
    return None


def rejected_examples(p: Probe) -> Sign | None:
    """Examples that break the rules do not count."""
    for o in p.outcomes:
        if sum(o.violations.values()) > 0.01 * len(o.tried):
            faults = ", ".join(f"{count} {reason}" for reason, count in o.violations.items())
            return Sign(
                "examples that do not count",
                f"of {o.chosen.title}: {faults}",
                "Check the eps, the norm and the clip_values that the attack was given",
            )
    return None


def contradiction(p: Probe) -> Sign | None:
    """An adversarial example inside a certified radius cannot be: one of our figures is wrong."""
    if p.certified is None:
        return None
    wrong = p.broken & (p.certified > p.arena.task.eps * (1 + 1e-3))
    if not wrong.any():
        return None
    return Sign(
        "contradiction, an error of artclip's",
        f"{wrong.sum()} samples are certified at this eps and broken as well, first sample {int(np.argmax(wrong))}",
        "Please report it: the certificate, the attack's check or a layer's rule is wrong",
    )


# A sign more is a function more.
SIGNS: tuple[Callable[[Probe], Sign | None], ...] = (
    contradiction,
    no_gradients,
    random_outputs,
    nan_outputs,
    astray_gradients,
    zero_gradients,
    saturated_loss,
    closed_box_beats_white_box,
    single_step_beats_many,
    more_steps,
    budget,
    weaker_than_the_probe,  # behind all that attack
    weak_attack,
    rejected_examples,
)


def signs(probe: Probe) -> tuple[list[Sign], list[str]]:
    """All signs that show; and what could not be looked for, one line each."""
    found, failed = [], []
    for sign in SIGNS:
        try:
            shown = sign(probe)
        except Exception as error:  # which must not cost the results of the attacks
            said = " ".join(f"{type(error).__name__}: {error}".split())
            failed.append(f"The sign {sign.__name__.replace('_', ' ')!r} could not be looked for: {said}")
            continue
        if shown is not None:
            found.append(shown)
    return found, failed
