"""Models and defences that draw from NumPy's and Python's generators: by the seed, resumed to the same bits."""

# ruff: noqa: NPY002

import random
import threading
import warnings

import numpy as np
import pytest
from art.data_generators import NumpyDataGenerator
from art.defences.preprocessor.preprocessor import Preprocessor

from artclip import CLIPTrainer
from artclip.frameworks import function_of, global_random
from artclip.frameworks.check import check
from tests.nets.common import NB_CLASSES, same_weights


def drawn(own=None):
    """A number from both generators, or from one of the model's own."""
    return np.float32(random.gauss(0, 1) + np.random.standard_normal() if own is None else own.standard_normal())


def of_torch(own):
    import torch

    from tests.nets import torch_nets as nets

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.rng = torch.nn.Linear(6, 8), torch.nn.Linear(8, NB_CLASSES), own

        def forward(self, x):
            if self.training:
                x = x + float(drawn(self.rng))
            return self.last(torch.relu(self.first(x)))

    torch.manual_seed(0)
    net = Noisy()
    classifier = nets.classifier()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    return type(classifier)(
        net, classifier.loss, (6,), NB_CLASSES, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    )


def of_tensorflow(own):
    import keras
    import tensorflow as tf

    from tests.nets import tensorflow_nets as nets

    class Noisy(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.rng = keras.layers.Dense(8, "relu"), keras.layers.Dense(NB_CLASSES), own

        def call(self, x, training=False):
            if training:
                x = x + tf.reshape(tf.numpy_function(lambda: drawn(self.rng), [], tf.float32), ())
            return self.last(self.first(x))

    keras.utils.set_random_seed(0)
    net = Noisy()
    net(np.zeros((1, 6), np.float32))
    return nets.wrap(net, (6,))


def made(nets, own=None):
    return (of_torch if nets.__name__.endswith("torch_nets") else of_tensorflow)(own)


class Shaken(Preprocessor):
    """A defence at fit that draws."""

    def __init__(self):
        super().__init__(is_fitted=True, apply_fit=True, apply_predict=False)

    def __call__(self, x, y=None):
        return (x + 0.1 * np.random.uniform(size=x.shape)).astype(np.float32), y


def stop(trainer, record):
    if record["epoch"] == 2:
        raise KeyboardInterrupt


def trained(nets, classifier, **options):
    resume = options.pop("resume", False)
    trainer = CLIPTrainer(classifier, lamda=0.05, nb_pairs=4, pair_interval=2, **{"seed": 0, **options})
    trainer.fit(*nets.data(n=60), batch_size=12, nb_epochs=4, resume=resume)
    return nets.weights(classifier)


@pytest.mark.parametrize("where", ["model", "defence"])
def test_it_follows_the_seed_and_a_resumed_training_ends_with_the_same_bits(nets, where, tmp_path):
    def fresh():
        return made(nets) if where == "model" else nets.classifier(preprocessing_defences=[Shaken()])

    found = []
    for start, options in ((1, {}), (2, {}), (1, {"seed": 1})):
        classifier = fresh()  # Keras draws
        np.random.seed(start)
        random.seed(start)
        before = global_random.states()
        found.append(trained(nets, classifier, **options))
        assert global_random.same(before, global_random.states())
    assert same_weights(found[0], found[1])
    assert not same_weights(found[0], found[2])
    with pytest.raises(KeyboardInterrupt):
        trained(nets, fresh(), checkpoint=tmp_path, callbacks=[stop])
    classifier = fresh()
    np.random.seed(3)
    random.seed(3)
    assert same_weights(trained(nets, classifier, checkpoint=tmp_path, resume=True), found[0])


def test_generators_of_a_models_own_are_named_where_a_checkpoint_is_written(nets, tmp_path):
    with pytest.warns(RuntimeWarning, match=r"does not hold the state of Noisy\.rng"):
        trained(nets, made(nets, np.random.default_rng(0)), checkpoint=tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the checkpoint does not hold")
        trained(nets, made(nets, np.random.default_rng(0)))
        trained(nets, made(nets), checkpoint=tmp_path / "other")


def test_states_are_put_back_and_seeded_as_by_the_generators_themselves():
    with global_random.kept():
        np.random.seed(5)
        random.seed(5)
        assert global_random.same(global_random.of_seed(5), global_random.states())
        np.random.standard_normal()  # of which a second one is kept
        random.gauss(0, 1)
        found = global_random.states()
        numbers = [np.random.standard_normal(), random.gauss(0, 1), np.random.uniform(), random.random()]
        global_random.put(found)
        assert numbers == [np.random.standard_normal(), random.gauss(0, 1), np.random.uniform(), random.random()]


def test_inside_another_one_they_go_on_as_if_nothing_had_been():
    def numbers(within):
        with global_random.seeded(3):
            first = random.random()
            if within:
                with global_random.seeded(4):
                    random.random()
            return first, random.random(), np.random.uniform()

    before = global_random.states()
    assert numbers(True) == numbers(False)
    assert global_random.same(before, global_random.states())


def test_a_generator_that_shuffles_leaves_them_as_found_and_follows_the_seed(nets):
    x, y = nets.data(n=24)

    def trained_on_batches(state, seed):
        classifier, seen = nets.classifier(), []  # Keras draws
        generator = NumpyDataGenerator(x, y, batch_size=12, shuffle=True)
        draw = generator.get_batch
        generator.get_batch = lambda: seen.append(draw()) or seen[-1]
        np.random.seed(state)
        random.seed(state)
        before = global_random.states()
        CLIPTrainer(classifier, lamda=0, seed=seed).fit_generator(generator, nb_epochs=3)
        assert global_random.same(before, global_random.states())
        return nets.weights(classifier), [batch[0].tobytes() for batch in seen]

    (weights, batches), (again, _), (other, _) = (trained_on_batches(*at) for at in ((1, 0), (2, 0), (1, 1)))
    assert same_weights(weights, again)
    assert not same_weights(weights, other)
    assert len(batches) == len(set(batches)) == 6  # each epoch in an order of its own


def test_a_model_is_not_blamed_for_what_another_thread_draws(nets):
    f, over = function_of(nets.classifier()), threading.Event()
    x = nets.data(n=4)[0]

    def draw():  # as a server in the same process, or a cluster's worker
        while not over.wait(1e-3):
            random.random()

    other = threading.Thread(target=draw)
    other.start()
    try:
        for _ in range(20):
            check(f, x)
    finally:
        over.set()
        other.join()
