"""What a comparison says in one sentence: what CLIP gained over standard training, and at what cost."""

from __future__ import annotations

from typing import Any

from artclip.comparison.data import ComparisonData
from artclip.comparison.significance import ALPHA, p_value

_KINDS = {
    "standard": ("standard",),
    "clip": ("clip",),
    "adversarial": ("adversarial", "madry", "fbf", "trades", "awp"),
}


def message(comparison: ComparisonData) -> str:
    """One plain sentence, without a full stop."""
    rows = measured(comparison)
    if not rows:
        none = all(row["error"] for row in comparison.rows)
        return "No training succeeded" if none else "There is no worst case: no attack ran within the budget"
    chosen = spoken_of(comparison)
    clip, standard, adversarial = (chosen.get(kind) for kind in ("clip", "standard", "adversarial"))
    if clip is None:
        best = max(rows, key=lambda row: row["worst"]["mean"])
        has = "has the highest worst case," if len(rows) > 1 else "has a worst case of"
        return f"{comparison.title(best)} {has} {_worst(best)}, for {cost(best)}"
    name, worst = f"CLIP ({comparison.title(clip)})", f"worst case of {_worst(clip)}"
    if standard is None:
        sentence = f"{name} has a {worst}"
    elif (p_value(comparison, "worst", clip, standard) or 0.0) >= ALPHA:
        sentence = f"{name} has a {worst}, which is not told from the {_worst(standard)} of standard training"
    else:
        verb = "raises" if clip["worst"]["mean"] > standard["worst"]["mean"] else "lowers"
        sentence = f"{name} {verb} the worst case from {_worst(standard)} to {_worst(clip)}"
    sentence += f", for {cost(clip)}"
    if adversarial is not None:
        sentence += f"; adversarial training ({comparison.title(adversarial)}) has {_worst(adversarial)}, for "
        sentence += cost(adversarial).removesuffix(cost(clip).partition(" times")[2])
    return sentence


def measured(comparison: ComparisonData) -> list[dict[str, Any]]:
    """The rows that have a worst case."""
    return [row for row in comparison.rows if not row["error"] and (row.get("worst") or {}).get("mean") is not None]


def spoken_of(comparison: ComparisonData) -> dict[str, dict[str, Any]]:
    """Of standard training, CLIP and adversarial training the row whose clean accuracy and worst case sum to most.

    All are of one net: that of the best row of CLIP, or of all rows where there is no CLIP.
    """
    rows = sorted(measured(comparison), key=lambda row: -(row["worst"]["mean"] + row["test"]["mean"]))
    by_kind = {kind: [row for row in rows if _stem(row) in names] for kind, names in _KINDS.items()}
    net = next((row["net"] for row in by_kind["clip"] or rows), None)
    first = {kind: next((row for row in some if row["net"] == net), None) for kind, some in by_kind.items()}
    return {kind: row for kind, row in first.items() if row is not None}


def cost(row: dict[str, Any]) -> str:
    """What a training takes, as a multiple of plain training."""
    for metric, what in (("gradients", "gradients"), ("cpu_cost", "CPU time")):
        mean = (row.get(metric) or {}).get("mean")
        if mean is not None:
            return f"{mean:.1f} times the {what} of plain training"
    return "a cost that was not measured"


def _stem(row: dict[str, Any]) -> str:
    return str(row["defence"]).partition("@")[0].partition(":")[0]


def _worst(row: dict[str, Any]) -> str:
    return f"{100 * row['worst']['mean']:.1f} %"
