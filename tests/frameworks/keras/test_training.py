"""What Keras's users bring to a training: finite datasets, callbacks, frozen BatchNorm, averages of weights."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from art.data_generators import TensorFlowV2DataGenerator

from artclip import CLIPTrainer, LipschitzPenalty
from artclip.frameworks import function_of
from tests.nets import tensorflow_nets as nets
from tests.nets.common import same_weights


def test_a_finite_dataset_is_read_once_an_epoch():
    x, y = nets.data(n=30)
    seen = []

    def rows():
        for i in range(0, 30, 10):
            seen.append(i)
            yield x[i : i + 10], y[i : i + 10]

    signature = (tf.TensorSpec((10, 6), tf.float32), tf.TensorSpec((10,), tf.int64))
    generator = TensorFlowV2DataGenerator(tf.data.Dataset.from_generator(rows, output_signature=signature), 30, 10)
    trainer = CLIPTrainer(nets.classifier(), seed=0)
    trainer.fit_generator(generator, nb_epochs=3)
    assert [r["epoch"] for r in trainer.history] == [1, 2, 3]
    assert seen == [0, 10, 20] * 3


def penalised(seed=0):
    classifier = nets.classifier(seed=seed)
    penalty = LipschitzPenalty(classifier.model, nets.data()[0], nb_pairs=4, pair_init="near", clip_values=(0, 1))
    training = penalty.keras_model(0.05)
    training.compile("adam", classifier.loss_object)
    return classifier, training, penalty


class Broken(keras.callbacks.Callback):
    """A crash at the start of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_callbacks_that_save_the_whole_training(tmp_path):
    """The model inside by itself, and weights with the optimizer and the state of the penalty."""
    x, y = nets.data(n=32)
    classifier, training, penalty = penalised()

    def callbacks():
        best = keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)
        whole = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
        return [best, whole, keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)]

    with pytest.raises(KeyboardInterrupt):
        training.fit(x, y, epochs=2, batch_size=16, verbose=0, callbacks=[*callbacks(), Broken()])
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(loaded(x), classifier.model(x), rtol=1e-5)
    again, resumed, other = penalised(seed=7)
    resumed.fit(x, y, epochs=1, batch_size=16, verbose=0, callbacks=callbacks())  # it is done
    assert same_weights(nets.weights(again), nets.weights(classifier))
    assert int(resumed.optimizer.iterations) == 2
    for name, value in penalty.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


class Frozen(keras.Model):
    """One BatchNorm layer in inference mode by its call, one by ``trainable``, and one that is trained."""

    def __init__(self):
        super().__init__()
        self.by_call, self.by_flag, self.trained = (keras.layers.BatchNormalization() for _ in range(3))
        self.by_flag.trainable = False
        self.last = keras.layers.Dense(3)
        self.calls = 0

    def call(self, x, training=None):
        self.calls += 1
        x = self.by_flag(self.by_call(x, training=False), training=training)
        return self.last(self.trained(x, training=training))


def test_batchnorm_that_is_frozen_stays_so_in_loss_and_penalty():
    x, y = nets.data(n=40)
    model = Frozen()
    classifier = nets.wrap(model, (6,))
    model(x)
    model.by_call.moving_mean.assign(np.full(6, 0.3))
    model.by_flag.moving_variance.assign(np.full(6, 2.0))
    f, batch = function_of(classifier), x[:16]
    before = [layer.moving_mean.numpy() for layer in (model.by_call, model.by_flag, model.trained)]
    outputs = f.forward_with_batch_statistics(f.tensor(batch), f.tensor(batch))
    np.testing.assert_allclose(outputs, model(batch, training=True), atol=1e-4)
    CLIPTrainer(classifier, seed=0).fit(x, y, batch_size=20, nb_epochs=2)
    after = [layer.moving_mean.numpy() for layer in (model.by_call, model.by_flag, model.trained)]
    assert [np.allclose(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_averages_of_weights_take_their_place_at_the_end(tmp_path):
    def trained(nb_epochs=2, **options):
        made = nets.classifier(optimizer=lambda lr: keras.optimizers.SGD(lr, use_ema=True, ema_momentum=0.9))
        trainer = CLIPTrainer(made, seed=0, **options)
        trainer.fit(*nets.data(), batch_size=20, nb_epochs=nb_epochs)
        return made

    plain = nets.classifier()
    CLIPTrainer(plain, seed=0).fit(*nets.data(), batch_size=20, nb_epochs=2)
    averaged = trained(checkpoint=tmp_path)
    assert not same_weights(nets.weights(averaged), nets.weights(plain), atol=0.01)
    for variable, average in zip(
        averaged.model.trainable_variables, averaged.optimizer._model_variables_moving_average, strict=True
    ):
        np.testing.assert_array_equal(variable, average)
    resumed = CLIPTrainer(trained(0), checkpoint=tmp_path)  # it is done; the checkpoint has the weights themselves
    resumed.fit(*nets.data(), batch_size=20, nb_epochs=2, resume=True)
    assert same_weights(nets.weights(resumed.classifier), nets.weights(averaged))
    for options in ({"restore_best": True}, {"target_accuracy": 0.9}):
        with pytest.raises(ValueError, match="use_ema=True"):
            trained(**options)
    assert same_weights(nets.weights(trained(0)), nets.weights(nets.classifier()))


def scaled(lr):
    """As for mixed precision: it takes gradients of the loss times a large number."""
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(lr), initial_scale=2.0**10)


@pytest.mark.parametrize(
    ("optimizer", "limit"), [(lambda lr: keras.optimizers.SGD(lr, global_clipnorm=0.01), None), (scaled, 0.01)]
)
def test_gradients_are_limited_by_the_optimizer_and_behind_a_scale_of_the_loss(optimizer, limit):
    classifier = nets.classifier(optimizer=optimizer)
    before = nets.weights(classifier)
    CLIPTrainer(classifier, seed=0).fit(*nets.data(), batch_size=60, nb_epochs=1, max_grad_norm=limit)
    after = nets.weights(classifier)
    moved = np.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in before))
    assert moved == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_step_of_the_users_own_limits_its_gradients_itself():
    classifier = nets.classifier()
    made = nets.TensorFlowV2Classifier(
        classifier.model, 3, (6,), loss_object=classifier.loss_object, train_step=lambda model, x, y: None
    )
    with pytest.raises(ValueError, match="max_grad_norm cannot reach"):
        CLIPTrainer(made).fit(*nets.data(), nb_epochs=1, max_grad_norm=1.0)


def test_objects_of_keras_that_are_no_scheduler_are_named():
    for scheduler, message in (
        (keras.callbacks.ReduceLROnPlateau(), "acts in keras.Model.fit alone"),
        (keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), "belongs into the optimizer"),
    ):
        with pytest.raises(TypeError, match=message):
            CLIPTrainer(nets.classifier()).fit(*nets.data(), nb_epochs=1, scheduler=scheduler)


def test_of_several_outputs_the_logits_are_penalised():
    x, _ = nets.data(n=20)
    inputs = keras.Input((6,))
    features = keras.layers.Dense(8, "relu")(inputs)
    logits = keras.layers.Dense(3)(features)
    found = []
    for outputs in (logits, {"features": features, "logits": logits}, [logits, features]):
        penalty = LipschitzPenalty(keras.Model(inputs, outputs), x, clip_values=(0, 1), seed=0)
        penalty(x)
        found.append(penalty.quotients())
    np.testing.assert_allclose(found, [found[0]] * 3, rtol=1e-6)


def test_of_a_loss_that_is_not_summed_up_the_mean_is_taken():
    found = []
    for reduction in ("none", "sum_over_batch_size"):
        classifier = nets.classifier(seed=0)
        classifier._loss_object = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        CLIPTrainer(classifier, lamda=0.05, nb_pairs=4, seed=0).fit(*nets.data(), batch_size=20, nb_epochs=2)
        found.append(nets.weights(classifier))
    assert same_weights(*found, atol=1e-6)


def test_averages_of_ours_and_of_keras_are_not_taken_together():
    made = nets.classifier(optimizer=lambda lr: keras.optimizers.SGD(lr, use_ema=True))
    with pytest.raises(ValueError, match=r"ema_decay=0\.9 and the optimizer's use_ema=True"):
        CLIPTrainer(made, ema_decay=0.9).fit(*nets.data(), nb_epochs=1)
