"""An attack run on samples: stage after stage on what still stands, every example checked before it counts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip.evaluation.attacks import AttackConfig
from artclip.evaluation.cache import Cache
from artclip.evaluation.images import showable
from artclip.evaluation.random_outputs import randomness
from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.frameworks.check import out_of_memory
from artclip.hashing.contents import NotHashable, content_digest
from artclip.hashing.digests import digest
from artclip.norms import lengths

BLOCK = 2000  # samples attacked between two visits to the cache


@dataclass
class Outcome:
    """What an attack did.

    Attributes:
        chosen: the attack and its settings.
        tried: which samples it was run on, shape (n,).
        broken: which of them it has a valid adversarial example for, shape (n,).
        examples: adversarial examples by sample, of the first few broken.
        violations: what came out adversarial but outside the budget or the range, or not finite, by reason.
        seconds: how long it took.
        passes: samples that went through the model.
        gradients: samples that gradients were taken of.
        error: why it could not be run, or "".
        left_out: members of a set that failed, while the others went on, and why.
    """

    chosen: AttackConfig
    tried: np.ndarray
    broken: np.ndarray
    examples: dict[int, np.ndarray] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    passes: int = 0
    gradients: int = 0
    error: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def in_budget(self) -> bool:
        """Whether it attacked within the budget: then what it left standing says something."""
        return self.chosen.attack.in_budget and (not self.error or bool(self.broken.any()))


@dataclass(frozen=True)
class Example:
    """An adversarial example.

    Attributes:
        attack: title of the attack that made it.
        index: of the sample.
        x: the sample.
        adversarial: what the attack made of it.
        label: its class index.
        before: the model's outputs for the sample, shape (k,).
        after: its outputs for the adversarial example.
    """

    attack: str
    index: int
    x: np.ndarray
    adversarial: np.ndarray
    label: int
    before: np.ndarray
    after: np.ndarray


@dataclass
class AttackRunner:
    """Where attacks are run: the model, the samples, and what counts.

    Args:
        threat: the attacked model and the budget.
        decide: labels (n,) of inputs (n, *shape), as deployed.
        x: samples, float32, shape (n, *shape).
        y: class indices, shape (n,).
        seed: of all randomness.
        key: hash of model and data, for the cache.
        cache: of outcomes.
        nb_examples: adversarial examples to keep of each attack.
    """

    threat: ThreatModel
    decide: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray
    y: np.ndarray
    seed: int
    key: str = ""
    cache: Cache = field(default_factory=lambda: Cache(None))
    nb_examples: int = 8

    def attack(self, chosen: AttackConfig, remaining: np.ndarray, progress: Any = None) -> Outcome:
        """Run an attack on the samples that stand, shape (n,) of bool."""
        outcome = Outcome(chosen, remaining.copy(), np.zeros(len(self.x), bool))
        try:
            stages = chosen.stages(self.threat)
        except ValueError as error:
            outcome.error = str(error)
            outcome.tried[:] = False
            return outcome
        size = len(self.x) if chosen.attack.together else BLOCK
        for start in range(0, len(self.x), size):
            index = start + np.flatnonzero(remaining[start : start + size])
            if len(index):
                self._block(outcome, stages, index, start // size)
            if progress is not None:
                progress.update(min(size, len(self.x) - start))
        return outcome

    def _block(self, outcome: Outcome, stages: list[Stage], index: np.ndarray, block: int) -> None:
        c = outcome.chosen
        # What an attack object of a user does, no key can tell.
        what = self._key(c, index, block) if self.key and c.given is None else ""
        arrays = self.cache.get(what) if what else None
        if arrays is None:
            arrays = self._fresh(c, stages, index, block)
            if what and not str(arrays["error"]):
                self.cache.put(what, **arrays)
        outcome.broken[index] = arrays["broken"]
        outcome.error = outcome.error or str(arrays["error"])
        outcome.left_out |= dict(arrays.get("left_out", np.empty((0, 2))).tolist())
        outcome.seconds += float(arrays["seconds"])
        outcome.passes += int(arrays["passes"])
        outcome.gradients += int(arrays["gradients"])
        for reason, count in zip(_REASONS, arrays["violations"], strict=True):
            if count:
                outcome.violations[reason] = outcome.violations.get(reason, 0) + int(count)
        for i, example in zip(arrays["kept"], arrays["examples"], strict=True):
            if len(outcome.examples) < self.nb_examples:
                outcome.examples[int(i)] = example

    def _key(self, c: AttackConfig, index: np.ndarray, block: int) -> str:
        attack = [c.name, c.attack.title, c.options, str(self.threat.norm), self.threat.eps, self.seed, block]
        attack.append(self.nb_examples)
        try:
            return digest(self.key, content_digest(c.attack.stages), attack, index)
        except NotHashable:
            return ""

    def _fresh(self, c: AttackConfig, stages: list[Stage], index: np.ndarray, block: int) -> dict[str, Any]:
        started, classifier = time.perf_counter(), self.threat.classifier
        passes, gradients = classifier.passes, classifier.gradients
        remaining, violations, error = np.ones(len(index), bool), np.zeros(len(_REASONS), np.int64), ""
        examples: dict[int, np.ndarray] = {}
        left_out: dict[str, str] = {}
        ran = False
        for number, stage in enumerate(stages):
            left, member = index[remaining], getattr(stage, "member", "")
            if not len(left):
                break
            if member in left_out:
                continue
            try:
                with randomness(self.threat.classifier.f, (self.seed, zlib.crc32(c.name.encode()), block, number)):
                    candidates = self._try(stage, self.x[left], self.y[left])
            except Exception as problem:  # ART's attacks raise whatever they like; the other attacks go on
                reason = f"{type(problem).__name__}: {problem}".splitlines()[0]
                if member:  # the other members of the set go on
                    left_out[member] = reason
                    continue
                error = reason
                break
            ran = True
            broken, faults = self._checked(c, candidates, self.x[left], self.y[left])
            violations += faults
            for i in np.flatnonzero(broken)[: max(0, self.nb_examples - len(examples))]:
                examples[int(left[i])] = candidates[i]
            remaining[np.flatnonzero(remaining)[broken]] = False
        if left_out and not ran:
            error, left_out = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()), {}
        return {
            "broken": ~remaining,
            "violations": violations,
            "error": error,
            "left_out": np.array(list(left_out.items()), str).reshape(-1, 2),
            "seconds": time.perf_counter() - started,
            "passes": classifier.passes - passes,
            "gradients": classifier.gradients - gradients,
            "kept": np.array(list(examples), np.int64),
            "examples": np.array(list(examples.values()), np.float32).reshape(len(examples), *self.x.shape[1:]),
        }

    def _try(self, stage: Stage, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        while True:
            try:
                candidates = np.asarray(stage(x, y))
            except Exception as error:
                smaller = self.threat.classifier.batch_size // 2
                if not smaller or not out_of_memory(error):
                    raise
                self.threat.classifier.batch_size = smaller
                continue
            if candidates.shape != x.shape:
                raise ValueError(f"the attack returned shape {candidates.shape} for inputs of shape {x.shape}")
            return self.threat.classifier.rules.allowed(x, candidates.astype(np.float32))

    def _checked(
        self, c: AttackConfig, candidates: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which candidates count as adversarial, and how many would but for each of the reasons."""
        finite, shown = showable(candidates)
        wrong = (self.decide(shown) != y) | ~finite
        inside = np.ones(len(x), bool)
        if self.threat.classifier.clip_values is not None:
            low, high = self.threat.classifier.clip_values
            slack = 1e-6 * np.subtract(high, low)
            valid = (candidates >= np.subtract(low, slack)) & (candidates <= np.add(high, slack))
            inside = valid.reshape(len(x), -1).all(1)
        near = np.ones(len(x), bool)
        if c.attack.in_budget:
            with np.errstate(invalid="ignore"):
                lengths = distances(candidates, x, self.threat.norm)
            near = lengths <= self.threat.eps * (1 + 1e-4) + rounding(x, self.threat.norm, self.threat.eps)
        faults = np.array([(wrong & ~finite).sum(), (wrong & finite & ~inside).sum(), (wrong & finite & ~near).sum()])
        return wrong & finite & inside & near, faults


_REASONS = ("not finite", "outside clip_values", "outside the budget")


def broken_within(outcomes: list[Outcome], nb: int) -> np.ndarray:
    """Which of the samples some attack within the budget broke, shape (nb,)."""
    broken = [o.broken for o in outcomes if o.chosen.attack.in_budget]
    return np.logical_or.reduce([np.zeros(nb, bool), *broken])


def distances(a: np.ndarray, b: np.ndarray, norm: float) -> np.ndarray:
    """‖a − b‖ of each sample, shape (n,), in float64."""
    return lengths(np.subtract(a, b, dtype=np.float64), norm)


def rounding(x: np.ndarray, norm: float, eps: float) -> float:
    """How far rounding samples x and what lies within eps of them to float32 may move one."""
    size = x[0].size
    return 1e-7 * (float(np.abs(x).max()) + eps) * (1.0 if norm == np.inf else size ** (1 / norm))
