"""What is TensorFlow's own: estimators, compilation, a train_step of the user's, precision."""

import json
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier

from artclip import CLIPTrainer, PairSet, WeightRegularizationTrainer, lipschitz_lower_bound
from artclip.frameworks import function_of, trainable_of
from artclip.trainers import base
from tests.contract.test_training import every_trainer
from tests.frameworks.keras.models import LOGITS, Subclassed, functional, keras_classifier, mlp
from tests.nets import tensorflow_nets as nets
from tests.nets.common import NB_CLASSES, same_weights


class Plain(tf.Module):
    """No Keras at all."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((6, NB_CLASSES), (0, 1)) / 3, name="kernel")
        self.bias = tf.Variable(tf.zeros(NB_CLASSES), name="bias")

    def __call__(self, x, training=False):
        return x @ self.kernel + self.bias


@pytest.mark.parametrize("make", [mlp, functional, Subclassed, Plain])
def test_every_way_to_write_a_model_learns(make):
    x, y = nets.data(n=200)
    classifier = nets.wrap(make(), (6,), 0.3)
    for trainer in (CLIPTrainer(classifier, lamda=1e-3, seed=0), WeightRegularizationTrainer(classifier, seed=0)):
        trainer.fit(x, y, validation_data=(x, y), batch_size=20, nb_epochs=12)
        assert trainer.history[-1]["val_accuracy"] > 0.85
    assert lipschitz_lower_bound(classifier, x, nb_restarts=8, max_iter=5).value > 0


def test_keras_classifier_learns_and_equals_the_same_training_of_a_tensorflow_classifier():
    x, y = nets.data(n=200)
    first, second = keras_classifier(), nets.wrap(mlp(), (6,), 0.3)
    for classifier in (first, second):
        CLIPTrainer(classifier, lamda=0.01, seed=0).fit(x, y, batch_size=20, nb_epochs=20)
    assert np.mean(first.predict(x).argmax(1) == y) > 0.8
    assert same_weights(nets.weights(first), nets.weights(second), atol=1e-6)


def test_losses_that_layers_add_count_for_a_keras_classifier():
    """As in keras.Model.fit: a kernel regulariser shrinks the weights."""
    x, y = nets.data(n=100)
    norms = []
    for strength in (0.0, 0.3):
        classifier = keras_classifier(model=mlp(kernel_regularizer=keras.regularizers.L2(strength)))
        CLIPTrainer(classifier, lamda=0.0, seed=0).fit(x, y, batch_size=20, nb_epochs=10)
        norms.append(sum((m**2).sum() for m in nets.matrices(classifier)))
    assert norms[1] < 0.5 * norms[0]


def test_lamda_zero_is_keras_own_fit():
    """The same batches through train_on_batch."""
    x, y = nets.data(n=96)
    ours, keras_own = keras_classifier(), keras_classifier()
    fit_seed = int(np.random.SeedSequence([4, 0]).generate_state(1)[0])
    order = np.random.default_rng(fit_seed).permutation(96)
    for i in range(0, 96, 16):
        keras_own.model.train_on_batch(x[order[i : i + 16]], y[order[i : i + 16]])
    CLIPTrainer(ours, lamda=0.0, seed=4).fit(x, y, batch_size=16, nb_epochs=1)
    assert same_weights(nets.weights(ours), nets.weights(keras_own), atol=1e-6)


@every_trainer
def test_steps_are_compiled_once_whatever_the_epoch_the_batch_or_lamda(make, monkeypatch):
    seen = []
    original = base.trainable_of
    monkeypatch.setattr(base, "trainable_of", lambda c, **k: (seen.append(original(c, **k)), seen[-1])[1])
    trainer = make(nets.classifier("batchnorm"), target_accuracy=0.7, warmup_epochs=1, seed=0)
    trainer.fit(*nets.data("batchnorm", n=203), batch_size=20, nb_epochs=8)  # the last batch holds 3
    assert len({r["lamda"] for r in trainer.history}) > 2
    compiled = [function for f in seen for function in f.compiled]
    assert len(compiled) == 3  # the plain and the penalised step, and the predictions whose accuracy λ follows
    assert [function.experimental_get_tracing_count() for function in compiled] == [1] * len(compiled)


@pytest.mark.parametrize(("net", "decorated"), [("mlp", True), ("mlp", False), ("batchnorm", False)])
def test_a_train_step_of_the_users_own_gets_the_gradient_of_the_penalty(decorated, net):
    """A train_step that does what ART would do gives the weights that ART's own step gives."""
    x, y = nets.data(net)
    first, second = nets.classifier(net), nets.classifier(net)
    calls = []

    def train_step(model, images, labels):
        calls.append(type(model))
        with tf.GradientTape() as tape:
            loss = LOGITS(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        second.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    second._train_step = tf.function(train_step) if decorated else train_step
    histories = []
    # With Dropout the two draw from their generators at other moments, and would not be the same.
    for classifier in (first, second) if net == "mlp" else (second,):
        trainer = CLIPTrainer(classifier, lamda=0.05, pair_interval=2, seed=0)
        trainer.fit(x, y, batch_size=16, nb_epochs=3)
        histories.append(trainer.history)
    assert len(calls) == 2
    if net == "mlp":
        assert same_weights(nets.weights(first), nets.weights(second), atol=1e-6)
        assert histories[0][-1]["lipschitz"] == pytest.approx(histories[1][-1]["lipschitz"], rel=1e-4)
        plain = nets.classifier(net)
        CLIPTrainer(plain, lamda=0.0, seed=0).fit(x, y, batch_size=16, nb_epochs=3)
        assert not same_weights(nets.weights(plain), nets.weights(second), atol=1e-4)


def test_a_train_step_that_ignores_its_model_is_refused_and_the_model_untouched():
    classifier = nets.classifier()
    net = classifier.model
    before = nets.weights(classifier)

    def train_step(model, images, labels):
        with tf.GradientTape() as tape:
            loss = LOGITS(labels, net(images, training=True))
        gradients = tape.gradient(loss, net.trainable_variables)
        classifier.optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))

    classifier._train_step = train_step
    with pytest.raises(ValueError, match="does not call the model that it is given"):
        CLIPTrainer(classifier, lamda=0.05, seed=0).fit(*nets.data(), nb_epochs=1)
    assert same_weights(before, nets.weights(classifier))


def test_keras_schedules_and_functions_of_the_epoch():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    classifier = nets.wrap(mlp(), (6,), schedule)
    CLIPTrainer(classifier, seed=0).fit(*nets.data(n=40), batch_size=4, nb_epochs=2)
    assert int(classifier.optimizer.iterations) == 20
    assert float(classifier.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**2, rel=1e-4)
    seen, other = [], nets.classifier()

    def scheduler(epoch):  # as ART's TensorFlowV2Classifier.fit takes it
        seen.append(epoch)
        other.optimizer.learning_rate = 0.1 / (epoch + 2)

    CLIPTrainer(other, seed=0).fit(*nets.data(), nb_epochs=3, scheduler=scheduler)
    assert seen == [0, 1, 2]
    assert nets.learning_rate(other) == pytest.approx(0.025)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_measures_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(3, dtype="float32")]
        )
        all_low = mlp()
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = nets.data(n=200)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.3))
    for made, chosen in ((model, lambda rate: optimizer), (all_low, keras.optimizers.SGD)):
        classifier = nets.wrap(made, (6,), 0.3, chosen)
        trainer = CLIPTrainer(classifier, lamda=1e-3, certify_eps=0.01 if made is all_low else 0.0, seed=0)
        trainer.fit(x, y, validation_data=(x, y), batch_size=20, nb_epochs=12)
        assert trainer.history[-1]["val_accuracy"] > 0.8
        assert trainer.history[-1]["skipped_steps"] == 0
        assert all(w.dtype == np.float32 for w in nets.weights(classifier).values())
        f = function_of(classifier)
        assert f.forward(f.tensor(x)).dtype == tf.float32
        assert PairSet(f, x, 4, seed=0).ascend(2).quotients().max() > 0


def test_what_a_classifier_lacks_is_named():
    net = mlp()
    with pytest.raises(ValueError, match=r"no loss.*loss_object"):
        CLIPTrainer(TensorFlowV2Classifier(net, 3, (6,), optimizer=keras.optimizers.SGD()))
    with pytest.raises(ValueError, match=r"no optimizer.*optimizer="):
        CLIPTrainer(TensorFlowV2Classifier(net, 3, (6,), loss_object=LOGITS))
    with pytest.raises(ValueError, match=r"no loss.*model\.compile"):
        CLIPTrainer(KerasClassifier(mlp()))
    optimizer = keras.optimizers.SGD()
    optimizer.build(mlp().trainable_variables)
    with pytest.raises(ValueError, match="a Keras optimizer serves one model"):
        CLIPTrainer(TensorFlowV2Classifier(net, 3, (6,), loss_object=LOGITS, optimizer=optimizer))
    net.trainable = False
    with pytest.raises(ValueError, match="no trainable variable"):
        CLIPTrainer(TensorFlowV2Classifier(net, 3, (6,), loss_object=LOGITS, optimizer=keras.optimizers.SGD()))


def test_a_bare_model_is_told_to_be_wrapped():
    with pytest.raises(TypeError, match=r"wrap the model first.*TensorFlowV2Classifier"):
        CLIPTrainer(mlp())


def test_keras_regressor_is_refused_with_a_way_out():
    from art.estimators.regression.keras import KerasRegressor

    with pytest.raises(TypeError, match="KerasRegressor does not run with Keras 3; wrap the model as"):
        CLIPTrainer(KerasRegressor.__new__(KerasRegressor))


def test_numpy_defences_without_a_gradient_are_refused_and_tensorflow_ones_are_part_of_f():
    from art.defences.preprocessor import FeatureSqueezing, SpatialSmoothingTensorFlowV2

    with pytest.raises(ValueError, match="FeatureSqueezing works in numpy"):
        CLIPTrainer(nets.classifier(preprocessing_defences=FeatureSqueezing(clip_values=(0, 1))))
    smoothing = SpatialSmoothingTensorFlowV2(window_size=3, channels_first=False)
    classifier = nets.classifier("cnn", preprocessing_defences=smoothing)
    x, y = nets.data("cnn")
    f = function_of(classifier)
    np.testing.assert_allclose(f.forward(f.tensor(x)).numpy(), classifier.predict(x), atol=1e-5)
    CLIPTrainer(classifier, seed=0).fit(x, y, nb_epochs=2)


@pytest.mark.parametrize("channels_first", [True, False])
def test_per_channel_preprocessing_in_either_order_of_axes(channels_first):
    shape = (2, 6, 6) if channels_first else (6, 6, 2)
    net = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3)])
    std = np.array([0.5, 0.1], np.float32)
    classifier = nets.wrap(net, shape, channels_first=channels_first, preprocessing=(np.zeros(2, np.float32), std))
    scale = np.broadcast_to(std[:, None, None] if channels_first else std, shape).reshape(-1)
    x = np.random.default_rng(0).uniform(size=(20, *shape)).astype(np.float32)
    pairs = PairSet(function_of(classifier), x, 8, domain="free", seed=0).ascend(200)
    expected = np.linalg.norm(net.layers[1].kernel.numpy().T / scale, 2)
    assert pairs.quotients().max() == pytest.approx(expected, rel=1e-3)


def test_transposed_and_separable_convolutions_count_outputs_first():
    net = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Conv2DTranspose(5, 2), keras.layers.SeparableConv2D(7, 3)]
    )
    shapes = [tuple(w.shape) for w in trainable_of(nets.wrap(net, (4, 4, 3))).weights()]
    assert shapes == [(5, 3 * 2 * 2), (1, 5 * 3 * 3), (7, 5)]


def test_fit_generator_learns_from_tensorflow_and_keras_generators():
    from art.data_generators import KerasDataGenerator, NumpyDataGenerator, TensorFlowV2DataGenerator

    x, y = nets.data(n=64)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16).repeat()

    def endless():
        while True:
            yield from ((x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16))

    generators = (
        NumpyDataGenerator(x, y, batch_size=16),
        TensorFlowV2DataGenerator(dataset, size=64, batch_size=16),
        KerasDataGenerator(endless(), size=64, batch_size=16),
    )
    for generator in generators:
        trainer = CLIPTrainer(nets.classifier(lr=0.5), lamda=1e-3, seed=0)
        trainer.fit_generator(generator, validation_data=(x, y), nb_epochs=15)
        assert trainer.history[-1]["val_accuracy"] > 0.8


def test_random_generators_of_layers_are_left_as_found():
    classifier = nets.classifier("batchnorm")
    dropout = classifier.model.layers[3]
    before = dropout.seed_generator.state.numpy()
    CLIPTrainer(classifier, seed=0).fit(*nets.data("batchnorm"), nb_epochs=2)
    assert (dropout.seed_generator.state.numpy() == before).all()


def test_command_line_says_nothing_but_its_answer():
    words = ["train", "--framework", "tensorflow", "--data", "digits", "--nb-epochs", "1"]
    words += ["--attacks", "fgsm", "--attack-samples", "10"]
    run = subprocess.run(
        [sys.executable, "-m", "artclip", *words, "--json"], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert json.loads(run.stdout)["settings"]["framework"] == "tensorflow"


class Counting(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(2)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return self.layer(x)


def test_counters_of_calls_are_as_they_were():
    model = Counting()
    model(np.zeros((1, 3), np.float32))
    classifier = nets.wrap(model, (3,), nb_classes=2)
    before = float(model.calls)
    lipschitz_lower_bound(classifier, np.zeros((4, 3)), nb_restarts=2, max_iter=2)
    assert float(model.calls) == before > 0
