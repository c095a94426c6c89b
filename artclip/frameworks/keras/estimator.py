"""TensorFlow: an ART TensorFlow or Keras classifier as a trainable function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2
from art.estimators.certification.randomized_smoothing import TensorFlowV2RandomizedSmoothing
from art.estimators.classification import TensorFlowV2Classifier

from artclip.frameworks import global_random
from artclip.frameworks.base import box_of
from artclip.frameworks.check import not_a_tensor
from artclip.frameworks.keras import defences, joint_pass, layers, optimizers, settings
from artclip.frameworks.keras.averaging import WeightAverages
from artclip.frameworks.keras.custom_train_step import own_step
from artclip.frameworks.keras.function import TensorFlowFunction
from artclip.frameworks.keras.losses import KerasLoss
from artclip.frameworks.preprocessing import Preprocessing
from artclip.frameworks.trainable import LogitShift, Objective


class TensorFlowEstimator(TensorFlowFunction, KerasLoss):
    """An ART ``TensorFlowV2Classifier`` or ``KerasClassifier``, or one of them around a regression model.

    ART has no regressor that runs with Keras 3, so a classifier counts as a regressor where its loss is a mean squared
    (absolute, ...) error and the model has one output, or several without an activation.
    """

    weights_file = "model.weights.h5"

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        layers.build(estimator.model, tuple(estimator.input_shape))
        super().__init__(estimator.model, tuple(estimator.input_shape))
        self.clip_values = box_of(estimator)
        self._compiled = not hasattr(estimator, "loss_object")  # a KerasClassifier: loss and optimizer are the model's
        self._loss: Any = getattr(self.model, "loss", None) if self._compiled else estimator.loss_object
        self._train_step = None if self._compiled else estimator.train_step
        self.computes_own_loss = self._train_step is not None
        self.optimizer: Any = getattr(self.model, "optimizer", None) if self._compiled else estimator.optimizer
        self.optimizer_name = type(self.optimizer).__name__
        self._averages: WeightAverages | None = None
        self._preprocessing = Preprocessing(estimator, self.tensor, PreprocessorTensorFlowV2, defences.defended)
        self.scaling, self.approximated = self._preprocessing.scaling, self._preprocessing.approximated
        with self.unchanged():
            outputs = self._deployed(self.tensor(np.zeros((1, *self.input_shape))))
        if not tf.is_tensor(outputs):
            raise not_a_tensor(outputs)
        self._width = int(math.prod(outputs.shape[1:]))
        linear = self._width == 1 or layers.outputs_are_linear(self.model)
        self.nb_classes = None if linear and layers.is_regression(self._loss) else estimator.nb_classes
        self.told_classes = self.nb_classes
        self._sparse = layers.loss_name(self._loss).startswith("sparse")
        self.told_threshold, self.told_shares = layers.threshold_of(self._loss)
        self.threshold = 0.5 if self.told_threshold is None else self.told_threshold

    def _deployed(self, x: tf.Tensor) -> tf.Tensor:
        return self.model(self._preprocessing.deployed(x), training=False)

    def predict(self, x: np.ndarray) -> np.ndarray:
        if self.estimator.postprocessing_defences:  # what they do is not part of f
            return super().predict(x)
        # Compiled by ART: it does not round as an eager pass does. Of a classifier that ART smooths, f is the net.
        smoothed = isinstance(self.estimator, TensorFlowV2RandomizedSmoothing)
        of_net = TensorFlowV2Classifier.predict if smoothed else type(self.estimator).predict
        outputs = of_net(self.estimator, x.astype(self.dtype.as_numpy_dtype))
        return np.asarray(outputs, dtype=np.float64).reshape(len(x), -1)

    def in_float64(self) -> TensorFlowFunction | None:
        twin = super().in_float64()
        if isinstance(twin, TensorFlowEstimator) and twin is not self:
            twin._preprocessing = self._preprocessing.mapped(lambda t: tf.cast(t, tf.float64))
        return twin

    def described(self) -> dict[str, Any]:
        return settings.described(self.model, self._loss, self.optimizer)

    def kept_loss(self) -> dict[str, Any] | None:
        return settings.kept_loss(self._loss)

    def check_trainable(self) -> None:
        if self._loss is None:
            where = "model.compile(loss=...)" if self._compiled else "TensorFlowV2Classifier(..., loss_object=...)"
            raise ValueError(f"the classifier has no loss; give one: {where}")
        if self.optimizer is None and self._train_step is None:
            where = "model.compile(optimizer=...)" if self._compiled else "TensorFlowV2Classifier(..., optimizer=...)"
            raise ValueError(f"the classifier has no optimizer; give one: {where}")
        if not self.model.trainable_variables:
            raise ValueError("the model has no trainable variable: every layer's trainable is False")
        optimizers.refuse_others(self.optimizer, self.model.trainable_variables)
        if self.ema_decay and optimizers.uses_ema(self.optimizer):
            raise ValueError(
                f"ema_decay={self.ema_decay:g} and the optimizer's use_ema=True average the weights twice; choose one"
            )
        if self.max_grad_norm is not None and self._train_step is not None:
            raise ValueError(
                "max_grad_norm cannot reach the gradient that a train_step of your own computes; clip it there, or "
                "give the classifier loss_object and optimizer"
            )

    @contextmanager
    def fitting(self, seed: int) -> Iterator[None]:
        self._noise_seed = seed % 2**31
        with self.seeded(seed):
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.model.trainable_variables)
            elif (stiefel := optimizers.stiefel_of(self.optimizer)) is not None:
                stiefel.project(self.model.trainable_variables)  # weights may have been loaded since it was built
            self._find_learning(self.input_shape)
            if self.ema_decay:
                with self._scope():
                    self._averages = WeightAverages(self._of_model(), self.ema_decay)
            try:
                yield
            finally:
                self._averages = None

    def _scope(self) -> AbstractContextManager[Any]:
        """Inside, variables are made as those of the model were."""
        return nullcontext()

    @property
    def averages_weights(self) -> bool:
        return super().averages_weights or optimizers.uses_ema(self.optimizer)

    def finish(self) -> None:
        if self._averages is not None:
            self._averages.put()
        elif optimizers.uses_ema(self.optimizer):
            self.optimizer.finalize_variable_values(self.model.trainable_variables)

    def training_data(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._preprocessing.at_fit:
            x, y = self._preprocessing.defended(x, self._probabilities(y))
        return x, self.labels(y)

    def batch(self, x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        if index is not None:
            x, y = x[index], y[index]
        labels = tf.convert_to_tensor(np.ascontiguousarray(y)) if y.dtype == np.int64 else self.tensor(y)
        return self.tensor(x), labels

    def loss(self, x: tf.Tensor, y: tf.Tensor, shift_logits: LogitShift | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = self._preprocessing.standardised(x)
        if self._train_step is not None:  # it makes its own pass in train mode; this one is for the record
            if shift_logits is not None:
                raise ValueError(
                    "a train_step of your own computes the loss where nothing can be put before it; give the "
                    "classifier loss_object and optimizer"
                )
            self._batch = inputs, y
            return self._loss_of(x, self._deployed(x), y, False)
        return self._loss_of(inputs, self.model(inputs, training=True), y, True, shift_logits)

    def joins_passes(self, rows: int) -> bool:
        if self._train_step is not None or self._preprocessing.at_predict:
            return False
        return joint_pass.joins_passes(self.model, rows)

    def joint_loss(
        self, rows: tf.Tensor, y: tf.Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[tf.Tensor, ...]:
        inputs, n = self._preprocessing.standardised(rows), self.rows(y)
        outputs = self.model(inputs, training=True)
        of_batch, beside = outputs[:n], outputs[n:]
        loss, correct = self._loss_of(inputs[:n], of_batch, y, True, shift_logits)
        return loss, correct, self._flat(of_batch), self._flat(beside)

    def deployed_loss(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, correct = self._loss_of(x, self._deployed(x), y, False)
        return (loss if self.sums_loss else loss * tf.cast(tf.shape(x)[0], loss.dtype)), correct

    def gradient(
        self, x: tf.Tensor, scalar: Callable[[tf.Tensor], tf.Tensor], differentiable: bool = False
    ) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            value = scalar(x)
        gradient = tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return gradient if differentiable else tf.stop_gradient(gradient)

    def noise(self, like: tf.Tensor, step: tf.Tensor, normal: bool = False) -> tf.Tensor:
        draw = tf.random.stateless_normal if normal else tf.random.stateless_uniform
        numbers = draw(tf.shape(like), seed=tf.stack([self._noise_seed, tf.cast(step, tf.int32)]), dtype=like.dtype)
        return numbers if normal else numbers * 2 - 1

    def log_softmax(self, t: tf.Tensor) -> tf.Tensor:
        return tf.nn.log_softmax(t, 1)

    def update(self, objectives: Sequence[Objective]) -> tuple[tf.Tensor, ...]:
        variables, reported = self.model.trainable_variables, []
        gradients: list[Any] = []
        own = self._train_step  # it differentiates the loss itself, which is last
        for objective in objectives[:-1] if own is not None else objectives:
            with tf.GradientTape() as tape:
                scalar, values = objective()
                scalar = scalar if own is not None else self._descended(scalar)
            gradients = optimizers.added(gradients, tape.gradient(scalar, variables, optimizers.one(scalar)))
            reported.append(values)
        if own is not None:
            reported.append(objectives[-1]()[1])
            own_step(own, self.model, *self._batch, gradients)
        else:
            self.optimizer.apply_gradients(zip(self._limited(gradients), variables, strict=True))
            reported[-1] = self._averaged(reported[-1])
        if self._averages is not None:
            self._averages.move()
        return tuple(tf.stop_gradient(v) for values in reversed(reported) for v in values)

    def _limited(self, gradients: list[Any]) -> list[Any]:
        """The gradients, scaled down where they are longer than :attr:`max_grad_norm` all together."""
        if self.max_grad_norm is None:
            return gradients
        return optimizers.limited(gradients, self.max_grad_norm, self.optimizer, self.dtype)

    def _descended(self, scalar: tf.Tensor) -> tf.Tensor:
        """What is differentiated for the optimizer: scaled for mixed precision, and the same number without it."""
        return self.optimizer.scale_loss(scalar)

    def _averaged(self, values: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """Some values averaged over all devices."""
        return values

    def weights(self) -> list[tf.Tensor]:
        return layers.matrices(self.model)

    def stays_orthogonal(self, live: Callable[[], tf.Tensor]) -> bool:
        read: tuple[Any, ...] = getattr(live, "args", ())
        stiefel = optimizers.stiefel_of(self.optimizer)
        held = [] if stiefel is None else stiefel.orthogonal(self.model.trainable_variables)
        return len(read) == 1 and any(read[0] is v for v in held)

    def matmul(self, a: tf.Tensor, b: tf.Tensor, transpose: bool = False) -> tf.Tensor:
        return tf.matmul(a, b, transpose_b=transpose)

    def _variables(self) -> list[Any]:
        averages = () if self._averages is None else self._averages.variables
        return [*self._of_model(), *(self.optimizer.variables if self.optimizer is not None else ()), *averages]

    def _of_model(self) -> list[Any]:
        return getattr(self.model, "weights", None) or list(self.model.variables)

    def snapshot(self) -> Any:
        return [tf.identity(v) for v in self._variables()]

    def restore(self, snapshot: Any) -> None:
        for variable, value in zip(self._variables(), snapshot, strict=True):
            variable.assign(value)

    def pack(self, snapshot: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        nb = len(self._of_model())
        names = [f"model.{i}" if i < nb else f"optimizer.{i - nb}" for i in range(len(snapshot))]
        return {name: np.asarray(value) for name, value in zip(names, snapshot, strict=True)}, {"model": nb}

    def unpack(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Any:
        nb = record["model"]
        names = [f"model.{i}" for i in range(nb)] + [f"optimizer.{i}" for i in range(len(arrays) - nb)]
        return [tf.convert_to_tensor(arrays[name]) for name in names]

    def randomness(self) -> list[np.ndarray]:
        return [*global_random.states(), *(state.numpy() for state in layers.seed_states(self.model))]

    def set_randomness(self, states: list[np.ndarray]) -> None:
        nb = global_random.NB_STATES
        global_random.put(states[:nb])
        for state, value in zip(layers.seed_states(self.model), states[nb:], strict=True):
            state.assign(value)

    def own_generators(self) -> list[str]:
        return global_random.own_generators(layers.layers_of(self.model))

    def save_weights(self, path: str) -> None:
        self.model.save_weights(path)

    def is_finite(self) -> bool:
        norms = [tf.norm(v) for v in self.model.trainable_variables]
        return bool(np.isfinite(self.to_numpy(norms)).all())
