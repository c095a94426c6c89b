"""An evaluation as a record for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np


def record_of(ev: Any) -> dict[str, Any]:
    """All of an :class:`artclip.Evaluation` but the arrays, with the fields of a RobustBench record."""
    s, accuracy, robust = ev.settings, ev.accuracy, ev.robust_accuracy
    auto = next((n for n in accuracy if n.partition(":")[0] in ("autoattack-set", "autoattack-art")), None)
    return {
        # RobustBench
        "name": s["name"],
        "dataset": s["data"],
        "threat_model": f"L{s['norm']}",
        "eps": s["eps"],
        "clean_acc": 100 * accuracy["clean"],
        "autoattack_acc": None,  # of the standard AutoAttack, which is not run: ART has no FAB
        "reported": None if robust is None else 100 * robust,
        "unreliable": ev.doubtful,
        "architecture": s["name"],
        "number_forward_passes": sum(o.passes for o in ev.outcomes),
        "number_gradients": sum(o.gradients for o in ev.outcomes),
        "additional_data": None,
        "authors": None,
        "venue": None,
        "link": None,
        # artclip
        "autoattack_set_of_art_acc": None if auto is None else 100 * accuracy[auto],
        "accuracy": accuracy,
        "robust_accuracy": robust,
        "fell_to_probe": ev.nb_fell_to_probe,
        "certified_accuracy": ev.certified_accuracy,
        "intervals": ev.intervals,
        "attacks": ev.records(),
        "warnings": [vars(w) for w in ev.warnings],
        "lipschitz": {k: v and v.to_dict() for k, v in ev.lipschitz.items()},
        "by_eps": [{"eps": e, "accuracy": a} for e, a in ev.by_eps],
        "by_calls": ev.by_calls,
        "curve": [{"eps": e, "accuracy": a} for e, a in ev.curve],
        "per_sample": {k: v.astype(int).tolist() for k, v in ev.per_sample.items()},
        "survivors": None if robust is None else ev.survivors.astype(int).tolist(),
        "distance": _listed(ev.distance),
        "radius": _listed(ev.radius),
        "smoothed": _listed(ev.smoothed),
        "smoothed_right": None if ev.smoothed_right is None else ev.smoothed_right.astype(int).tolist(),
        "remarks": ev.remarks,
        "mistakes": ev.mistakes,
        "seconds": ev.seconds,
        "settings": s,
    }


def _listed(values: np.ndarray | None) -> list[float | str | None] | None:
    """Numbers for JSON, which has neither NaN, here ``None``, nor infinity, here ``"inf"``."""
    if values is None:
        return None
    return [None if np.isnan(v) else "inf" if np.isinf(v) else float(v) for v in values]
