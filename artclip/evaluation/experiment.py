"""One training, and what is measured of it: the cell that a comparison repeats over defences and seeds."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.data import load_data
from artclip.evaluation.defences import parse
from artclip.evaluation.evaluate import evaluate
from artclip.evaluation.record import describe
from artclip.frameworks import FRAMEWORKS, default_framework, nets_of
from artclip.lipschitz.lower import lipschitz_lower_bound

Data = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
PGD_STEPS = 40
METRICS = ("train", "test", "noise", "pgd", "lamda", "lipschitz_lower", "seconds_per_epoch")


@dataclass(frozen=True)
class Experiment:
    """How a net is trained and measured; see :func:`artclip.compare` for the arguments.

    Raises:
        ValueError: one of them is unknown or out of its range.
    """

    model: str = "mlp"
    activation: str = "relu"
    nb_epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    norm: float | str = 2
    eps: float = 1.0
    noise: float = 0.5
    attack_samples: int = 1000
    framework: str | None = None

    def __post_init__(self) -> None:
        if self.framework is None:
            object.__setattr__(self, "framework", default_framework())
        checks.one_of("framework", self.framework, FRAMEWORKS)
        checks.one_of("model", self.model, self.nets.NETS)
        checks.one_of("activation", self.activation, self.nets.ACTIVATIONS)
        checks.positive_integer("nb_epochs", self.nb_epochs)
        checks.positive_integer("batch_size", self.batch_size)
        checks.positive_integer("attack_samples", self.attack_samples)
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("eps", self.eps)
        checks.non_negative("noise", self.noise)
        object.__setattr__(self, "norm", checks.norm("norm", self.norm))

    @property
    def nets(self) -> Any:
        """Nets by name, in the framework."""
        return nets_of(str(self.framework))

    def load(self, data: str) -> Data:
        """The data by name or path, with the axes that the nets want."""
        return load_data(data, channels_first=self.nets.CHANNELS_FIRST)

    def describe(self) -> dict[str, Any]:
        """Everything that the figures depend on, with versions and machine."""
        return {
            **asdict(self),
            "norm": str(self.norm),
            "optimizer": "Adam, cosine schedule",
            "attack": f"ART ProjectedGradientDescent, {PGD_STEPS} steps, one random start, cross-entropy on logits",
            "machine": f"{platform.system()} {platform.machine()}",
            "versions": describe(FRAMEWORKS[str(self.framework)][0])["versions"],
        }

    def train(self, data: Data, defence: str, seed: int, verbose: bool = False, **options: Any) -> Any:
        """A trainer that has trained; ``options`` win over those in the defence's name."""
        make, named = parse(defence)
        (x, y), _ = data
        classifier = self.nets.make_classifier(
            self.model,
            x.shape[1:],
            int(y.max()) + 1,
            activation=self.activation,
            learning_rate=self.learning_rate,
            seed=seed,
        )
        trainer = make(classifier, seed=seed, verbose=verbose, **{**named, **options})
        scheduler = self.nets.cosine_scheduler(classifier, self.nb_epochs)
        trainer.fit(x, y, batch_size=self.batch_size, nb_epochs=self.nb_epochs, scheduler=scheduler)
        return trainer

    def measure(self, trainer: Any, data: Data, seed: int) -> dict[str, float]:
        """The :data:`METRICS` of a trained model: accuracies in [0, 1]."""
        (x_train, y_train), (x_test, y_test) = data
        classifier, norm = trainer.classifier, checks.norm("norm", self.norm)
        n = self.attack_samples
        quiet: Any = {
            "norm": norm,
            "eps": self.eps,
            "seed": seed,
            "lipschitz": False,
            "masking": False,
            "verbose": False,
        }
        attacked = evaluate(
            classifier, x_test[:n], y_test[:n], attacks=[f"pgd:max_iter={PGD_STEPS},nb_restarts=1"], **quiet
        )
        noisy = evaluate(classifier, x_test, y_test, attacks={"noise": f"noise:sigma={self.noise}"}, **quiet)
        return {
            "train": accuracy(classifier, x_train, y_train),
            "test": noisy.accuracy["clean"],
            "noise": noisy.accuracy["noise"],
            "pgd": attacked.robust_accuracy,
            "lamda": trainer.lamda,
            "lipschitz_lower": lipschitz_lower_bound(classifier, x_train[:2000], norm, seed=seed).value,
            "seconds_per_epoch": float(np.median([record["seconds"] for record in trainer.history])),
        }


def accuracy(classifier: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Share of x, shape (n, *input_shape), that the classifier labels as the indices y, shape (n,)."""
    return float(np.mean(classifier.predict(x, batch_size=1024).argmax(1) == y))
