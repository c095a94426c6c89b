"""Signs that are seen in what a model gives: random outputs, such of a batch, labels, NaN, or no gradients."""

from __future__ import annotations

from artclip.evaluation.masking_warning import MaskingWarning
from artclip.evaluation.probe import Probe
from artclip.evaluation.random_outputs import apart, randomness


def random_outputs(p: Probe) -> MaskingWarning | None:
    """Two calls, two answers."""
    x = p.runner.x
    if not len(x):
        return None
    classifier = p.runner.threat.classifier
    with randomness(classifier.f, (p.runner.seed,)):
        differ = apart(*(classifier.f.outputs(x, classifier.batch_size) for _ in range(2)))
    if not differ:
        return None
    return MaskingWarning(
        "random outputs",
        f"two calls on the same inputs differ by {differ:.1%} of the largest output; attacks took the mean of "
        f"{classifier.nb_draws} draws",
        "More draws may find more: switch the randomness off where you can, and measure the model without it too",
    )


def outputs_by_batch(p: Probe) -> MaskingWarning | None:
    """A sample alone has other outputs than in a batch."""
    if not p.by_batch:
        return None
    return MaskingWarning(
        "outputs depend on the batch",
        f"a sample alone, or among others, has outputs that differ by {_share(p.by_batch)} of the largest: the model "
        "normalises or mixes over the samples of a batch, so figures hold for these samples, in this order, and "
        f"batch_size={p.runner.threat.classifier.batch_size}",
        "Let the model use statistics of the training (as BatchNorm with running averages in eval mode does), or "
        "measure it with batches as it is deployed with",
    )


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 1 else "more than 100%"


def stepped_outputs(p: Probe) -> MaskingWarning | None:
    """Labels, or rounded numbers, beside gradients of something else."""
    if not p.runner.threat.classifier.stepped:
        return None
    return MaskingWarning(
        "outputs in steps",
        "outputs have few values and do not move along their own gradients: they are labels, or rounded, and "
        "gradients are of something else",
        "Gradient attacks see no progress; hold the figure against hopskipjump, which 'standard' runs besides, or "
        "attack the model before it is rounded",
    )


def nan_outputs(p: Probe) -> MaskingWarning | None:
    """Outputs that are no numbers."""
    samples, inputs, nb = p.nan
    if not inputs and not samples:
        return None
    return MaskingWarning(
        "outputs that are not finite",
        f"outputs are NaN for {samples} of {nb} samples, and for {inputs} inputs of the attacks; they count as wrong",
        "Find out what makes them, as a division by zero or a logarithm: the figures are of a model that fails there",
    )


def no_gradients(p: Probe) -> MaskingWarning | None:
    """Nothing but black-box attacks could be run."""
    if p.runner.threat.classifier.has_gradients:
        return None
    ran = ", ".join(o.chosen.title for o in p.outcomes if o.in_budget)
    return MaskingWarning(
        "no gradients",
        f"the model gives none; attacks within the budget that ran without: {ran or 'none'}",
        "Read the robust accuracy as an optimistic one; attack a differentiable model trained to imitate this one",
    )
