"""TensorFlow: a Keras model as a function."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from artclip.frameworks import global_random
from artclip.frameworks.base import Function
from artclip.frameworks.check import not_a_tensor, shape_of_outputs
from artclip.frameworks.keras import batchnorm, float64, layers
from artclip.frameworks.keras.tracing import traced
from artclip.frameworks.unwrap import logits_of


@tf.custom_gradient
def _root(squared: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Square root with gradient 0 at 0."""
    root = tf.sqrt(squared)
    return root, lambda upstream: tf.math.divide_no_nan(upstream, 2 * root)


_lock = threading.Lock()
_seeded: list[dict[str, Any]] = []  # what was found, once for each that is inside


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """TensorFlow's global seed, put back as found by the last thread to leave."""
    eager = context.context()
    with _lock:
        _seeded.append(_seeded[0] if _seeded else {k: vars(eager).get(k) for k in ("_seed", "_rng")})
        tf.random.set_seed(seed)
    try:
        yield
    finally:
        with _lock:
            before = _seeded.pop()
            if not _seeded:
                vars(eager).update(before)


@contextmanager
def _eager() -> Iterator[None]:
    """Inside, compiled functions run operation by operation."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


class _Cell:
    def __init__(self, value: Any, resizable: bool) -> None:
        start = tf.convert_to_tensor(value)
        shape = [None, *start.shape[1:]] if resizable else start.shape
        self._variable = tf.Variable(start, trainable=False, shape=shape)

    @property
    def value(self) -> tf.Tensor:
        return self._variable.read_value()

    @value.setter
    def value(self, new: Any) -> None:
        self._variable.assign(new)


class TensorFlowFunction(Function):
    """A Keras model, or any callable ``model(x, training=...)`` with ``trainable_variables``, on raw inputs.

    Args:
        model: maps a tensor (n, *input_shape) to a tensor (n, ...), in the dtype of its variables.
    """

    name, arrays = "tensorflow", tf

    def __init__(self, model: Any, input_shape: tuple[int, ...] | None = None) -> None:
        self.model = model
        self.input_shape = layers.input_shape(model) if input_shape is None else input_shape
        self.clip_values = None
        self.told_threshold, self.told_shares = layers.threshold_of(getattr(model, "loss", None))
        self._batchnorm = batchnorm.layers_of(model)
        self.has_batchnorm = bool(self._batchnorm)
        self._learning: list[Any] | None = None  # of these, those that are called in train mode
        self.compiled: list[Any] = []  # every tf.function made, so that their traces can be counted
        dtypes = (tf.as_dtype(v.dtype) for v in model.trainable_variables)
        self.dtype = next((dtype for dtype in dtypes if dtype.is_floating), tf.float32)

    def state(self) -> Iterator[np.ndarray]:
        for variable in getattr(self.model, "weights", self.model.trainable_variables):
            yield np.asarray(variable)

    def _deployed(self, x: tf.Tensor) -> tf.Tensor:
        return self.model(x, training=False)

    def _flat(self, outputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, k), in the dtype of the variables where layers compute in a lower precision."""
        if self.takes_logits:
            outputs = logits_of(outputs, tf.is_tensor)
        if not tf.is_tensor(outputs):
            raise not_a_tensor(outputs)
        shape_of_outputs(tuple(outputs.shape), outputs.shape[0], self.told_classes)
        return tf.cast(tf.reshape(outputs, (self.rows(outputs), math.prod(outputs.shape[1:]))), self.dtype)

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        return self._outputs(x)

    def _outputs(self, x: tf.Tensor) -> tf.Tensor:
        return self._flat(self._deployed(x))

    def _normalised_by(self, rows: Any, total: Any) -> AbstractContextManager[None]:
        learning = self._batchnorm if self._learning is None else self._learning
        return batchnorm.normalised_by(learning, rows, total)

    def forward_with_batch_statistics(self, x: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        self._find_learning(tuple(batch.shape[1:]))
        return super().forward_with_batch_statistics(x, batch)

    def _find_learning(self, input_shape: tuple[int, ...]) -> None:
        """The BatchNormalization layers that are trained, once."""
        if self.has_batchnorm and self._learning is None:
            spec = tf.TensorSpec((None, *input_shape), self.dtype)
            self._learning = batchnorm.learning(self.model, self._batchnorm, spec)

    def pullback(self, x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            outputs = self._outputs(x)

        def pull(cotangents: tf.Tensor) -> tf.Tensor:
            gradient = tape.gradient(outputs, x, cotangents, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return tf.stop_gradient(gradient)

        return tf.stop_gradient(outputs), pull

    def connected(self, x: tf.Tensor) -> bool:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            outputs = self._outputs(x)
        return tape.gradient(outputs, x) is not None

    def linearise(self) -> Callable[[np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]:
        # Two compiled functions, of which the second repeats the forward pass, are faster than one eager pass.
        forward = self.compile(lambda x, cotangents: self.forward(x))
        backward = self.compile(lambda x, cotangents: self.pullback(x)[1](cotangents))

        def at(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
            points = self.tensor(x)
            outputs = self.to_numpy([forward(points, points)]).reshape(len(x), -1)
            return outputs, lambda cotangents: np.asarray(backward(points, self.tensor(cotangents)))

        return at

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        # Keras layers carry generators of their own; TensorFlow's operations follow the global seed, others NumPy's.
        states = layers.seed_states(self.model)
        before = [state.numpy() for state in states]
        seeds = np.random.SeedSequence(seed).generate_state(len(states) + 1)
        # In a compiled graph TensorFlow's own operations follow the seed that it was traced with.
        eagerly = _eager() if self.is_random else nullcontext()
        with global_random.seeded(seed), _global_seed(int(seeds[0])), eagerly:
            for state, start in zip(states, seeds[1:], strict=True):
                state.assign(np.array([start, 0]).astype(state.numpy().dtype))
            try:
                yield
            finally:
                for state, value in zip(states, before, strict=True):
                    state.assign(value)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        before = [(v, np.asarray(v)) for v in getattr(self.model, "non_trainable_variables", ())]
        try:
            yield
        finally:
            for variable, value in before:
                if not np.array_equal(np.asarray(variable), value):
                    variable.assign(value)

    def tensor(self, array: Any) -> tf.Tensor:
        if isinstance(array, (tf.Tensor, tf.Variable)):
            return tf.cast(array, self.dtype)
        return tf.convert_to_tensor(np.asarray(array, dtype=self.dtype.as_numpy_dtype))

    def host(self, x: Any) -> Any:
        return x.numpy() if isinstance(x, (tf.Tensor, tf.Variable)) else x

    def to_numpy(self, tensors: Sequence[tf.Tensor]) -> np.ndarray:
        return tf.concat([tf.reshape(t, (-1,)) for t in tensors], 0).numpy().astype(np.float64)

    def in_float64(self) -> TensorFlowFunction | None:
        if self.dtype == tf.float64:
            return self
        model = float64.in_float64(self.model, self.input_shape)
        if model is None:
            return None
        twin = copy.copy(self)
        twin.model, twin.dtype, twin.compiled = model, tf.float64, []
        twin._batchnorm, twin._learning = batchnorm.layers_of(model), None
        return twin

    @property
    def precision(self) -> float:
        return 2.0**-7 if self.dtype == tf.bfloat16 else float(np.finfo(self.dtype.as_numpy_dtype).eps)

    def norm(self, t: tf.Tensor, p: float) -> tf.Tensor:
        axes = list(range(1, t.shape.rank))
        if t.dtype == tf.float16 and p == 2:  # squares would leave its range
            return tf.cast(self.norm(tf.cast(t, tf.float32), p), t.dtype)
        if p == 1:
            return tf.reduce_sum(tf.abs(t), axes, keepdims=True)
        if p == math.inf:
            return tf.reduce_max(tf.abs(t), axes, keepdims=True)
        return _root(tf.reduce_sum(t * t, axes, keepdims=True))

    def clip(self, t: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        return tf.minimum(tf.maximum(t, low), high)

    def reshape(self, t: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        return tf.reshape(t, shape)

    def rows(self, t: tf.Tensor) -> Any:
        return tf.shape(t)[0] if t.shape[0] is None else t.shape[0]

    def cond(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        return tf.cond(condition, a, b)

    def compile(self, step: Callable[..., Any], nb_resizable: int = 2) -> Callable[..., Any]:
        compiled = None

        def run(*values: Any) -> Any:
            nonlocal compiled
            arguments = tf.nest.map_structure(self._argument, values)
            if compiled is None:
                signature = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in arguments[:nb_resizable]]
                signature += [tf.nest.map_structure(tf.TensorSpec.from_tensor, m) for m in arguments[nb_resizable:]]
                function, compiled = traced(step, signature)
                self.compiled.append(function)
            return compiled(*arguments)

        return run

    def _argument(self, value: Any) -> tf.Tensor:
        """Numbers as tensors, since a compiled step keeps a Python number for good."""
        if isinstance(value, tf.Tensor):
            return value
        return tf.constant(value, tf.int32 if isinstance(value, int) else self.dtype)

    def step_variable(self, value: Any, resizable: bool = False) -> _Cell:
        return _Cell(value, resizable)

    def concat(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat(tensors, 0)

    def constants(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [tf.stop_gradient(t) for t in tensors]

    def mean(self, t: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(t)

    def sum(self, t: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(t)

    def max(self, t: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(t)

    def one_hot_argmax(self, t: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.argmax(t, 1), t.shape[1], dtype=t.dtype)
