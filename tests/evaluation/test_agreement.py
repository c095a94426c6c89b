"""A model says one thing: of a sample alone as in a batch, and by ``predict`` as where its gradients come from."""

import numpy as np
import pytest

from artclip import certified_radius, evaluate
from artclip.evaluation import masking
from artclip.evaluation.agreement import by_batch
from tests import nets as registries

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 0.8, (40, 4)).astype(np.float32)
W = RNG.standard_normal((4, 3)).astype(np.float32)
Y = (X @ W).argmax(1)
OPTIONS = {"eps": 0.05, "attacks": ["fgsm"], "seed": 0, "verbose": False, "lipschitz": False}
SIGN = "outputs depend on the batch"


def torch_classifier(change):
    import torch
    from art.estimators.classification import PyTorchClassifier

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 3, bias=False)
            self.linear.weight.data = torch.from_numpy(W.T.copy())

        def forward(self, x):
            z = self.linear(x)
            return z - z.mean(0, keepdim=True) if change == "mean" else z + x.shape[0] if change == "size" else z

    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(Net(), loss, (4,), 3, clip_values=(0, 1), device_type="cpu")


def tensorflow_classifier(change):
    import keras
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.factor = keras.layers.Dense(3, use_bias=False), 1.0

        def call(self, x, training=False):
            z = self.dense(x)
            if change == "mean":
                return z - tf.reduce_mean(z, 0, keepdims=True)
            return z + tf.cast(tf.shape(x)[0], z.dtype) if change == "size" else z * self.factor

    model = Net()
    model(X[:1])
    model.dense.set_weights([W])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorFlowV2Classifier(model, 3, (4,), loss_object=loss, clip_values=(0, 1))


@pytest.fixture(params=registries.FRAMEWORKS)
def make(request):
    return {"torch": torch_classifier, "tensorflow": tensorflow_classifier}[request.param]


@pytest.mark.parametrize("change", ["mean", "size"])
def test_outputs_that_depend_on_the_batch_are_a_sign(make, change, monkeypatch):
    monkeypatch.setattr(masking, "MASKING_WARNINGS", (masking.outputs_by_batch,))  # the others attack
    for batch_size in (None, 1):
        found = evaluate(make(change), X[:6], Y[:6], batch_size=batch_size, **OPTIONS)
        assert SIGN in [w.name for w in found.warnings]
        assert found.doubtful
        note = f"batch_size={found.settings['batch_size']}"
        assert any("depend on the other samples" in line and note in line for line in found.notes())
        assert batch_size is None or found.settings["batch_size"] == 1


def test_a_sample_has_its_own_outputs_in_an_honest_model(make):
    found = evaluate(make(""), X, Y, **OPTIONS)
    assert SIGN not in [w.name for w in found.warnings]
    assert not any("other samples of the batch" in line for line in found.notes())


def test_rounding_is_no_dependence():
    """Sums of another order, in float32 and in halves, are not taken for another function; other numbers are."""

    class Rounded:
        def __init__(self, unit):
            self.unit = unit

        def predict(self, x):
            z = x.astype(np.float64) @ W
            return z * (1 + self.unit * np.sin(len(x)))

    for unit, told in ((1e-6, False), (2e-3, False), (0.1, True)):
        f = Rounded(unit)
        assert (by_batch(f, X, f.predict(X), f.predict(X[:1])) > 0) is told


def test_batchnorm_without_running_averages_is_named():
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8, track_running_stats=False), torch.nn.Linear(8, 3)
    model = torch.nn.Sequential(*layers)
    classifier = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), (4,), 3, clip_values=(0, 1), device_type="cpu")
    for ask in (lambda: evaluate(classifier, X, Y, **OPTIONS), lambda: certified_radius(classifier, X, Y)):
        with pytest.raises(ValueError, match=r"^the model has BatchNorm without running averages .*layer 1:"):
            ask()
    bare = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 4)), torch.nn.BatchNorm1d(1, track_running_stats=False))
    wide = PyTorchClassifier(  # a batch of one has four numbers a channel
        torch.nn.Sequential(bare, torch.nn.Flatten(), torch.nn.Linear(4, 3)),
        torch.nn.CrossEntropyLoss(),
        (4,),
        3,
        clip_values=(0, 1),
        device_type="cpu",
    )
    assert SIGN in [w.name for w in evaluate(wide, X[:9], Y[:9], **OPTIONS).warnings]


@pytest.mark.skipif("tensorflow" not in registries.FRAMEWORKS, reason="needs TensorFlow")
def test_a_predict_that_was_compiled_earlier_is_refused():
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = tensorflow_classifier("")
    before = evaluate(classifier, X, Y, **OPTIONS)
    assert before.per_sample["clean"].all()
    classifier.model.factor = -1.0
    if (classifier.predict(X).argmax(1) == Y).all():  # what ART compiled is kept
        with pytest.raises(ValueError, match=r"predict of this TensorFlowV2Classifier and its model give outputs"):
            evaluate(classifier, X, Y, **OPTIONS)
    again = TensorFlowV2Classifier(classifier.model, 3, (4,), loss_object=classifier.loss_object, clip_values=(0, 1))
    found = evaluate(again, X, Y, **OPTIONS)
    assert found.per_sample["clean"].mean() == (again.predict(X).argmax(1) == Y).mean() < 0.5


def test_noise_and_budgets_that_hardly_move_the_inputs_are_said():
    nets = registries.default
    few = 255 * X
    for clip_values, norm, eps, noise, told in (
        ((0, 255), 2, 0.5, "noise", 2),
        ((0, 255), 2, 50.0, "noise:sigma=25", 0),
        ((0, 255), np.inf, 1.0, "noise:sigma=25", 0),
        ((0, 255), np.inf, 0.1, "noise:sigma=25", 1),
    ):
        classifier = nets.linear_classifier(W.T, clip_values=clip_values)
        options = {**OPTIONS, "attacks": [noise, "fgsm"], "norm": norm, "eps": eps, "masking": False}
        lines = [line for line in evaluate(classifier, few, Y, **options).notes() if "hardly moves them" in line]
        assert len(lines) == told
    classifier = nets.linear_classifier(W.T, clip_values=(0, 255))
    lines = evaluate(classifier, few, Y, **{**OPTIONS, "attacks": ["noise"], "masking": False}).notes()
    assert any("noise 0.5 is 0.002 of the range" in line and "noise:sigma=127.5" in line for line in lines)
    assert not any("eps=" in line and "hardly" in line for line in lines)
