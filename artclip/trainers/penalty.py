"""The penalty of CLIP in a training loop of your own."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip import checks
from artclip.arguments import taken
from artclip.frameworks import Trainable, function_in_loop
from artclip.frameworks.base import Tensor
from artclip.frameworks.check import refuse_unconnected
from artclip.trainers.options import PairOptions
from artclip.trainers.pair_penalty import PairPenalty


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
        options = taken(PairOptions, locals(), pair_interval=1)
        seed = checks.seed(seed)
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
        self._seed = checks.seed_or_drawn(seed)
        self._penalty = self._made()
        self._penalty.begin()
        # In cells, so that a call may be part of a compiled step.
        self._count, self._state = f.step_variable(0), [f.step_variable(t) for t in self._penalty.state]
        self._quotients = f.step_variable(f.reshape(f.norm(self._penalty.state[1], 2), (-1,)) * 0, resizable=True)
        self._points = f.step_variable(f.tensor(self._window()))

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
            ValueError: x has another shape than ``x_init``, or is empty.
            TypeError: x is not made of real numbers.
            RuntimeError: inside ``torch.inference_mode()``, where there are no gradients to climb by.
        """
        self._f.check_gradients()
        self._follow()
        count = self._count.value
        if x is None:
            start = count * self._options.nb_pairs % self._nb_points
            x = self._points.value[start : start + self._options.nb_pairs]
        else:
            self._check(x)
        (anchors,) = self._f.constants([self._f.tensor(x)])
        c, w = (cell.value for cell in self._state)
        state, ends = self._penalty.advance((c, w), anchors, count)
        quotients = self._penalty.quotients(anchors, ends)
        self._count.value = count + 1
        for cell, tensor in zip((*self._state, self._quotients), self._f.constants([*state, quotients]), strict=True):
            cell.value = tensor
        return self._penalty.value(quotients)

    def _check(self, x: Any) -> None:
        shape = _shape_of(x)
        if shape is None:
            return
        if not shape or shape[1:] != self._x.shape[1:]:
            expected = ", ".join(map(str, ("n", *self._x.shape[1:])))
            raise ValueError(f"x has shape {shape}, but x_init asks for ({expected})")
        if shape[0] == 0:
            raise ValueError(f"x is empty (shape {shape}); give a batch of at least one sample, or leave it out")

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
        from artclip.frameworks.keras.penalised_model import PenalisedModel

        return PenalisedModel(getattr(self._f, "model"), self, lamda, autograph=False)  # noqa: B009

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
        shape, given = tuple(self._state[1].value.shape), tuple(state["directions"].shape)
        if given != shape:
            raise ValueError(f"the state is one of pairs of shape {given}, and these have {shape}")
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
    if getattr(getattr(x, "dtype", None), "is_complex", False):
        raise TypeError(f"x has dtype {x.dtype}; expected real numbers")
    shape = getattr(x, "shape", None)
    if shape is None or isinstance(x, np.ndarray):
        return checks.array("x", x).shape
    try:
        return tuple(shape)
    except ValueError:  # of a TensorShape without a rank
        return None
