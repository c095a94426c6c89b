"""JAX: an ART ``JaxClassifier`` as a function. It cannot be trained here: its ``update_func`` makes the whole step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artclip.frameworks.base import Function, box_of
from artclip.frameworks.preprocessing import Preprocessing


class JaxFunction(Function):
    """An ART ``JaxClassifier`` as a function of raw inputs, in the dtype of its parameters."""

    name, arrays = "jax", jnp

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.input_shape = tuple(estimator.input_shape)
        self.clip_values = box_of(estimator)
        leaves = [leaf.dtype for leaf in jax.tree.leaves(estimator.model) if hasattr(leaf, "dtype")]
        self.dtype = jnp.result_type(*leaves) if leaves else jnp.float32
        self._preprocessing = Preprocessing(estimator, self.tensor)

    def forward(self, x: jax.Array) -> jax.Array:
        outputs = self.estimator.predict_func(self.estimator.model, self._preprocessing.deployed(x))
        return outputs.reshape(x.shape[0], -1)

    def pullback(self, x: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
        outputs, pull = jax.vjp(self.forward, x)
        return outputs, lambda cotangents: pull(cotangents.astype(outputs.dtype))[0]

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        return nullcontext()  # JAX has no global randomness

    def tensor(self, array: Any) -> jax.Array:
        return jnp.asarray(array, dtype=self.dtype)

    def host(self, x: Any) -> Any:
        return np.asarray(x) if isinstance(x, jax.Array) else x

    def to_numpy(self, tensors: Sequence[jax.Array]) -> np.ndarray:
        return np.asarray(jnp.concatenate([t.reshape(-1) for t in tensors])).astype(np.float64)

    @property
    def precision(self) -> float:
        return float(jnp.finfo(self.dtype).eps)

    def norm(self, t: jax.Array, p: float) -> jax.Array:
        axes = tuple(range(1, t.ndim))
        if p == 1:
            return abs(t).sum(axes, keepdims=True)
        if p == np.inf:
            return abs(t).max(axes, keepdims=True)
        squared = (t * t).sum(axes, keepdims=True)
        zero = squared == 0  # where the root has no gradient
        return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squared)))

    def cond(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        return jax.lax.cond(condition, a, b)

    def compile(self, step: Callable[..., Any], nb_resizable: int = 2) -> Callable[..., Any]:
        return jax.jit(step)

    def constants(self, tensors: Sequence[jax.Array]) -> list[jax.Array]:
        return [jax.lax.stop_gradient(t) for t in tensors]

    def one_hot_argmax(self, t: jax.Array) -> jax.Array:
        return jax.nn.one_hot(t.argmax(1), t.shape[1], dtype=t.dtype)
