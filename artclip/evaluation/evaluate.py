"""How robust is this model? Attacks from cheap to dear, the worst case per sample, and whether to believe it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from artclip import checks, ranges
from artclip.evaluation.attacks import ATTACKS, BLACK, SETS, choose, for_model
from artclip.evaluation.budgets import attack
from artclip.evaluation.cache import Cache, key_of
from artclip.evaluation.certificates import certified_radii
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.lipschitz_bounds import LARGE, lipschitz_bounds
from artclip.evaluation.masking import MaskingWarning, signs
from artclip.evaluation.nearest import known_distances, search_nearest
from artclip.evaluation.probe import PROBED, Probe
from artclip.evaluation.progress import Progress
from artclip.evaluation.result import Evaluation
from artclip.evaluation.runner import Example, Outcome
from artclip.evaluation.smoothing import unsmoothed
from artclip.evaluation.threat_model import ThreatModel
from artclip.evaluation.units import rising, too_small
from artclip.evaluation.whole_numbers import all_are_tried
from artclip.hashing.digests import digest
from artclip.norms import change
from artclip.reporting.records import describe

_EXAMPLES = 8  # kept of each attack


def evaluate(
    estimator: Any,
    x: np.ndarray,
    y: np.ndarray,
    norm: float | str = 2,
    eps: float | Sequence[float] = 2.0,
    attacks: Any = "standard",
    lipschitz: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
    verbose: bool = True,
    full: bool = False,
    masking: bool = True,
    nb_distances: int = 100,
    cache: str | os.PathLike[str] | None = None,
    name: str | None = None,
    data: str | None = None,
    class_names: list[str] | None = None,
    clip_values: Any = None,
    fixed: Any = None,
    integers: Any = None,
) -> Evaluation:
    """Attack a classifier, bound its Lipschitz constant, and look for signs that the figures are too good.

    Attacks, artclip's own and ART's, are run on the logits through an own view of the model: a sigmoid, softmax or ReLU
    at its end is taken off first. They go from cheap to dear, each on the samples that still stand. A model without
    gradients is attacked through its outputs, and so is one whose outputs are constant in steps. Where outputs are NaN,
    the model counts as wrong. One output of a binary classifier, log-odds or a probability, counts as two. Gradients
    pass a defence in numpy as ART estimates it (BPDA); a model that answers at random is attacked through the mean of
    draws (EOT), and the majority of draws counts.

    Args:
        estimator: an ART classifier, or a bare ``torch.nn.Module`` or Keras model; as deployed.
        x: inputs, shape (n, *input_shape), in the units of ``clip_values``.
        y: class indices of shape (n,), or one-hot labels; of a scikit-learn model whose ``classes_`` are not 0 to
            n − 1, labels among these.
        norm: of the budget: 1, 2 or inf.
        eps: the budget ‖x' − x‖ <= eps, > 0, in units of the inputs; or several, for a curve of the robust accuracy:
            the attacks run within each, from the smallest on, on what still stands. All other figures are of the
            largest. ART attack objects, whose eps is their own, run within the largest alone.
        attacks: ``"standard"``, ``"quick"``, or names as ``["pgd:max_iter=20", "square"]``; or a dict from names to ART
            attack objects, which are run as they are, targeted ones at the likeliest wrong classes.
            :data:`artclip.evaluation.attacks.ATTACKS` lists the names. Where a model gives no gradients, a set is that
            of :data:`artclip.evaluation.attacks.BLACK_BOX_SETS`.
        lipschitz: whether to bound the Lipschitz constant, and to certify in L2 and Linf; not where a model gives
            outputs alone.
        batch_size: samples in one pass, >= 1; ``None`` for one that suits the inputs. It is halved where memory ends.
        seed: of all randomness; ``None`` draws one.
        verbose: show progress, on a terminal or in a notebook.
        full: run each attack on all samples that the model gets right, so that ``accuracy`` is each attack's own.
        masking: look for signs of gradient masking, by short attacks on up to 100 samples.
        nb_distances: samples that the model gets right, of which as large a radius as there is time for is proved, and
            of which the nearest adversarial example is kept; >= 0. Of models so large that fewer than 64 samples make a
            pass, a tenth. The attack ``"minimum-norm"``, which both sets hold, looks for the nearest example of every
            sample; without it these alone are looked at. Not where a model gives no gradients.
        cache: folder for outcomes; an interrupted evaluation resumes from it. A model that is random, or that holds
            what Python does not show (a connection, a compiled program), is not kept, and a note says so.
        name: of the model, for tables.
        data: name of the data, for tables.
        class_names: names of the classes, for the report.
        clip_values: range (low, high) of valid inputs of a bare model, each a number or an array that broadcasts to an
            input; ``None`` for none. An ART classifier has its own.
        fixed: features that no attack changes, as of tabular data: indices of a vector, negative ones from its end, or
            a bool array of the inputs' shape; ``None`` for none. Certificates and Lipschitz bounds are of all features.
        integers: features that attacks move by whole numbers alone, likewise; those that are fixed too stay. Where few
            steps fit into the budget, the sets try them all.

    Returns:
        The :class:`Evaluation`.

    Raises:
        ValueError, TypeError: bad input, or a model of which ``predict`` is another function than gradients are of,
            before any attack.
    """
    started, norm = time.perf_counter(), checks.norm("norm", norm)
    estimator, smoothing = unsmoothed(estimator)
    checks.positive_integer("nb_distances", nb_distances, 0)
    *smaller, largest = rising("eps", eps, checks.positive)
    chosen, seed = choose(attacks, norm), checks.seed_or_drawn(seed)
    if smaller and not any(c.attack.in_budget and c.given is None for c in chosen):
        raise ValueError(f"eps={eps!r} are several, which asks for attacks within a budget by name, as 'pgd'")
    outcome_cache, evaluated = (
        Cache(cache),
        EvaluatedModel(estimator, x, y, batch_size, name, clip_values, seed, fixed, integers),
    )
    classifier, remarks, rules = evaluated.classifier, list(evaluated.remarks), evaluated.classifier.rules
    if classifier.f.approximated:
        remarks.append(
            f"Gradients pass {', '.join(classifier.f.approximated)} as ART estimates it, by the identity for most "
            "defences (BPDA, Athalye et al. 2018, arXiv 1802.00420); forward passes are the real ones"
        )
    if isinstance(attacks, str) and attacks in SETS:
        chosen = for_model(attacks, norm, classifier)
        through = classifier.f.approximated
        if not classifier.has_gradients or classifier.flat or classifier.stepped or through:
            why = "gives no gradients" if not classifier.has_gradients else "has gradients of zero"
            why = (
                "has outputs that are constant in steps, of which gradients tell little" if classifier.stepped else why
            )
            why = f"has the defence {through[0]} in numpy" if through and not classifier.flat else why
            closed = ", ".join(c.title for c in chosen if c.attack.access == BLACK) or "none"
            remarks.append(f"The model {why}: attacks of the set {attacks!r} by outputs alone are {closed}")
    mistakes = ranges.narrow(evaluated.x, evaluated.f.clip_values)
    for mistake in mistakes:
        warnings.warn(f"likely mistake: {mistake}", RuntimeWarning, stacklevel=2)
    remarks += too_small(chosen, norm, largest, evaluated.x, evaluated.f.clip_values)
    if class_names is not None and len(class_names) != evaluated.nb_classes:
        raise ValueError(f"class_names has {len(class_names)} names for {evaluated.nb_classes} classes")
    about = describe(evaluated.package)
    x, labels = evaluated.x, evaluated.y
    key, not_cached = "", ""
    if cache is not None:
        where = str(getattr(evaluated.f, "device", "cpu")), *(evaluated.f.clip_values or ()), str(rules.settings())
        key, not_cached = key_of(evaluated, classifier.batch_size, *where, about["versions"])
    parts = ["attacks", *["Lipschitz bounds", "certificates"] * lipschitz, *["signs of masking"] * masking]
    with Progress(parts, verbose) as progress:
        done = attack(
            evaluated,
            chosen,
            norm,
            [*smaller, largest],
            seed,
            progress,
            full,
            key,
            outcome_cache,
            nb_examples=_EXAMPLES,
        )
        outcomes, fallen = done.outcomes, done.fallen
        if evaluated.by_batch:
            remarks.append(
                "Outputs depend on the other samples of the batch: figures hold for these samples in this order and "
                f"batch_size={classifier.batch_size}"
            )
        if evaluated.nb_nan:
            remarks.append(f"Outputs are NaN for {evaluated.nb_nan} of {len(x)} samples, which count as wrong")
        remarks += _of_all_points(evaluated, outcomes, norm, largest)
        # Nothing from here on may cost the results of the attacks.
        few = np.flatnonzero(evaluated.right)[: nb_distances if classifier.batch_size >= LARGE else nb_distances // 10]
        found = done.nearest
        if found is None:
            found = _tried("Distances", lambda: search_nearest(evaluated, norm, few, seed=seed), None, remarks)
        distance = known_distances(found, evaluated.right, done.fell_at)
        below = [(e, None if by is None else float((~by & ~(distance <= e)).mean())) for e, by in done.below]
        progress.begin("Lipschitz bounds", 2)
        bounds, why = lipschitz_bounds(evaluated, norm, seed, progress) if lipschitz else ({}, "")
        progress.begin("certificates")
        radii = None
        if bounds:
            proofs = partial(certified_radii, evaluated, norm, largest, few=few)
            none: tuple[Any, list[str]] = (None, [])
            radii, said = _tried("Certificates", lambda: proofs(bounds.get("upper"), fallen), none, remarks)
            remarks += said
        l2, voted, smoothed = largest * change(x[0].size, norm, 2), None, None
        if smoothing is not None:
            by_draws = partial(smoothing.right_and_radii, estimator, x, labels, seed)
            voted, smoothed = _tried("Certificates of the smoothed model", by_draws, (None, None), remarks)
            remarks.append(smoothing.said(l2))
        probe, shown = None, list[MaskingWarning]()
        progress.begin("signs of masking")
        if masking and rules.integers is not None:
            remarks.append(
                "Signs of masking were not looked for, since they compare attacks that move by any amount: leave "
                "integers out for them"
            )
        elif masking:
            probed = np.flatnonzero(evaluated.right)[:PROBED]
            runner = evaluated.runner(norm, largest, seed, probed)
            nan = evaluated.nb_nan, evaluated.nb_unanswered, len(x)
            probe = Probe(estimator, runner, outcomes, fallen, radii, probed, nan, evaluated.by_batch, distance)
            shown, failed = signs(probe)
            remarks += failed
        if probe is not None:
            distance = np.where(probe.alone, np.minimum(distance, largest), distance)
        near = evaluated.right & (distance <= largest) | (probe.alone if probe is not None else False)
        curve = _tried("The curve of the probe", lambda: probe.curve if probe else [], [], remarks)
        examples = _tried("Adversarial examples", lambda: _examples(evaluated, outcomes), [], remarks)
        progress.end()
    return Evaluation(
        settings={
            "name": evaluated.name,
            "data": data or "arrays",
            "data_sha256": digest(x, labels),
            "nb_samples": len(x),
            "nb_classes": evaluated.nb_classes,
            "norm": str(norm),
            "eps": largest,
            "eps_in_l2": l2,
            "seed": seed,
            "batch_size": classifier.batch_size,
            "full": full,
            "clip_values": None if clip_values is None else [np.asarray(v).tolist() for v in clip_values],
            "range": ranges.range_of(evaluated.f.clip_values),
            **rules.settings(),
            "outputs": classifier.kind,
            "access": classifier.access,
            "bpda": list(classifier.f.approximated),
            "nb_draws": classifier.nb_draws,
            "device": str(getattr(evaluated.f, "device", "cpu")),
            "no_upper_bound": why,
            "not_cached": not_cached,
            "nb_bounded": 0 if radii is None else len(few),
            "nb_probed": 0 if probe is None else len(probe.runner.x),
            **about,
        },
        outcomes=outcomes,
        right=evaluated.right,
        warnings=shown,
        lipschitz=bounds,
        certified=None if radii is None else radii >= largest,
        curve=curve,
        seconds=time.perf_counter() - started,
        examples=examples,
        class_names=class_names,
        fell_to_probe=None if probe is None and found is None else near & ~fallen,
        distance=distance,
        nearest={} if found is None else found.examples(len(few), distance),
        radius=radii,
        smoothed=smoothed,
        smoothed_right=voted,
        remarks=remarks,
        mistakes=mistakes,
        below=below,
        fell_below=done.fell_below if below else None,
    )


def _of_all_points(evaluated: EvaluatedModel, outcomes: list[Outcome], norm: float, eps: float) -> list[str]:
    """What is said where an attack tried every point of the budget."""
    asked = [o.chosen.options["max_eval"] for o in outcomes if o.chosen.attack is ATTACKS["exhaustive"] and not o.error]
    threat = ThreatModel(evaluated.classifier, norm, eps)
    if evaluated.is_random or evaluated.by_batch or not any(all_are_tried(threat, int(most)) for most in asked):
        return []
    return [
        "Of features that move by whole numbers alone so few steps fit into the budget that all were tried: the "
        "worst case is exact"
    ]


def _tried(what: str, make: Callable[[], Any], otherwise: Any, remarks: list[str]) -> Any:
    """What make() gives; where it fails, ``otherwise``, and a remark."""
    try:
        return make()
    except Exception as error:  # of a model that answers differently now, or of memory
        remarks.append(f"{what} could not be had: {type(error).__name__}: {' '.join(str(error).split())}")
        return otherwise


def _examples(evaluated: EvaluatedModel, outcomes: list[Outcome]) -> list[Example]:
    """What the attacks made of the first samples they broke."""
    examples = []
    for outcome in outcomes:
        for i, example in outcome.examples.items():
            outputs = evaluated.outputs(np.stack([evaluated.x[i], example]))
            examples.append(Example(outcome.chosen.title, i, evaluated.x[i], example, int(evaluated.y[i]), *outputs))
    return examples
