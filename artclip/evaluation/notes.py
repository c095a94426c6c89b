"""What must be said beside the figures of an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.reporting.text import counted, fraction, norm_name


def notes_of(ev: Any) -> list[str]:
    """What must be said beside the table of an :class:`artclip.Evaluation`, one line each."""
    s = ev.settings
    worst = "The worst case is an upper bound of the robust accuracy"
    certified = ", the certified share a lower one." if ev.certified is not None else "."
    if ev.robust_accuracy is None:
        worst = "There is no worst case: no attack within the budget ran"
        certified = ". The certified share is a lower bound of the robust accuracy." if len(certified) > 1 else "."
    on = f"Accuracy in % on {ev.samples}; attacks keep to {ev.budget}."
    lines = [f"{on} {worst}{certified}"]
    if ev.nb_fell_to_probe and ev.robust_accuracy is not None:
        share = 100 * ev.nb_fell_to_probe / len(ev.right)
        lines.append(
            f"The worst case counts {counted(ev.nb_fell_to_probe, 'sample')}, {share:.1f} points, that fell to "
            "artclip's own short attacks alone: those that look for signs of masking and for the nearest examples."
        )
    chain = [o for o in ev.outcomes if not ev.alone(o)]
    if len(chain) > 1:
        lines.append("Each attack ran on what those before it left standing; its column counts theirs too.")
    if ev.below:
        shares = (f"{fraction(e)}: {'–' if a is None else f'{100 * a:.1f}'}" for e, a in ev.by_eps)
        lines.append(
            f"Worst case in % by eps: {', '.join(shares)}. A sample that fell within a smaller budget counts as "
            "fallen within the larger, in the columns of attacks too."
        )
    if (distances := _distances(ev)) is not None:
        lines.append(distances)
    if s["outputs"] != "logits":
        lines.append(f"Outputs are {s['outputs']}; attacks ran on the logits behind them.")
    outside = [o.chosen.title for o in ev.outcomes if not o.chosen.attack.in_budget]
    if outside:
        lines.append(f"Outside the budget, and not in the worst case: {', '.join(outside)}.")
    for o in ev.outcomes:
        if o.error and o.tried.any():
            lines.append(f"{o.chosen.title} failed midway, {counted(int(o.broken.sum()), 'sample')} broken: {o.error}.")
        elif o.error:
            lines.append(f"{o.chosen.title} was not run: {o.error}.")
    lines += [
        f"{member} was left out of {o.chosen.title}: {said}."
        for o in ev.outcomes
        for member, said in o.left_out.items()
    ]
    lines += [f"! Likely mistake: {mistake}." for mistake in ev.mistakes]
    lines += [f"{remark}." for remark in ev.remarks]
    lines += [str(v) for v in ev.lipschitz.values() if v is not None]
    if s.get("not_cached"):
        lines.append(f"Nothing was kept in the cache: what the model computes has no hash ({s['not_cached']}).")
    if s["no_upper_bound"]:
        none = "Nothing is said" if not ev.lipschitz else "No upper bound"
        lines.append(f"{none} of the Lipschitz constant, and no certificate by it: {s['no_upper_bound']}.")
    return lines


def _distances(ev: Any) -> str | None:
    """How far the nearest examples are, in words."""
    looked_at, bounded = ev.looked_at, ev.bounded
    if not looked_at.any() or ev.distance is None:
        return None
    name, median = norm_name(ev.settings["norm"]), float(np.median(ev.distance[looked_at]))
    said = f"The nearest adversarial examples found, of {counted(int(looked_at.sum()), 'sample')}: median {name} "
    said += "none" if median == np.inf else f"{median:.3g}"
    if not bounded.any():
        return f"{said}."
    proved = f"{np.median(ev.radius[bounded]):.3g}"
    if np.array_equal(looked_at, bounded):
        return f"{said}; proved radius: median {proved}."
    return (
        f"{said}. Of {int(bounded.sum())} of these radii are proved: median {proved}, where the median of the examples "
        f"found is {np.median(ev.distance[bounded]):.3g}."
    )
