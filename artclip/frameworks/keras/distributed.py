"""TensorFlow on several devices: a model made under a ``tf.distribute`` strategy, in one training.

Each replica takes its share of the rows of whatever is computed: of the batch, of the pairs that climb, and of their
ends in the penalty. Outputs and input gradients are put together, so that all go on with the same numbers and the
algorithm need not know. Keras's optimizer adds up the gradients in the variables.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from artclip.frameworks.keras.estimator import TensorFlowEstimator
from artclip.frameworks.trainable import LogitShift


def strategy_of(model: Any) -> Any:
    """The strategy that a Keras model was made under, if it has several replicas; otherwise ``None``."""
    strategy = getattr(model, "_distribute_strategy", None)
    return strategy if strategy is not None and strategy.num_replicas_in_sync > 1 else None


def on_all_devices(f: TensorFlowEstimator) -> TensorFlowEstimator:
    """The estimator, to be trained on all replicas where its model was made under a strategy of several."""
    return DistributedTensorFlowEstimator(f.estimator) if strategy_of(f.model) is not None else f


class DistributedTensorFlowEstimator(TensorFlowEstimator):
    """An ART TensorFlow or Keras classifier, trained on all replicas of the strategy its model was made under.

    The batch size is that of all replicas together. BatchNorm normalises by the rows of its replica. Where the strategy
    has several workers, each is a process that has the same data and calls ``fit`` alike.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator)
        self._strategy = strategy_of(self.model)
        self._nb_replicas = self._strategy.num_replicas_in_sync
        resolver: Any = getattr(self._strategy, "cluster_resolver", None)
        self._nb_workers = max(1, len(resolver.cluster_spec().as_dict().get("worker", ()))) if resolver else 1
        self.is_main_process = self._nb_workers == 1 or resolver.task_id == 0
        self._in_cond = False
        keras_loss = "mean" if self._compiled else None
        self._reduction = getattr(self._loss, "reduction", keras_loss)
        self._reduction = None if self._reduction == "none" else self._reduction

    @property
    def is_single_process(self) -> bool:
        return self._nb_workers == 1

    def check_trainable(self) -> None:
        super().check_trainable()
        if self._train_step is not None:
            raise ValueError(
                "a train_step of your own is not run on several replicas; give the classifier loss_object and optimizer"
            )
        if self.max_grad_norm is not None:
            raise ValueError(
                "max_grad_norm is not supported on several replicas, of which each sees its share of the gradient; "
                "give the optimizer global_clipnorm or clipnorm"
            )
        if getattr(self.optimizer, "_distribution_strategy", None) is not self._strategy:
            raise ValueError(
                "the model was made under a tf.distribute strategy and the optimizer outside of it; make both inside "
                "`with strategy.scope():`"
            )

    @contextmanager
    def fitting(self, seed: int) -> Iterator[None]:
        if not self.optimizer.built:
            with self._strategy.scope():
                self.optimizer.build(self.model.trainable_variables)
        with super().fitting(seed):
            yield

    def _scope(self) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = self._strategy.scope()
        return found

    def broadcast(self, value: Any) -> Any:
        if self._nb_workers == 1:
            return value
        message = np.frombuffer(pickle.dumps(value), np.uint8).astype(np.int32)  # between processes of one training
        length = int(self._from_leader(np.array([len(message)], np.int32), 1)[0])
        return pickle.loads(self._from_leader(message, length).astype(np.uint8).tobytes())

    def _from_leader(self, own: np.ndarray, length: int) -> np.ndarray:
        """The integers, shape (length,), that the leading worker has."""

        def first() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            speaks = self.is_main_process and int(context.replica_id_in_sync_group) == 0
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.constant(own) if speaks else tf.zeros(length, tf.int32)
            )

        sums = self._strategy.run(first)
        return np.asarray(self._strategy.experimental_local_results(sums)[0])

    def compile(self, step: Callable[..., Any], nb_resizable: int = 2) -> Callable[..., Any]:
        def on_all(*values: Any) -> Any:
            found = self._strategy.run(step, args=values)
            # The same on all.
            return tf.nest.map_structure(lambda v: self._strategy.experimental_local_results(v)[0], found)

        return super().compile(on_all, nb_resizable)

    # rows of anything
    @property
    def _is_shared(self) -> bool:
        return not (tf.distribute.in_cross_replica_context() or self._in_cond)

    def _share(self, t: tf.Tensor) -> tuple[Any, Any, tf.Tensor]:
        """First row of this replica and the one after its last, and into how many parts the rows are split.

        Each replica takes all rows where they are fewer than replicas.
        """
        n, me = tf.shape(t)[0], tf.distribute.get_replica_context().replica_id_in_sync_group
        enough = n >= self._nb_replicas
        first = tf.where(enough, n * me // self._nb_replicas, 0)
        last = tf.where(enough, n * (me + 1) // self._nb_replicas, n)
        return first, last, tf.where(enough, self._nb_replicas, 1)

    def _joined(self, own: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """The rows of all replicas, for rows of ``like``; own ones have a gradient, such that the mean is right."""
        first, last, parts = self._share(like)
        n = tf.shape(like)[0]
        constant = tf.stop_gradient(own)

        def rows(nb: Any) -> tf.Tensor:
            return tf.zeros(tf.concat([[nb], tf.shape(own)[1:]], 0), own.dtype)

        padded = tf.concat([rows(first), constant, rows(n - last)], 0)
        whole = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, padded)
        factor = tf.cast(parts, own.dtype)
        whole = tf.stop_gradient(whole * (factor / self._nb_replicas))  # where all had all rows, their mean
        mine = whole[first:last] + factor * (own - constant)
        joined = tf.concat([whole[:first], mine, whole[last:]], 0)
        return tf.ensure_shape(joined, (like.shape[0], *own.shape[1:]))

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        if not self._is_shared:
            return super().forward(x)
        first, last, _ = self._share(x)
        return self._joined(super().forward(x[first:last]), x)

    def forward_with_batch_statistics(self, x: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        if not self._is_shared:
            return super().forward_with_batch_statistics(x, batch)
        first, last, _ = self._share(x)
        start, end, _ = self._share(batch)
        return self._joined(super().forward_with_batch_statistics(x[first:last], batch[start:end]), x)

    def pullback(self, x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        if not self._is_shared:
            return super().pullback(x)
        first, last, _ = self._share(x)
        outputs, pull = super().pullback(x[first:last])
        return self._joined(outputs, x), lambda c: self._joined(pull(c[first:last]), x)

    def cond(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        before, self._in_cond = self._in_cond, True  # replicas cannot wait for each other in there
        try:
            return super().cond(condition, a, b)
        finally:
            self._in_cond = before

    def loss(self, x: tf.Tensor, y: tf.Tensor, shift_logits: LogitShift | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        first, last, parts = self._share(x)
        loss, correct = super().loss(x[first:last], y[first:last], shift_logits)
        parts = tf.cast(parts, loss.dtype)
        if self._reduction == "sum":
            return loss * parts, correct * parts
        share = tf.cast(last - first, loss.dtype) / tf.cast(tf.shape(x)[0], loss.dtype)
        if self._reduction is not None:  # Keras divides a mean by the number of replicas
            loss = loss * self._nb_replicas
        return loss * share * parts, correct * parts

    def joins_passes(self, rows: int) -> bool:
        return False  # the rows of the pairs are shared out otherwise than those of the batch

    def _descended(self, scalar: tf.Tensor) -> tf.Tensor:
        return super()._descended(scalar / self._nb_replicas)  # the optimizer adds them up

    def _averaged(self, values: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        return tuple(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, list(values)))
