"""One training, and what is measured of it: the cell that a comparison repeats over nets, defences and seeds."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.comparison.cost import Cost, watched
from artclip.comparison.defences import DefenceConfig
from artclip.comparison.run_result import _KEPT, RunResult
from artclip.comparison.training_config import TrainingConfig
from artclip.data import load_described
from artclip.data.augmentation import augmentation_of
from artclip.data.subset import rows_of
from artclip.evaluation.attacks import NONE, SETS, AttackConfig, canonical, choose
from artclip.evaluation.certificates import CUT_SHORT
from artclip.evaluation.curves import robustness_curve
from artclip.evaluation.evaluate import evaluate
from artclip.evaluation.outputs import labels_of
from artclip.evaluation.result import Evaluation
from artclip.evaluation.units import too_small
from artclip.frameworks import FRAMEWORKS, default_framework, function_of, nets_of
from artclip.hashing.digests import digest
from artclip.norms import change
from artclip.reporting.records import describe
from artclip.reporting.text import counted
from artclip.trainers.augmented import Augmented

Arrays = tuple[np.ndarray, np.ndarray]
Data = tuple[Arrays, Arrays]
CURVE = "pgd-margin:max_iter=20,nb_restarts=1"
_GRID = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of the curve, times eps
_EXAMPLES = 3  # kept of each cell


@dataclass(frozen=True)
class Experiment:
    """How a net is trained and measured; see :func:`artclip.compare` for the arguments.

    Raises:
        ValueError: one of them is unknown or out of its range.
    """

    activation: str | None = None
    nb_epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    norm: float | str = 2
    eps: float = 1.0
    noise: float = 0.5
    attacks: Any = None
    attack_samples: int = 1000
    curve_samples: int = 200
    lipschitz: bool = True
    masking: bool = True
    framework: str | None = None
    clip_values: tuple[float, float] = (0.0, 1.0)
    preprocessing: tuple[Any, Any] = (0.0, 1.0)
    augmentation: Any = None
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.framework is None:
            object.__setattr__(self, "framework", default_framework())
        checks.one_of("framework", self.framework, FRAMEWORKS)
        if self.activation is not None:
            checks.one_of("activation", self.activation, self.nets.ACTIVATIONS)
        for name in ("nb_epochs", "batch_size", "attack_samples"):
            checks.positive_integer(name, getattr(self, name))
        checks.positive_integer("curve_samples", self.curve_samples, least=0)
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("eps", self.eps)
        checks.non_negative("noise", self.noise)
        checks.decay("ema_decay", self.ema_decay)
        augmentation_of(self.augmentation)
        object.__setattr__(self, "norm", checks.norm("norm", self.norm))
        object.__setattr__(self, "attacks", _named(self.attacks, float(self.norm), self.noise))

    @property
    def nets(self) -> Any:
        """Nets by name, in the framework."""
        return nets_of(str(self.framework))

    @property
    def chosen(self) -> list[AttackConfig]:
        """The attacks, in the order in which they are tried."""
        return choose(self.attacks, float(self.norm))

    def load(self, data: str) -> tuple[Any, str]:
        """The data by name or path, with the axes that the nets want; and a line on what was taken."""
        splits, described = load_described(data, channels_first=self.nets.CHANNELS_FIRST, uint8=True)
        return splits, str(described)

    def augmenting(self, data: Data) -> Any:
        """What each batch is augmented by, tried on the data; ``None`` for nothing."""
        found = augmentation_of(self.augmentation, self.nets.CHANNELS_FIRST)
        if found is None:
            return None
        augmented = Augmented(found)
        augmented.try_on(data[0][0][:2])
        return augmented

    def net(self, model: Any) -> str | Callable[..., Any]:
        """A net by name, ``module:factory`` or function, as :meth:`train` wants it."""
        if hasattr(model, "state_dict") or hasattr(model, "get_weights") or hasattr(model, "loss_gradient"):
            raise TypeError(
                f"model is a {type(model).__name__}, but each training starts from a net of its own; give a function "
                "of (input_shape, nb_classes) that makes one"
            )
        if callable(model):
            return model
        if isinstance(model, str) and ":" in model:
            from artclip.models.loading import imported

            return imported(model)
        if model not in self.nets.NETS:
            raise ValueError(f"model={model!r} is not known; use one of {', '.join(self.nets.NETS)}, or module:factory")
        return str(model)

    def plan(self, seed: int, verbose: bool = False) -> TrainingConfig:
        """What the defences are told."""
        budget = float(self.norm), float(self.eps), float(self.noise)
        steps = self.nb_epochs, self.batch_size
        return TrainingConfig(str(self.framework), *budget, *steps, seed, verbose, self.ema_decay)

    def describe(self) -> dict[str, Any]:
        """Everything that the figures depend on, with versions and machine."""
        return {
            **vars(self),
            "norm": str(self.norm),
            "augmentation": None if self.augmentation is None else str(Augmented(augmentation_of(self.augmentation))),
            "optimizer": "Adam, cosine schedule; of lipconvnet and lipresnet: StiefelMuon; fbf: SGD, cyclic",
            "curve": CURVE,
            **describe(FRAMEWORKS[str(self.framework)][0]),
        }

    def samples(self, y_test: np.ndarray) -> dict[str, Any]:
        """How many test samples are attacked, and what must be said of them."""
        rows, remark = rows_of(y_test, self.attack_samples)
        return {"nb_attacked": len(rows), "attacked": remark}

    def classifier(self, model: str | Callable[..., Any], data: Data, seed: int) -> Any:
        """A net that is yet to be trained, as an ART classifier."""
        (x, y), _ = data
        options: dict[str, Any] = {"activation": self.activation, "learning_rate": self.learning_rate, "seed": seed}
        options |= {"clip_values": self.clip_values, "preprocessing": self.preprocessing}
        return self.nets.make_classifier(model, x.shape[1:], int(y.max()) + 1, **options)

    def train(
        self, data: Data, model: str | Callable[..., Any], named: DefenceConfig, seed: int, verbose: bool = False
    ) -> Any:
        """A trainer that has trained."""
        (x, y), (x_test, _) = data
        classifier = self.classifier(model, data, seed)
        # Now, not after training.
        checks.inputs(x_test, classifier.input_shape, "x_test", box=classifier.clip_values, keep_bytes=True)
        trainer = named.train(classifier, self.plan(seed, verbose))
        scheduler = self.nets.cosine_scheduler(classifier, self.nb_epochs)
        augmentation = self.augmenting(data)
        more = {} if augmentation is None else {"augmentation": augmentation}
        trainer.fit(x, y, batch_size=self.batch_size, nb_epochs=self.nb_epochs, scheduler=scheduler, **more)
        return trainer

    def measure(self, trainer: Any, data: Data, defence: str, net: str, seed: int, spent: Cost) -> RunResult:
        """All figures of a trained model, and what its training took."""
        (x_train, y_train), (x_test, y_test) = data
        classifier, attacked = trainer.classifier, rows_of(y_test, self.attack_samples)[0]
        budget: dict[str, Any] = {"norm": self.norm, "seed": seed, "verbose": False}
        alone = {c.name: self.attacks[c.name] for c in self.chosen if c.attack.access == NONE}
        rest = {c.name: self.attacks[c.name] for c in self.chosen if c.attack.access != NONE}
        options = {**budget, "eps": self.eps, "lipschitz": False, "masking": False, "nb_distances": 0}
        runs = [evaluate(classifier, x_test, y_test, attacks=alone, **options)] if alone else []
        options |= {"lipschitz": self.lipschitz, "masking": self.masking}
        if rest:
            runs.append(evaluate(classifier, x_test[attacked], y_test[attacked], attacks=rest, **options))
        last, right = runs[-1], {name: k for ev in reversed(runs) for name, k in ev.per_sample.items()}
        right["clean"] = _right(classifier, x_test, y_test)
        if rest and last.robust_accuracy is not None:
            right["worst"] = last.survivors
        if last.certified is not None:
            right["certified"] = last.certified
        smoothing, notes = getattr(trainer, "smoothing", None), spent.notes
        if smoothing is not None:
            l2 = self.eps * change(x_test[0].size, float(self.norm), 2)
            right |= smoothing.outcomes(classifier, x_test[attacked], y_test[attacked], l2, seed)
            notes = [*notes, smoothing.said(l2)]
        train = _right(classifier, x_train, y_train)
        figures: dict[str, float | None] = {"train": float(train.mean()), "test": float(right["clean"].mean())}
        for name in (*(c.name for c in self.chosen), "worst", "certified", "smoothed", "smoothed_certified"):
            figures[name] = float(right[name].mean()) if name in right else None
        figures |= {**_bounds(last), **_cost(trainer, len(x_train), spent)}
        samples = {"train": len(train), "test": len(x_test)}
        samples |= {name: len(right[name]) for name in figures if name in right}
        curve = []
        if self.curve_samples:
            some, eps = rows_of(y_test, self.curve_samples)[0], [share * self.eps for share in _GRID]
            line = robustness_curve({"it": classifier}, x_test[some], y_test[some], eps=eps, attack=CURVE, **budget)
            curve = list(zip(line.values, line.accuracy["it"], strict=True))
        return RunResult(
            defence,
            net,
            seed,
            figures,
            [w.name for w in sorted(last.warnings, key=lambda w: not w.doubtful)],
            last.doubtful,
            trainer.history,
            curve,
            notes
            + [f"{counted(last.nb_fell_to_probe, 'sample')} of the worst case fell to artclip's own probe alone"]
            * (last.nb_fell_to_probe > 0)
            + too_small(self.chosen, float(self.norm), self.eps, x_test, classifier.clip_values)
            + [f"{o.chosen.title}: {o.error}" for ev in runs for o in ev.outcomes if o.error]
            + [remark for remark in last.remarks if remark.startswith(CUT_SHORT)]
            + ([f"no upper bound: {last.settings['no_upper_bound']}"] if last.settings["no_upper_bound"] else []),
            missed=trainer.deployed_accuracy if getattr(trainer, "missed_target", False) else None,
            arrays=_arrays(last, right),
            samples=samples,
            machine=machine(),
        )

    def run(self, data: Data, model: str | Callable[..., Any], net: str, named: DefenceConfig, seed: int) -> RunResult:
        """Train and measure; an error becomes a cell that tells it."""
        started = time.perf_counter()
        try:
            with watched() as spent:
                trainer = self.train(data, model, named, seed)
            cell = self.measure(trainer, data, named.name, net, seed, spent)
        except Exception as error:  # a defence may fail in any way; the others go on
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            cell = RunResult(named.name, net, seed, error=reason)
        return replace(cell, seconds=time.perf_counter() - started)


def machine() -> str:
    """Hash of the machine at hand."""
    return digest(platform.node(), platform.machine(), os.cpu_count())[:12]


def _named(attacks: Any, norm: float, noise: float) -> dict[str, str]:
    """Name -> text of each attack; noise at the level asked for."""
    if attacks is None:
        attacks = ("noise", "pgd", "pgd-margin")
    if isinstance(attacks, str):
        attacks = SETS.get(attacks, (attacks,))
    texts = (
        dict(attacks) if isinstance(attacks, dict) else {canonical(str(a)).partition(":")[0]: str(a) for a in attacks}
    )
    if not isinstance(attacks, dict) and len(texts) < len(list(attacks)):
        texts = {canonical(str(a)): str(a) for a in attacks}  # one attack with two settings
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"attack {name!r} is a {type(text).__name__}; a comparison takes attacks by name alone")
    texts = {name: f"noise:sigma={noise!r}" if text == "noise" else text for name, text in texts.items()}
    return {c.name: texts[c.name] for c in choose(texts, norm)}


def _right(classifier: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(labels_of(function_of(classifier).outputs(x, 1024)) == y)


def _bounds(ev: Evaluation) -> dict[str, float | None]:
    bounds = {side: ev.lipschitz.get(side) for side in ("lower", "upper")}
    return {f"lipschitz_{side}": None if bound is None else float(bound.value) for side, bound in bounds.items()}


def _cost(trainer: Any, nb: int, spent: Cost) -> dict[str, float | None]:
    """Of an epoch: median seconds; and inputs through which gradients were taken, for each of the nb samples."""
    history = trainer.history
    gradients = [record["gradients"] for record in history if record.get("gradients") is not None]
    cpu = [record["cpu_seconds"] for record in history if record.get("cpu_seconds") is not None]
    return {
        "lamda": None if trainer.lamda is None else float(trainer.lamda),
        "seconds_per_epoch": float(np.median([record["seconds"] for record in history])),
        "cpu_seconds": spent.cpu_seconds,
        # The first epoch loads code and compiles, which a median leaves out.
        "cpu_seconds_per_epoch": float(np.median(cpu)) if cpu else spent.cpu_seconds / len(history),
        "peak_memory": spent.peak_memory,
        "gradients": float(np.mean(gradients)) / nb if gradients else None,
    }


def _arrays(ev: Evaluation, right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {f"{_KEPT}{name}": k for name, k in right.items()}
    lower = ev.lipschitz.get("lower")
    if lower is not None and lower.u is not None and lower.v is not None:
        arrays |= {"u": lower.u, "v": lower.v}
    inside = {o.chosen.title for o in ev.outcomes if o.chosen.attack.in_budget}
    chosen = {e.index: e for e in ev.examples if e.attack in inside}
    some = list(chosen.values())[:_EXAMPLES]
    if some:
        arrays |= {"samples": np.stack([e.x for e in some]), "adversarial": np.stack([e.adversarial for e in some])}
        arrays |= {
            "labels": np.array([e.label for e in some]),
            "said": np.array([int(np.argmax(e.after)) for e in some]),
        }
    return arrays
