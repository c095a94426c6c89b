"""Signs that a robust accuracy is not what it seems, each with what was seen and what to try.

After Carlini et al. 2019 (arXiv 1902.06705) and Athalye et al. 2018 (arXiv 1802.00420). Most signs come from probes:
short attacks on a few samples that the model gets right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from artclip.evaluation.attack_classifier import ASIDE
from artclip.evaluation.attacks import BLACK, WHITE, choose
from artclip.evaluation.masking_outputs import (
    nan_outputs,
    no_gradients,
    outputs_by_batch,
    random_outputs,
    stepped_outputs,
)
from artclip.evaluation.masking_warning import MaskingWarning
from artclip.evaluation.probe import STEPS, Probe, share_of_zeros

_CLEAR = 0.1  # differences of accuracy that are no accident


def zero_gradients(p: Probe) -> MaskingWarning | None:
    """The margin of the logits does not change with the input."""
    if not p.enough or (zero := p.flat_margin) <= 0.05:
        return None
    return MaskingWarning(
        "zero gradients",
        f"the margin of the logits has a gradient of exactly zero at {zero:.0%} of {len(p.runner.x)} samples",
        "Gradient attacks find nothing there: look for rounding, steps or saturated units; try black-box attacks",
    )


def astray_gradients(p: Probe) -> MaskingWarning | None:
    """Gradients are NaN or infinite, as that of a root at 0."""
    if not p.enough:
        return None
    a, classifier = p.runner, p.runner.threat.classifier
    before = classifier.nb_astray
    classifier.with_loss("margin").loss_gradient(a.x, a.threat.labels(a.y))
    here = classifier.nb_astray - before
    if not classifier.nb_astray:
        return None
    return MaskingWarning(
        "gradients that are not finite",
        f"the margin has a gradient with NaN or infinite entries at {here} of {len(a.x)} samples, and all attacks met "
        f"{classifier.nb_astray} such gradients; they took those of points {ASIDE:g} of the range away instead",
        "Mend the model, as by sqrt(x + 1e-12) for sqrt(x), or hold the figure against black-box attacks",
    )


def saturated_loss(p: Probe) -> MaskingWarning | None:
    """An attack through the model's own loss sees less than there is."""
    gradient = getattr(p.estimator, "loss_gradient", None)
    if gradient is None or not p.enough or p.runner.threat.classifier.one is not None:
        return None  # ART's losses and labels are of two columns and more
    a = p.runner
    try:
        zero = share_of_zeros(np.asarray(gradient(a.x, a.threat.labels(a.y))))
        ordinary = _through_own_loss(p)
    except Exception:  # an estimator without a loss, or whose gradient fails: nothing to compare
        return None
    # The same loss of the logits, but for saturation: that a margin finds more than either is no sign of masking.
    sound = p.accuracy(f"pgd:max_iter={STEPS},nb_restarts=1")
    if zero - p.flat_margin <= 0.05 and ordinary - sound <= _CLEAR:
        return None
    classifier = a.threat.classifier
    logits = np.sort(classifier.predict(a.x), axis=1)
    return MaskingWarning(
        "saturated loss",
        f"through the model's own loss, PGD of {STEPS} steps leaves {ordinary:.0%} of {len(a.x)} samples standing, "
        f"through a cross-entropy of the logits that does not saturate {sound:.0%}; the loss gradient is exactly zero "
        f"at {zero:.0%} of them; outputs are {classifier.kind}, with a median margin of "
        f"{np.median(logits[:, -1] - logits[:, -2]):.3g} in the logits",
        "Do not trust attacks through that loss; those of this evaluation, but for any of your own, are on the logits",
        doubtful=False,
        about="attacks through that loss, not the worst case",
    )


def _through_own_loss(p: Probe) -> float:
    from art.attacks.evasion import ProjectedGradientDescent

    from artclip.evaluation.l1_pgd import SparseProjectedGradientDescent

    threat = p.runner.threat  # the same steps as those that it is held against
    kind = SparseProjectedGradientDescent if threat.norm == 1 else ProjectedGradientDescent
    attack = threat.projected_gradient(kind, p.estimator, STEPS)
    return p.left_by(choose({"own loss": attack}, threat.norm)[0], p.runner)


def black_box_beats_white_box(p: Probe) -> MaskingWarning | None:
    """Attacks without gradients break what those with gradients could not."""
    inside = [o for o in p.outcomes if o.chosen.attack.in_budget and not o.error]
    white = [o for o in inside if o.chosen.attack.access == WHITE and o.chosen.given is None]
    closed = [o for o in inside if o.chosen.attack.access == BLACK]
    if not white or not closed:
        return None
    fell = np.logical_or.reduce([o.broken for o in closed]) & ~np.logical_or.reduce([o.broken for o in white])
    earlier = [o for o in white if p.outcomes.index(o) < p.outcomes.index(closed[0])]
    if not earlier or fell.sum() <= max(2, 0.02 * len(fell)):
        return None
    return MaskingWarning(
        "black box beats white box",
        f"{fell.sum()} samples that the gradient attacks left standing fell to {closed[0].chosen.title}",
        "Gradients lead nowhere: look for rounding, steps or saturated parts, and attack a smooth stand-in",
    )


def single_step_beats_many(p: Probe) -> MaskingWarning | None:
    """FGSM finds more than PGD."""
    if not p.enough:
        return None
    one = p.accuracy("fgsm")
    if p.reference - one <= _CLEAR / 2 or (p.reference - one) * len(p.runner.x) < 3:
        return None
    return MaskingWarning(
        "one step beats many",
        f"FGSM leaves {one:.0%} standing, PGD of {STEPS} steps {p.reference:.0%}",
        "Gradients near the samples mislead: try larger steps, restarts, and black-box attacks",
    )


def more_steps(p: Probe) -> MaskingWarning | None:
    """More steps, or more restarts, do not make the attack stronger, or still make it much stronger."""
    if not p.enough or p.reference == 0:
        return None
    longer = p.accuracy(f"pgd-margin:max_iter={5 * STEPS},nb_restarts=1")
    if longer > p.reference + _CLEAR / 2:
        return MaskingWarning(
            "more steps attack less",
            f"PGD of {5 * STEPS} steps leaves {longer:.0%} standing, of {STEPS} steps {p.reference:.0%}",
            "The gradients are rough: try other step sizes, restarts, and black-box attacks",
        )
    again = p.accuracy(f"pgd-margin:max_iter={5 * STEPS},nb_restarts=5")
    if longer - again > _CLEAR:
        return MaskingWarning(
            "restarts still find more",
            f"five starts leave {again:.0%} standing, one {longer:.0%}",
            "The figure depends on luck: use many more restarts, as pgd-margin:nb_restarts=20",
        )
    return None


def budget(p: Probe) -> MaskingWarning | None:
    """Accuracy must fall as eps grows, and reach 0: every image of another class comes into reach."""
    if not p.curve:
        return None
    steps = [(a, b) for a, b in zip(p.curve, p.curve[1:], strict=False) if b[1] > a[1] + _CLEAR / 2]
    if steps:
        (low, before), (high, after) = steps[0]
        return MaskingWarning(
            "a larger budget attacks less",
            f"PGD leaves {before:.0%} standing at eps = {low:.3g}, but {after:.0%} at eps = {high:.3g}",
            "The attack gets lost: try smaller steps, restarts, and black-box attacks",
        )
    (eps, left), bounded = p.curve[-1], p.runner.threat.classifier.clip_values is not None
    if p.distance is not None:  # PGD of few large steps may jump over what the search for the nearest example finds
        left = min(left, float((~np.isfinite(p.distance[p.index])).mean()))
    if left > 0.02 and eps >= p.largest > 0 and not p.runner.threat.classifier.rules:  # which leave some out of reach
        reached = "every valid input" if bounded else "a sample of another label from each of them"
        return MaskingWarning(
            "a large budget does not suffice",
            f"at eps = {eps:.3g}, which reaches {reached}, attacks still leave {left:.0%} standing",
            "No model is that robust, so they fail: gradients are masked; try black-box attacks",
        )
    return None


def weaker_than_the_probe(p: Probe) -> MaskingWarning | None:
    """Short attacks on a few samples break what all attacks of the evaluation left standing."""
    if not any(o.in_budget for o in p.outcomes):
        return None  # there is no worst case
    if len(p.runner.x) and (not p.enough or p.runner.threat.classifier.flat):
        p.blind  # noqa: B018  runs it
    if p.enough:
        p.reference  # noqa: B018
    nb_fell, few = int(p.alone.sum()), len(p.runner.x)
    if nb_fell <= max(2, _CLEAR / 2 * few):
        return None
    return MaskingWarning(
        "weaker than the probe",
        f"artclip's own short attacks broke {nb_fell} of {few} probed samples that the attacks of this evaluation left "
        "standing",
        "The worst case counts these, but on samples that were not probed it is as much too high: run stronger "
        "attacks, as 'standard'",
    )


def weak_attack(p: Probe) -> MaskingWarning | None:
    """An attack that the user brought overstates the robustness."""
    for o in p.outcomes:
        own, worst = (float((o.tried & ~broken).mean()) for broken in (o.broken, p.broken | p.alone))
        if o.chosen.given is not None and not o.error and own - worst > _CLEAR / 2:
            return MaskingWarning(
                "weak attack",
                f"{o.chosen.name} leaves {own:.1%} of all samples standing, the attacks together {worst:.1%}",
                "Do not report its figure as the robust accuracy",
                doubtful=False,
                about=f"{o.chosen.name}, not the worst case",
            )
    return None


def rejected_examples(p: Probe) -> MaskingWarning | None:
    """Examples that break the rules do not count."""
    for o in p.outcomes:
        if sum(o.violations.values()) > 0.01 * len(o.tried):
            faults = ", ".join(f"{count} {reason}" for reason, count in o.violations.items())
            return MaskingWarning(
                "examples that do not count",
                f"of {o.chosen.title}: {faults}",
                "Check the eps, the norm and the clip_values that the attack was given",
                about=f"what {o.chosen.title} left standing",
            )
    return None


def contradiction(p: Probe) -> MaskingWarning | None:
    """An adversarial example inside a certified radius cannot be: one of our figures is wrong."""
    if p.certified is None:
        return None
    wrong = p.broken & (p.certified > p.runner.threat.eps * (1 + 1e-3))
    if p.distance is not None:
        wrong |= p.certified > p.distance * (1 + 1e-3)
    if not wrong.any():
        return None
    return MaskingWarning(
        "contradiction, an error of artclip's",
        f"{wrong.sum()} samples are certified and broken within the same radius, first sample {int(np.argmax(wrong))}",
        "Please report it: the certificate, the attack's check or a layer's rule is wrong",
        about="the certificates",
    )


# A sign more is a function more.
MASKING_WARNINGS: tuple[Callable[[Probe], MaskingWarning | None], ...] = (
    contradiction,
    no_gradients,
    random_outputs,
    outputs_by_batch,
    stepped_outputs,
    nan_outputs,
    astray_gradients,
    zero_gradients,
    saturated_loss,
    black_box_beats_white_box,
    single_step_beats_many,
    more_steps,
    budget,
    weaker_than_the_probe,  # behind all that attack
    weak_attack,
    rejected_examples,
)


def signs(probe: Probe) -> tuple[list[MaskingWarning], list[str]]:
    """All signs that show; and what could not be looked for, one line each."""
    warnings, failed = [], []
    for sign in MASKING_WARNINGS:
        try:
            shown = sign(probe)
        except Exception as error:  # which must not cost the results of the attacks
            error_text = " ".join(f"{type(error).__name__}: {error}".split())
            failed.append(f"The sign {sign.__name__.replace('_', ' ')!r} could not be looked for: {error_text}")
            continue
        if shown is not None:
            warnings.append(shown)
    return warnings, failed
