"""An optimizer for Keras that keeps the matrices of a net orthogonal."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from artclip import checks
from artclip.frameworks import stiefel

_MATRICES = stiefel.Matrices(
    transposed=ops.transpose,
    length=lambda m: ops.sqrt(ops.sum(ops.square(m))),
    eye=lambda n, like: ops.eye(n, dtype=like.dtype),
)
_BETAS, _EPS = (0.9, 0.999), 1e-8  # of Adam, for vectors


@keras.saving.register_keras_serializable("artclip")
class StiefelMuon(keras.optimizers.Optimizer):
    """As :class:`artclip.frameworks.pytorch.stiefel.StiefelMuon`, for Keras.

    A kernel counts as the matrix of its outputs and all else. The matrices are replaced by the nearest orthogonal ones
    when the optimizer is built.

    Args:
        learning_rate: angle in radians by which a step turns a matrix, > 0 and <= 0.5, or a schedule, of which what is
            larger counts as 0.5.
        momentum: of matrices, in [0, 1).
        adam: learning rate of the vectors, over ``learning_rate``, > 0.
        free_last: whether the last matrix that is trained stays free, as the logits need a scale.
        name: of the optimizer.
        **options: of ``keras.optimizers.Optimizer``.

    Raises:
        ValueError: an argument out of its range; when it is built, no matrix, or a weight that is not finite.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.95,
        adam: float = 0.15,
        free_last: bool = True,
        name: str = "stiefel_muon",
        **options: Any,
    ) -> None:
        if isinstance(learning_rate, (int, float)):
            stiefel.check_angle("learning_rate", learning_rate)
        checks.positive("adam", adam)
        checks.decay("momentum", momentum)
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.momentum, self.adam, self.free_last = momentum, adam, free_last

    def build(self, variables: list[Any]) -> None:
        """Make the state for these variables, and put matrices on the manifold."""
        if self.built:
            return
        with tf.init_scope():  # Keras's fit builds it while it compiles its step
            self._build(variables)

    def _build(self, variables: list[Any]) -> None:
        if not self.orthogonal(variables):
            raise ValueError("there is no matrix to keep orthogonal; give the variables of a net of two layers or more")
        self._roles = stiefel.roles([tuple(v.shape) for v in variables], self.free_last)
        self.project(variables)
        super().build(variables)
        kinds = ["mean", "square"]
        self._means, self._squares = (
            [self.add_variable_from_reference(v, name=kind) for v in variables] for kind in kinds
        )

    def orthogonal(self, variables: list[Any]) -> list[Any]:
        """Those variables of a model that stay orthogonal."""
        roles = stiefel.roles([tuple(v.shape) for v in variables], self.free_last)
        return [v for v, role in zip(variables, roles, strict=True) if role == "orthogonal"]

    def project(self, variables: list[Any]) -> None:
        """Replace the matrices among a model's variables by the nearest orthogonal ones: after weights were loaded.

        Raises:
            ValueError: one of them is not finite.
        """
        found, held = [], self.orthogonal(variables)
        for v in held:
            array = ops.convert_to_numpy(v)
            found.append(stiefel.nearest(array.reshape(-1, array.shape[-1])).reshape(array.shape))
        for v, array in zip(held, found, strict=True):
            v.assign(array)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable."""
        index = self._get_variable_index(variable)
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        if self._roles[index] == "vector":
            self._move_vector(index, gradient, variable, rate * self.adam)
            return
        mean = self._means[index]
        self.assign(mean, mean + (gradient - mean) * (1 - self.momentum))
        ahead = gradient + (mean - gradient) * self.momentum
        *inputs, outputs = variable.shape
        w, ahead = (ops.reshape(t, (-1, outputs)) for t in (ops.convert_to_tensor(variable), ahead))
        if variable.dtype in ("float16", "bfloat16"):  # in which the iterations do not converge
            w, ahead = ops.cast(w, "float32"), ops.cast(ahead, "float32")
        is_tall = w.shape[0] > w.shape[1]
        if is_tall:
            w, ahead = ops.transpose(w), ops.transpose(ahead)
        angle = ops.minimum(ops.cast(rate, w.dtype), stiefel.MOST_ANGLE)
        if self._roles[index] == "free":
            w = w - angle * _MATRICES.direction(ahead)
        else:
            w = _MATRICES.stepped(w, ahead, angle)
        w = ops.transpose(w) if is_tall else w
        self.assign(variable, ops.cast(ops.reshape(w, (*inputs, outputs)), variable.dtype))

    def _move_vector(self, index: int, gradient: Any, variable: Any, rate: Any) -> None:
        mean, square, count = self._means[index], self._squares[index], ops.cast(self.iterations + 1, variable.dtype)
        self.assign(mean, mean + (gradient - mean) * (1 - _BETAS[0]))
        self.assign(square, square + (ops.square(gradient) - square) * (1 - _BETAS[1]))
        sizes = ops.sqrt(square / (1 - ops.power(ops.cast(_BETAS[1], variable.dtype), count))) + _EPS
        self.assign_sub(variable, rate * mean / (1 - ops.power(ops.cast(_BETAS[0], variable.dtype), count)) / sizes)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras saves them."""
        own = {"momentum": self.momentum, "adam": self.adam, "free_last": self.free_last}
        return {**super().get_config(), **own}
