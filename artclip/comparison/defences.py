"""Defences by name: ``standard``, ``clip@0.95`` (held at 95 % training accuracy), ``adversarial:eps=1,max_iter=7``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from artclip import checks
from artclip.comparison import art_trainers as art
from artclip.comparison import robust_trainers as robust
from artclip.comparison.training_config import TrainingConfig
from artclip.reporting.text import number as number_of


@dataclass(frozen=True)
class Defence:
    """One way to train.

    Attributes:
        make: makes a trainer from (classifier, plan, **options); a trainer has ``fit(x, y, batch_size, nb_epochs,
            scheduler)``, ``classifier``, ``history`` (a list of dicts, one an epoch, with ``seconds``,
            ``gradients`` and, where known, ``cpu_seconds``) and ``lamda`` (``None`` where there is no λ). One whose
            classifier is to be smoothed has ``smoothing``, a :class:`~artclip.evaluation.smoothing.Smoothing`.
        paper: where it comes from.
        frameworks: those on which it exists.
        named: the settings that ``make`` takes as ``**options``.
    """

    make: Callable[..., Any]
    paper: str = ""
    frameworks: tuple[str, ...] = ("torch", "tensorflow")
    named: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """What may be set: the keyword-only arguments of ``make``, and those named."""
        arguments = inspect.signature(self.make).parameters.values()
        return *(a.name for a in arguments if a.kind is a.KEYWORD_ONLY), *self.named


@dataclass(frozen=True)
class DefenceConfig:
    """A defence with its settings, as a user asked for it.

    Attributes:
        name: as the user gave it.
        defence: what it is.
        options: its settings, where they differ from the defaults.
    """

    name: str
    defence: Defence
    options: dict[str, Any] = field(default_factory=dict)

    def train(self, classifier: Any, plan: TrainingConfig) -> Any:
        """A trainer of the classifier, not yet run."""
        if plan.framework not in self.defence.frameworks:
            there = " and ".join(self.defence.frameworks)
            raise NotImplementedError(f"ART has this trainer for {there} only, not for {plan.framework}")
        trainer = self.defence.make(classifier, plan, **self.options)
        if plan.ema_decay and getattr(trainer, "ema_decay", None) != plan.ema_decay:
            raise ValueError(
                f"defence {self.name!r} does not average weights, as ema_decay={plan.ema_decay:g} asks of all; its "
                "trainer must do so, and have an attribute ema_decay"
            )
        return trainer


def clip(classifier: Any, plan: TrainingConfig, **options: Any) -> Any:
    """CLIP; what is not given is left to :class:`artclip.CLIPTrainer`."""
    from artclip.trainers.clip import CLIPTrainer

    return CLIPTrainer(classifier, seed=plan.seed, verbose=plan.verbose, ema_decay=plan.ema_decay, **options)


def standard(classifier: Any, plan: TrainingConfig) -> Any:
    """Nothing but the loss."""
    return clip(classifier, plan, lamda=0.0, target_accuracy=None)


def clip_fgsm(classifier: Any, plan: TrainingConfig, **options: Any) -> Any:
    """CLIP beside single-step adversarial training."""
    return clip(classifier, plan, **{"adversarial_eps": plan.eps, "norm": plan.norm, **options})


def certified(classifier: Any, plan: TrainingConfig, **options: Any) -> Any:
    """CLIP without pairs, for the certificate of the budget."""
    if plan.norm != 2 and "certify_eps" not in options:
        raise ValueError(
            f"the budget is in L{plan.norm:g} and certificates are in L2; give a radius, as certified:certify_eps=1"
        )
    return clip(classifier, plan, **{"lamda": 0.0, "certify_eps": plan.eps, **options})


def _weight(kind: str) -> Callable[..., Any]:
    def make(classifier: Any, plan: TrainingConfig, **options: Any) -> Any:
        from artclip.trainers.weight import WeightRegularizationTrainer

        common: dict[str, Any] = {"seed": plan.seed, "verbose": plan.verbose, "ema_decay": plan.ema_decay}
        return WeightRegularizationTrainer(classifier, kind=kind, **common, **options)

    return make


_WEIGHT = ("lamda", "target_accuracy", "warmup_epochs")
_CLIP = (
    *("lamda", "target_accuracy", "lamda_increment", "warmup_epochs", "nb_pairs", "pair_interval", "pair_steps"),
    *("pair_init", "penalty", "reduction", "separation", "upper_penalty", "certify_eps"),
    *("norm", "adversarial_eps", "adversarial_steps"),
)
_TORCH = ("torch",)

#: Name -> defence. :func:`register` adds to it.
DEFENCES: dict[str, Defence] = {
    "standard": Defence(standard),
    "weight": Defence(_weight("l2"), "Krogh, Hertz 1991", named=_WEIGHT),
    "spectral": Defence(_weight("spectral"), "Yoshida, Miyato 2017, arXiv 1705.10941", named=_WEIGHT),
    "clip": Defence(clip, "Bungert et al. 2021, arXiv 2103.12531", named=_CLIP),
    "clip+fgsm": Defence(clip_fgsm, "Bungert et al. 2021; Wong et al. 2020", named=_CLIP),
    "certified": Defence(certified, "Leino et al. 2021, arXiv 2102.08452", named=_CLIP),
    "fgsm": Defence(robust.fgsm, "Wong et al. 2020, arXiv 2001.03994"),
    "n-fgsm": Defence(robust.n_fgsm, "de Jorge et al. 2022, arXiv 2202.01181"),
    "grad-align": Defence(robust.grad_align, "Andriushchenko, Flammarion 2020, arXiv 2007.02617"),
    "pgd": Defence(robust.pgd, "Madry et al. 2018, arXiv 1706.06083"),
    "trades": Defence(robust.trades, "Zhang et al. 2019, arXiv 1901.08573"),
    "gradient-norm": Defence(robust.gradient_norm, "Rodríguez-Muñoz et al. 2024, arXiv 2409.20139"),
    "jacobian": Defence(robust.jacobian, "Hoffman, Roberts, Yaida 2019, arXiv 1908.02729"),
    "smoothing": Defence(robust.smoothing, "Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918"),
    "gaussian": Defence(art.gaussian, "Zantedeschi et al. 2017, arXiv 1707.06728"),
    "adversarial": Defence(art.adversarial, "Szegedy et al. 2013, arXiv 1312.6199"),
    "madry": Defence(art.madry, "Madry et al. 2018, arXiv 1706.06083"),
    "fbf": Defence(art.fbf, "Wong et al. 2020, arXiv 2001.03994", _TORCH),
    "art-trades": Defence(art.trades, "Zhang et al. 2019, arXiv 1901.08573", _TORCH),
    "awp": Defence(art.awp, "Wu et al. 2020, arXiv 2004.05884", _TORCH),
}


def register(
    name: str, make: Callable[..., Any], paper: str = "", frameworks: Sequence[str] = ("torch", "tensorflow")
) -> None:
    """Add a defence of your own, or replace one.

    Args:
        name: without ``@``, ``:`` and ``,``.
        make: makes a trainer from (classifier, plan, *, option=default, ...), as :class:`Defence` says. ``plan`` is a
            :class:`~artclip.comparison.training_config.TrainingConfig`.
            :class:`~artclip.comparison.art_trainers.EpochTrainer` makes such a trainer of any of ART's.
        paper: where it comes from.
        frameworks: those on which it works.

    Raises:
        ValueError: a name that cannot be told from its settings.
        TypeError: ``make`` cannot be called.
    """
    if not name or any(sign in name for sign in "@:, "):
        raise ValueError(f"name {name!r} of a defence is empty, or has one of '@', ':', ',' and blanks in it")
    if not callable(make):
        raise TypeError(f"make is a {type(make).__name__}; expected a function of (classifier, plan)")
    DEFENCES[name] = Defence(make, paper, tuple(frameworks))


def parse(text: str) -> DefenceConfig:
    """A defence and its options.

    Args:
        text: ``NAME``, ``NAME@ACCURACY``, ``NAME:option=value,option=value``, with a name of :data:`DEFENCES`, or
            ``module:function`` in its place, for a ``make`` of your own.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    text = text.strip()
    head, _, settings = text.partition(":")
    name, at, target = head.partition("@")
    if name in DEFENCES:
        defence = DEFENCES[name]
    elif settings and "=" not in settings.partition(":")[0]:
        function, _, settings = settings.partition(":")
        function, at, target = function.partition("@")
        name, defence = f"{head}:{function}", _imported(text, head, function)
    else:
        raise ValueError(f"defence {text!r} is not known; use one of {', '.join(DEFENCES)}, as in clip@0.95")
    if "@" in settings:  # clip:lamda=0.1@0.9
        settings, at, target = settings.partition("@")
    options: dict[str, Any] = {}
    if at:
        settings = f"target_accuracy={target}" + (f",{settings}" if settings else "")
    for setting in filter(None, settings.split(",")):
        option, _, value = setting.partition("=")
        if option not in defence.settings:
            known = ", ".join(defence.settings) or "none"
            raise ValueError(f"defence {text!r} has the setting {option!r}; known for {name}: {known}")
        if option in options:
            raise ValueError(f"defence {text!r} has the setting {option!r} twice")
        options[option] = _value(text, option, value)
    return DefenceConfig(text, defence, options)


def split(text: str) -> list[str]:
    """Defences of one text, as ``standard,clip@0.95,adversarial:eps=1,max_iter=7``: a setting goes with its defence."""
    defences: list[str] = []
    for piece in filter(None, map(str.strip, text.split(","))):
        if defences and "=" in piece.partition(":")[0]:
            defences[-1] += f",{piece}"
        else:
            defences.append(piece)
    return defences


def _imported(text: str, module: str, function: str) -> Defence:
    from artclip.models.loading import imported

    try:
        return Defence(imported(f"{module}:{function}"))
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"defence {text!r} is neither one of {', '.join(DEFENCES)} nor a function module:function: {error}"
        ) from None


_WORDS = {
    "pair_init": ("batch", "near", "data", "noise"),
    "penalty": ("squared", "linear"),
    "reduction": ("mean", "max"),
}


def _value(text: str, option: str, value: str) -> Any:
    what = f"defence {text!r}: {option}"
    if option in _WORDS:
        checks.one_of(what, value, _WORDS[option])
        return value
    if option == "norm":
        checks.one_of(what, value, ("1", "2", "inf"))
        return float(value)
    try:
        number = number_of(value)
    except ValueError:
        raise ValueError(f"defence {text!r}: {option}={value!r} is not a number") from None
    if option == "target_accuracy":
        checks.share(what, number)
    (checks.positive if option in ("eps", "sigma", "max_iter") else checks.non_negative)(what, number)
    return int(value) if value.isdigit() else number
