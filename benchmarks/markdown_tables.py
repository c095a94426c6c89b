"""What tables of results are made of."""

from __future__ import annotations

import re
from typing import Any

import numpy as np


def table(rows: list[list[str]]) -> str:
    """Columns of figures stand to the right, those of words to the left."""
    head, *body = rows
    words = [any(re.match(r"[a-z]{2}", line[i]) for line in body) for i in range(len(head))]
    rules = ["---" if i == 0 or words[i] else "--:" for i in range(len(head))]
    lines = [head, rules, *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(rows: list[dict[str, Any]], key: str, form: str) -> str:
    """Mean ± standard deviation (n - 1) over seeds, the mean of a single one; a dash where there is no figure."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if len(values) < 2:
        return format(values[0], form) if values else "–"
    return f"{format(np.mean(values), form)} ± {format(np.std(values, ddof=1), form)}"


def groups(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows that agree in some entries, in the order of the first of them."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in keys), []).append(row)
    return found
