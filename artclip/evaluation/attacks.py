"""Attacks by name: what each may see, in which norms it works, who published it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from artclip import checks
from artclip.evaluation import art_attacks as art
from artclip.evaluation import black_box
from artclip.evaluation.auto_pgd import auto_pgd, targeted_auto_pgd
from artclip.evaluation.coordinate_search import coordinate_search, few_features
from artclip.evaluation.minimum_norm import minimum_norm
from artclip.evaluation.square import square
from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.evaluation.whole_numbers import exhaustive

WHITE, BLACK, NONE = "white box", "black box", "no attack"
_ALL, _L2, _L2_INF = (1, 2, math.inf), (2,), (2, math.inf)


@dataclass(frozen=True)
class Attack:
    """One way to look for adversarial examples.

    Attributes:
        title: what a table calls it.
        access: ``"white box"`` (gradients), ``"black box"`` (outputs alone) or ``"no attack"``.
        norms: of the budgets that it keeps to; () where its changes are not measured in a norm.
        paper: where it comes from.
        stages: makes its stages from a :class:`~artclip.evaluation.threat_model.ThreatModel` and settings, its
            keyword-only arguments.
        together: whether all samples must be attacked at once.
    """

    title: str
    access: str
    norms: tuple[float, ...]
    paper: str
    stages: Callable[..., list[Stage]]
    together: bool = False

    @property
    def options(self) -> dict[str, float]:
        """Settings and their defaults."""
        stages = getattr(self.stages, "func", self.stages)  # of a partial, whose own arguments are no settings
        return {p.name: p.default for p in signature(stages).parameters.values() if p.kind is p.KEYWORD_ONLY}

    @property
    def in_budget(self) -> bool:
        """Whether its examples count against the budget in a norm."""
        return bool(self.norms)


_MADRY, _CROCE = "Madry et al. 2018, arXiv 1706.06083", "Croce, Hein 2020, arXiv 2003.01690"
_BUNGERT = "code of Bungert et al. 2021, arXiv 2103.12531; weak in L2"
_SQUARE = "Andriushchenko et al. 2020, arXiv 1912.00049"
_PINTOR = "after Pintor et al. 2021, arXiv 2102.12827"
_DEEPFOOL = "Moosavi-Dezfooli et al. 2016, arXiv 1511.04599"
_DIRECT = "Conn, Scheinberg, Vicente 2009, doi 10.1137/1.9780898718768"
_UNIVERSAL = "Moosavi-Dezfooli et al. 2017, arXiv 1610.08401"

#: From cheap to dear: the order in which they are tried. An attack more is a line more.
ATTACKS: dict[str, Attack] = {
    "noise": Attack("noise", NONE, (), "Gaussian, one draw", art.noise),
    "pgd-sign": Attack("sign PGD", WHITE, _L2_INF, _BUNGERT, art.pgd_sign),
    "fgsm": Attack("FGSM", WHITE, _ALL, "Goodfellow et al. 2015, arXiv 1412.6572", art.fgsm),
    "minimum-norm": Attack("minimum norm", WHITE, _ALL, _PINTOR, minimum_norm),
    "pgd": Attack("PGD", WHITE, _ALL, _MADRY, partial(art.pgd, loss="cross-entropy")),
    "pgd-margin": Attack("PGD margin", WHITE, _ALL, _MADRY, partial(art.pgd, loss="margin")),
    "apgd-ce": Attack("APGD-CE", WHITE, _ALL, _CROCE, partial(auto_pgd, loss="cross-entropy")),
    "apgd-dlr": Attack("APGD-DLR", WHITE, _ALL, _CROCE, partial(auto_pgd, loss="DLR")),
    "apgd-t": Attack("APGD-T", WHITE, _ALL, _CROCE, targeted_auto_pgd),
    "deepfool": Attack("DeepFool", WHITE, _L2, _DEEPFOOL, art.deepfool),
    "carlini": Attack("Carlini-Wagner", WHITE, _L2_INF, "Carlini, Wagner 2017, arXiv 1608.04644", art.carlini),
    "square": Attack("Square", BLACK, _L2_INF, _SQUARE, square),
    "coordinates": Attack("coordinate search", BLACK, _ALL, _DIRECT, coordinate_search),
    # APGD-CE, APGD-T and Square: ART has no FAB, so it is not the standard AutoAttack.
    "autoattack-set": Attack("AutoAttack set of ART", WHITE, _L2_INF, _CROCE, art.autoattack),
    "autoattack-art": Attack("AutoAttack default of ART", WHITE, _L2_INF, _CROCE, art.arts_autoattack),
    "nes": Attack("NES-PGD", BLACK, _ALL, "Ilyas et al. 2018, arXiv 1804.08598", black_box.nes),
    "hopskipjump": Attack("HopSkipJump", BLACK, _L2_INF, "Chen et al. 2020, arXiv 1904.02144", black_box.hopskipjump),
    "universal": Attack("universal", WHITE, _ALL, _UNIVERSAL, art.universal, together=True),
    "exhaustive": Attack("exhaustive", BLACK, _ALL, "all steps of whole numbers, where they are few", exhaustive),
    "spatial": Attack("spatial", BLACK, (), "Engstrom et al. 2019, arXiv 1712.02779", art.spatial),
    "patch": Attack("patch", WHITE, (), "Brown et al. 2017, arXiv 1712.09665", art.patch, together=True),
}

SETS: dict[str, tuple[str, ...]] = {
    "quick": ("noise", "minimum-norm:max_iter=15"),
    "standard": ("noise", "minimum-norm", "apgd-ce", "apgd-t", "square:further=4000"),
}
#: What a set becomes where a model gives no gradients; where they are zero, these run besides.
BLACK_BOX_SETS: dict[str, tuple[str, ...]] = {
    "quick": ("noise", "square:max_iter=300", "coordinates", "nes:max_iter=5,sigma=0.05"),
    "standard": ("noise", "square", "coordinates", "nes:sigma=0.05"),
}
_LABELS_ALONE = {  # besides, where outputs are labels or constant in steps
    "quick": "hopskipjump:max_iter=5,max_eval=100",
    "standard": "hopskipjump",
}


def canonical(text: str) -> str:
    """A name of an attack with its settings; ``autoattack``, more than ART has, stands for ``autoattack-set``."""
    name, colon, settings = text.partition(":")
    return ("autoattack-set" if name == "autoattack" else name) + colon + settings


@dataclass(frozen=True)
class AttackConfig:
    """An attack with its settings, as a user asked for it.

    Attributes:
        name: as the user gave it: the key of its results.
        attack: what it is.
        options: its settings.
        given: an attack object of ART, where the user brought one.
    """

    name: str
    attack: Attack
    options: dict[str, Any]
    given: Any = None

    @property
    def alone(self) -> bool:
        """Whether it is always run on its own: a user's own attack, noise, and what no norm measures."""
        return self.given is not None or not self.attack.in_budget

    @property
    def title(self) -> str:
        """As ``PGD-100 ×5`` or ``noise 0.5``."""
        title, o = self.attack.title, self.options
        if "nb_restarts" in o:
            return f"{title}-{o['max_iter']:g} ×{o['nb_restarts']:g}"
        return f"{title} {o['sigma']:g}" if title == "noise" else title

    def stages(self, threat: ThreatModel) -> list[Stage]:
        """Its stages for a threat model; ``ValueError`` where it cannot be run on such a model."""
        if self.attack.access == WHITE and self.given is None and not threat.classifier.has_gradients:
            raise ValueError("the model gives no gradients; only black-box attacks apply, as square, nes, hopskipjump")
        if self.given is not None:
            return art.of_art(threat, self.given)
        return self.attack.stages(threat, **self.options)


def for_model(name: str, norm: float, classifier: Any) -> list[AttackConfig]:
    """The attacks of a set for a model: by outputs alone where it gives no gradients, besides where they mislead.

    That is where they are zero, where outputs are constant in steps, so that they are of something else, or where they
    are an estimate because of a defence that works in numpy. Where features take whole numbers alone, few of their
    steps fit into a budget, and all are tried.

    Args:
        name: of the set.
        norm: of the budget; attacks that do not work in it are left out.
        classifier: the :class:`~artclip.evaluation.attack_classifier.AttackClassifier`.
    """
    names = SETS[name] if classifier.has_gradients else ()
    if classifier.flat or classifier.stepped or not classifier.has_gradients or classifier.f.approximated:
        names += (*BLACK_BOX_SETS[name], *((_LABELS_ALONE[name],) if classifier.hard or classifier.stepped else ()))
    names += ("exhaustive",) * (classifier.rules.integers is not None)
    names = tuple(name for name in names if name != "coordinates" or few_features(classifier.true_shape))
    return _in_order([c for c in map(_named, dict.fromkeys(names)) if _fits(c, norm)])


def choose(attacks: Any, norm: float) -> list[AttackConfig]:
    """Attacks in the order in which they are tried.

    Args:
        attacks: a name of :data:`SETS`, names of :data:`ATTACKS` with settings as ``"pgd:max_iter=20"``, or a dict from
            names to ART attack objects, or to such names.
        norm: of the budget; attacks of a set that do not work in it are left out.

    Raises:
        ValueError: an unknown name or setting, or a named attack that does not work in the norm.
        TypeError: an object that is no attack.
    """
    if isinstance(attacks, str):
        if attacks in SETS:
            return [c for c in map(_named, SETS[attacks]) if _fits(c, norm)]
        attacks = [attacks]
    named = attacks if isinstance(attacks, dict) else {canonical(str(a)): a for a in attacks}
    chosen = [_one(name, value) for name, value in named.items() if name != "clean"]
    if not named:
        raise ValueError("attacks is empty; give 'standard', 'quick', or names as 'pgd'")
    for one in chosen:
        if not _fits(one, norm):
            norms = ", ".join(f"L{p}" for p in one.attack.norms)
            raise ValueError(f"attack {one.name!r} works in {norms}, not in L{norm}; leave it out or change norm")
    return _in_order(chosen)


def _in_order(chosen: list[AttackConfig]) -> list[AttackConfig]:
    places = list(ATTACKS.values())
    return sorted(chosen, key=lambda c: places.index(c.attack) if c.attack in places else -1)


def _fits(chosen: AttackConfig, norm: float) -> bool:
    return not chosen.attack.in_budget or norm in chosen.attack.norms


def _one(name: str, value: Any) -> AttackConfig:
    if isinstance(value, str):
        return _named(value, name)
    from art.attacks import EvasionAttack

    if not isinstance(value, EvasionAttack):
        raise TypeError(f"attack {name!r} is a {type(value).__name__}; expected a name or an ART evasion attack")
    kind = type(value).__name__
    closed = kind in ("SquareAttack", "HopSkipJump", "BoundaryAttack", "SignOPTAttack", "SimBA", "ZooAttack")
    paper = f"{kind}, given by the user" + ", at the likeliest wrong classes" * art.is_targeted(value)
    attack = Attack(name, BLACK if closed else WHITE, _ALL, paper, art.of_art, together=True)
    settings = {k: v for k in value.attack_params if isinstance(v := getattr(value, k, None), (int, float, str))}
    return AttackConfig(name, attack, settings, value)


def _named(text: str, name: str | None = None) -> AttackConfig:
    key, _, settings = canonical(text).partition(":")
    if key not in ATTACKS:
        raise ValueError(f"attack {text!r} is not known; use one of {', '.join((*SETS, *ATTACKS))}")
    attack = ATTACKS[key]
    options, given = dict(attack.options), set[str]()
    for setting in filter(None, settings.split(",")):
        option, _, value = setting.partition("=")
        if option in given:
            raise ValueError(f"attack {text!r} has the setting {option!r} twice")
        given.add(option)
        if option not in options:
            known = ", ".join(options) or "none"
            raise ValueError(f"attack {text!r} has the setting {option!r}; known for {key}: {known}")
        options[option] = _setting(text, option, value, attack.options[option])
    return AttackConfig(name or text, attack, options)


def _setting(text: str, option: str, value: str, default: float) -> float:
    try:
        number: float = int(value) if isinstance(default, int) else float(value)
    except ValueError:
        kind = "an integer" if isinstance(default, int) else "a number"
        raise ValueError(f"attack {text!r}: {option}={value!r} is not {kind}") from None
    (checks.non_negative if option in ("sigma", "further") else checks.positive)(f"attack {text!r}: {option}", number)
    return number
