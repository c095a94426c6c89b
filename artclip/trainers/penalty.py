"""The penalty of CLIP: quotients of the pairs X_Lip, in our training loop or in one of yours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, Trainable, function_in_loop, refuse_unconnected
from artclip.frameworks.base import Tensor
from artclip.lipschitz.fresh import FreshRule
from artclip.lipschitz.pairs import DOMAINS, INITS, PairRule, PairSet, State

PENALTIES = ("squared", "linear")
REDUCTIONS = ("mean", "max")
# Every how many steps; but fresh pairs 60 times a fit at least, since with fewer it ends steep (docs/benchmarks.md).
INTERVAL, LEAST_PENALISED = 12, 60
# λ·interval up to which a penalised step was stable on ReLU nets at usual learning rates (benchmarks/pairs.py).
MOST_STEP_WEIGHT = 1.2
# Largest penalty of a lazy step, as a share of what guessing costs. It acts while a net is still steep: without it such
# a step could throw a ReLU net into a state from which it never returns.
MOST_PENALTY = 0.75
# Samples by which BatchNorm normalises in the penalty: 16 did as well as 128 (docs/benchmarks.md), and with so many the
# default pairs and they are no more than a usual batch, which bounds the memory.
BESIDE = 32
REFRESH_INTERVAL, REFRESH_SHARE = 12, 0.25  # in penalised steps


@dataclass(frozen=True)
class PairOptions:
    """The arguments that say how pairs are placed, climb and are penalised; see :class:`CLIPTrainer`.

    Raises:
        ValueError: one of them is out of its range.
    """

    nb_pairs: int
    pair_interval: int | None
    pair_steps: int
    pair_init: str
    norm: float | str
    output_norm: float | str
    penalty: str
    reduction: str
    domain: str
    separation: float | None

    def __post_init__(self) -> None:
        checks.positive_integer("nb_pairs", self.nb_pairs)
        if self.pair_interval is not None:
            checks.positive_integer("pair_interval", self.pair_interval)
        checks.positive_integer("pair_steps", self.pair_steps, least=0)
        checks.one_of("pair_init", self.pair_init, INITS)
        checks.norm("norm", self.norm)
        checks.norm("output_norm", self.output_norm)
        checks.one_of("penalty", self.penalty, PENALTIES)
        checks.one_of("reduction", self.reduction, REDUCTIONS)
        checks.one_of("domain", self.domain, DOMAINS)
        if self.separation is not None:
            checks.positive("separation", self.separation)

    def interval(self, nb_steps: int) -> int:
        """``pair_interval``, or what suits a fit of so many steps."""
        often = nb_steps // LEAST_PENALISED if self.pair_init == "batch" else INTERVAL
        return self.pair_interval or max(1, min(INTERVAL, often))

    def pairs(self, f: Function, x: np.ndarray, seed: int | None) -> PairSet:
        """The first X_Lip, around points x of shape (n, *input_shape)."""
        return PairSet(
            f,
            x,
            self.nb_pairs,
            init=self.pair_init,
            norm=self.norm,
            output_norm=self.output_norm,
            domain=self.domain,
            separation=self.separation,
            seed=seed,
        )


@dataclass(frozen=True)
class Units:
    """What makes λ a number without units: the same data in other units train to the same model.

    Attributes:
        side: length of the inputs that counts as one: the mean side of their box.
        spread: length of the outputs that counts as one: for a regressor the standard deviation of its targets.
        loss: what the loss counts in: for a regressor its loss at the mean of the targets.
    """

    side: float = 1.0
    spread: float = 1.0
    loss: float = 1.0

    @property
    def quotient(self) -> float:
        """What a quotient, or a bound of it, is multiplied by."""
        return self.side / self.spread

    @staticmethod
    def of(trainable: Trainable, side: float, y: np.ndarray) -> Units:
        """Those of a training on targets like y; a classifier's outputs and loss have none.

        With a mean squared error, spread and loss cancel each other: the penalty is that of the raw outputs.
        """
        if trainable.nb_classes is not None:
            return Units(side)
        spread, loss = float(np.sqrt(np.var(y, axis=0, dtype=np.float64).mean())), trainable.blind_loss(y)
        usable = math.isfinite(spread) and spread > 0 and math.isfinite(loss) and loss > 0
        return Units(side, spread, loss) if usable else Units(side)


class PairPenalty:
    """The penalty Q² (or Q) of X_Lip, as the training loop asks for it.

    With ``pair_init="batch"`` the pairs start anew in each batch; otherwise they are carried on, and the flattest
    quarter is given new places now and then.

    Args:
        pairs: at their start.
        options: how they climb and are penalised.
        units: of what is penalised.
        most: see :class:`~artclip.trainers.epochs.Regularizer`.
        nb_steps: of the fit.
    """

    records_as = "lipschitz"
    always: Any = None

    def __init__(
        self,
        pairs: PairSet,
        options: PairOptions,
        units: Units | None = None,
        most: float = math.inf,
        nb_steps: int = 1,
    ) -> None:
        self.most, self._units = most, units or Units(pairs.rule.side)
        self.rule: PairRule = pairs.rule
        self.state: State = pairs.state
        self._start, self._options, self._interval = pairs, options, options.interval(nb_steps)
        self._fresh = FreshRule(pairs.rule, options.nb_pairs) if options.pair_init == "batch" else None

    def interval(self, lamda: float) -> int:
        """That of the options, or less where a step would carry more weight than training bears."""
        return max(1, min(self._interval, math.floor(MOST_STEP_WEIGHT / lamda + 1e-9)))

    def gradients(self, batch: int) -> int:
        """Both ends of each pair in the penalty, some of the batch for BatchNorm, and what climbs in each ascent."""
        o = self._options
        beside = min(batch, BESIDE) if self.rule.f.has_batchnorm else 0
        if self._fresh:
            return beside + self._fresh.gradients(batch, o.pair_steps)
        return beside + 2 * o.nb_pairs * (o.pair_steps + 1)

    def begin(self) -> None:
        """Settle the pairs: not before the first penalised step, so that no pair work is done while λ = 0."""
        self.state = self._start.settle().state

    def advance(self, state: State, x: Tensor, count: Any) -> tuple[State, Tensor]:
        """Pairs that have climbed on the current weights, and their ends."""
        f, nb_pairs = self.rule.f, self._options.nb_pairs
        x = f.whole(x)
        if self._fresh:
            return state, self._fresh.climb(x, state[1], self._options.pair_steps)
        due = (count > 0) & (count % REFRESH_INTERVAL == 0)

        def renewed() -> State:
            places = x[:nb_pairs]  # a short batch has none for the last pairs, which stay where they are
            return self.rule.refresh(state, f.concat([places, state[0][f.rows(places) :]]), REFRESH_SHARE)

        at = f.cond(due, renewed, lambda: state)
        for _ in range(self._options.pair_steps):
            at = self.rule.ascend(at)
        return at, self.rule.ends(at)

    def penalty(self, state: State, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty as a scalar, and Q of the pairs that climb it; BatchNorm normalises by samples of batch x.

        Anchored pairs climb a margin, over a longer way: what they meet is less than the net is steep.
        """
        quotients = self.quotients(x, points)
        return self.value(quotients), quotients[-self._fresh.nb_moving :] if self._fresh else quotients

    def quotients(self, x: Tensor, points: Tensor) -> Tensor:
        """Q of each pair, with its gradient."""
        return (self._fresh or self.rule).quotients_of(points, self.rule.f.forward_beside(points, x[:BESIDE]))

    def value(self, quotients: Tensor) -> Tensor:
        """The penalty, as a scalar, in its units."""
        f, u = self.rule.f, self._units
        scaled = quotients if u.quotient == 1 else quotients * u.quotient
        values = scaled * scaled if self._options.penalty == "squared" else scaled
        value = f.mean(values) if self._options.reduction == "mean" else f.max(values)
        return value if u.loss == 1 else value * u.loss


class LipschitzPenalty:
    """CLIP's penalty for a training loop of your own: ``loss = criterion(model(x), y) + lamda * penalty()``.

    Each call moves the pairs one update up and returns the penalty of their quotients, a scalar tensor that carries a
    gradient in the model's parameters alone. The model is seen in eval mode and left in the mode it was in; only
    BatchNorm layers that are being trained normalise by the batch. Inputs count in sides of their box (the mean side of
    ``clip_values``, or the range of ``x_init``), so that ``lamda`` means the same for pixels up to 1 and up to 255;
    outputs count as they are. In TensorFlow, call it under the ``GradientTape``, in a ``tf.function`` or not; for
    ``keras.Model.fit`` see :meth:`keras_model`. It follows a PyTorch model to another device or dtype, and its
    :meth:`state_dict` is what a loop has to save of it.

    Args:
        model: ``torch.nn.Module`` (a ``LightningModule`` too) or Keras model on inputs (n, *shape), or an ART estimator
            of one. Of several outputs the logits count: those named so, as in transformers, or else the first tensor.
            Wrappers (DistributedDataParallel, ``torch.compile``) are passed by; the parameters are the same.
        x_init: shape (n, *shape), array or tensor: data to place the pairs in. It is kept.
        clip_values: (low, high) of valid inputs, or ``None`` for those of an estimator, if it has any.
        nb_classes: number of classes >= 2 of a classifier, so that fresh pairs know what to climb (see
            :class:`CLIPTrainer`), or ``None`` for that of an estimator, if it has any.
        seed: of the start, or ``None``.
        nb_pairs, pair_steps, pair_init, norm, output_norm, penalty, reduction, domain, separation: as for
            :class:`CLIPTrainer`.

    Raises:
        TypeError: a model of an unknown kind.
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        model: Any,
        x_init: Any,
        nb_pairs: int = 16,
        pair_steps: int = 2,
        pair_init: str = "batch",
        norm: float | str = 2,
        output_norm: float | str = 2,
        penalty: str = "squared",
        reduction: str = "mean",
        domain: str = "clip_values",
        separation: float | None = None,
        clip_values: tuple[float, float] | None = None,
        seed: int | None = None,
        nb_classes: int | None = None,
    ) -> None:
        options = PairOptions(
            nb_pairs, 1, pair_steps, pair_init, norm, output_norm, penalty, reduction, domain, separation
        )
        f = function_in_loop(model)
        if clip_values is not None:
            f.clip_values = checks.clip_values(clip_values)
        if nb_classes is not None:
            checks.positive_integer("nb_classes", nb_classes, least=2)
            f.nb_classes = nb_classes
        box = None if domain == "free" else f.clip_values
        x = checks.inputs(f.host(x_init), f.input_shape or None, "x_init", box)
        refuse_unconnected(f, x)
        self._f, self._options, self._x = f, options, x
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._penalty = self._made()
        self._penalty.begin()
        # In cells, so that a call may be part of a compiled step.
        self._count, self._state = f.cell(0), [f.cell(t) for t in self._penalty.state]
        self._quotients = f.cell(f.reshape(f.norm(self._penalty.state[1], 2), (-1,)) * 0, resizable=True)
        self._points = f.cell(f.tensor(self._window()))

    def _made(self) -> PairPenalty:
        """The penalty as it starts, in the model's device and dtype."""
        return PairPenalty(self._options.pairs(self._f, self._x, self._seed), self._options)

    def _window(self) -> np.ndarray:
        """Points to start from when none are given: a window moves along a random order, and around its end."""
        self._nb_points = min(len(self._x), 4096)
        order = np.random.default_rng(self._seed).permutation(len(self._x))[: self._nb_points]
        return np.asarray(self._x[np.resize(order, self._nb_points + self._options.nb_pairs)])

    def _follow(self) -> None:
        """Go where the model has gone."""
        if not self._f.follow():
            return
        self._penalty = self._made()
        for cell in (*self._state, self._quotients, self._points):
            cell.value = self._f.tensor(cell.value)

    def __call__(self, x: Any = None) -> Tensor:
        """The penalty now.

        Args:
            x: shape (n, *shape), array or tensor: the current batch, to anchor fresh pairs in, and for BatchNorm to
                normalise by; ``None`` takes points of ``x_init``. It is brought to the model's device and dtype.

        Returns:
            A scalar tensor: the mean (or largest) Q² (or Q) over the pairs, per side of the box.

        Raises:
            ValueError: x has another shape than ``x_init``.
            TypeError: x is not made of numbers.
        """
        self._follow()
        count = self._count.value
        if x is None:
            start = count * self._options.nb_pairs % self._nb_points
            x = self._points.value[start : start + self._options.nb_pairs]
        elif (shape := _shape_of(x)) is not None and (not shape or shape[1:] != self._x.shape[1:]):
            expected = ", ".join(map(str, ("n", *self._x.shape[1:])))
            raise ValueError(f"x has shape {shape}, but x_init asks for ({expected})")
        (anchors,) = self._f.constants([self._f.tensor(x)])
        c, w = (cell.value for cell in self._state)
        state, ends = self._penalty.advance((c, w), anchors, count)
        quotients = self._penalty.quotients(anchors, ends)
        self._count.value = count + 1
        for cell, tensor in zip((*self._state, self._quotients), self._f.constants([*state, quotients]), strict=True):
            cell.value = tensor
        return self._penalty.value(quotients)

    def keras_model(self, lamda: float = 0.05) -> Any:
        """The Keras model as one that ``compile`` and ``fit`` train on loss + λ·penalty; its layers are shared.

        Args:
            lamda: λ >= 0. It is a variable of the model returned, which callbacks may assign.

        Raises:
            TypeError: the penalty was not made for a bare Keras model.
            ValueError: λ is out of its range.
        """
        checks.non_negative("lamda", lamda)
        if self._f.name != "tensorflow" or isinstance(self._f, Trainable):
            raise TypeError("keras_model() needs a LipschitzPenalty of a bare Keras model")
        from artclip.frameworks.keras_fit import PenalisedModel

        return PenalisedModel(getattr(self._f, "model"), self, lamda)  # noqa: B009

    def state_dict(self) -> dict[str, Any]:
        """What the next calls depend on, besides the model: to be saved with it. Tensors in PyTorch, else arrays."""
        tensors = {"centres": self._state[0], "directions": self._state[1], "quotients": self._quotients}
        numbers = {"count": int(self._f.host(self._count.value)), "seed": self._seed}
        return {**numbers, **{name: self._f.kept(cell.value) for name, cell in tensors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, of a penalty made with the same ``x_init`` and arguments.

        Raises:
            ValueError: it is one of other pairs.
        """
        self._follow()
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(f"the state has {sorted(state)}; expected {sorted(expected)}")
        shape, found = tuple(self._state[1].value.shape), tuple(state["directions"].shape)
        if found != shape:
            raise ValueError(f"the state is one of pairs of shape {found}, and these have {shape}")
        for name, cell in (("centres", self._state[0]), ("directions", self._state[1]), ("quotients", self._quotients)):
            cell.value = self._f.tensor(state[name])
        self._count.value = int(state["count"])
        if int(state["seed"]) != self._seed:
            self._seed = int(state["seed"])
            self._points.value = self._f.tensor(self._window())

    def quotients(self) -> np.ndarray:
        """Q of each pair at the last call, shape (P,), in output units per input unit.

        They are lower bounds of the Lipschitz constant, weak ones.
        """
        return self._f.to_numpy([self._quotients.value])


def _shape_of(x: Any) -> tuple[Any, ...] | None:
    """The shape of an array or a tensor; ``None`` where a compiled step does not know it."""
    shape = getattr(x, "shape", None)
    if shape is None:
        return checks.array("x", x).shape
    try:
        return tuple(shape)
    except ValueError:  # of a TensorShape without a rank
        return None
