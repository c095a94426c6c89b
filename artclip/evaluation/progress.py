"""One bar over a whole evaluation, with the time that is left: its parts differ in length, so each has a share."""

from __future__ import annotations

from types import TracebackType

from tqdm.auto import tqdm

SHARES = {"attacks": 45, "Lipschitz bounds": 25, "certificates": 20, "signs of masking": 10}
"""Percent of the time that the parts take, about: measured on nets for MNIST and CIFAR-10 with the standard attacks."""
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, about {remaining} left"


class Progress:
    """The bar. Parts that are not asked for are left out, and the others grow.

    Args:
        parts: of :data:`SHARES`, in this order.
        verbose: whether it is shown, on a terminal or in a notebook.
    """

    def __init__(self, parts: list[str], verbose: bool) -> None:
        total = sum(SHARES[part] for part in parts)
        self._ends, at = dict[str, float](), 0.0
        for part in parts:
            at += SHARES[part] / total
            self._ends[part] = at
        self._bar = tqdm(total=1.0, disable=None if verbose else True, bar_format=_BAR)
        self._from, self._to, self._steps, self._done = 0.0, 0.0, 1, 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def begin(self, part: str, steps: int = 1) -> None:
        """Go to the start of a part, of so many steps; one that was left out takes no room."""
        self._from, self._to = self._to, self._ends.get(part, self._to)
        self._steps, self._done = max(1, steps), 0
        self._show(self._from)
        self._bar.set_description(part)

    def say(self, what: str) -> None:
        """What is at work within the part."""
        self._bar.set_description(what)

    def update(self, steps: int = 1) -> None:
        """So many steps of the part are done."""
        self._done = min(self._steps, self._done + steps)
        self._show(self._from + (self._to - self._from) * self._done / self._steps)

    def end(self) -> None:
        """All is done."""
        self._show(1.0)

    def _show(self, share: float) -> None:
        self._bar.update(max(0.0, share - self._bar.n))
