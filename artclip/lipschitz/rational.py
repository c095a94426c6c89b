"""Whether strict inequalities hold together, decided in integers: no rounding, so an answer is a proof."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np


def integers(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Finite floats as integers (Python's, of any size) and an exponent e: the array is integers · 2^e, exactly."""
    mantissas, exponents = np.frexp(np.asarray(array, dtype=np.float64))
    least = int(exponents[mantissas != 0].min(initial=0))
    whole = np.ldexp(mantissas, 53).astype(np.int64).astype(object)
    shifts = np.where(mantissas != 0, exponents - least, 0).astype(object)
    return whole * 2**shifts, least - 53


def independent_columns(matrix: np.ndarray, tick: Callable[[], None]) -> list[int]:
    """Columns that span all columns of an integer matrix.

    Args:
        matrix: shape (m, n), Python integers; columns that come first are preferred.
        tick: called once a column; it may raise, to end what takes too long.
    """
    independent: list[int] = []
    echelon: list[tuple[int, np.ndarray]] = []  # place of the pivot, and the column
    for j in range(matrix.shape[1]):
        if len(independent) == len(matrix):
            break
        tick()
        rest = matrix[:, j]
        for place, column in echelon:
            if rest[place]:
                rest = rest * column[place] - column * rest[place]
                rest = rest // max(math.gcd(*rest), 1)
        if any(rest):
            independent.append(j)
            echelon.append((next(i for i, entry in enumerate(rest) if entry), rest))
    return independent


def interior(rows: np.ndarray, tick: Callable[[], None]) -> tuple[list[Fraction] | None, list[int]]:
    """A point x with a·x + c > 0 for all rows (a, c); or the proof that there is none.

    The linear program "maximise t <= 1 with a·x + c >= t·w", w about the size of a, is solved through its dual by the
    simplex method in integers (Edmonds 1967) with Bland's rule (1977), which always ends. The dual has a solution from
    the start; one without a positive value is a sum of rows, with weights y >= 0, that reads 0 > 0 or less (Farkas).

    Args:
        rows: shape (m, n + 1), Python integers.
        tick: called once a pivot; it may raise, to end what takes too long.

    Returns:
        The point and nothing; or ``None`` and a weight y for each row, whole numbers >= 0 and not all 0, with
        Σ y·a = 0 and Σ y·c <= 0. As few as can be are positive.
    """
    for i, row in enumerate(rows):
        if not any(row[:-1]) and row[-1] <= 0:
            return None, [int(j == i) for j in range(len(rows))]
    m, n = len(rows), rows.shape[1] - 1
    # Columns: y, s, one for each equation Σ y·a = 0, right side. Rows: the equations, Σ w·y + s = 1, the objective.
    table = np.zeros((n + 2, m + n + 2), dtype=object)
    weights = np.array([1 << max(int(abs(a)).bit_length() for a in row[:-1]) if n else 1 for row in rows], dtype=object)
    table[:n, :m] = rows[:, :-1].T
    table[:n, m + 1 : -1] = np.eye(n, dtype=int).astype(object)
    table[n, :m], table[n, m], table[n, -1] = weights, 1, 1
    table[-1, :m], table[-1, -1] = rows[:, -1] - weights, -1
    basis, scale = [*range(m + 1, m + 1 + n), m], 1

    def pivot(row: int, column: int) -> None:
        nonlocal scale, table
        tick()
        if table[row, column] < 0:  # of an equation that is 0 on both sides
            table[row] = -table[row]
        by, top = table[row, column], table[row].copy()
        table = (table * by - np.outer(table[:, column], top)) // scale
        table[row], scale, basis[row] = top, by, column

    for row in range(n):
        if any(table[row, :m]):
            pivot(row, next(j for j in range(m) if table[row, j]))
    while table[-1, -1] < 0:  # minus the value
        column = next((j for j in range(m + 1) if table[-1, j] < 0), -1)
        if column < 0:
            return [Fraction(int(x), int(scale)) for x in table[-1, m + 1 : -1]], []
        able = [i for i in range(n + 1) if table[i, column] > 0]
        pivot(min(able, key=lambda i: (Fraction(int(table[i, -1]), int(table[i, column])), basis[i])), column)
    solution = dict(zip(basis, table[:-1, -1], strict=True))
    return None, [int(solution.get(i, 0)) for i in range(m)]
