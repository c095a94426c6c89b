"""What `save` writes, `load_model` gives back, on every framework."""

import json

import numpy as np
import pytest

import artclip
from artclip import CLIPTrainer, load_model, save
from artclip.frameworks import function_of, trainable_of
from artclip.safety import Untrusted
from tests.nets import FRAMEWORKS, NAMES
from tests.nets import default as default_nets
from tests.nets import of as nets_of
from tests.nets.common import NB_CLASSES, same_weights

BATCHES = (1, 2, 7, 60)


@pytest.mark.parametrize("net", NAMES)
def test_predictions_are_those_of_the_model_that_was_saved(nets, net, tmp_path):
    if net == "hidden-dropout" and not nets.EXPORTS_OWN_LAYERS:
        pytest.skip("a layer of one's own has to be registered with Keras")
    classifier = nets.classifier(net, preprocessing=(0.25, 2.0))
    x, y = nets.data(net)
    CLIPTrainer(classifier, seed=0).fit(x, y, nb_epochs=1)
    assert save(classifier, tmp_path / "m") == tmp_path / "m"
    loaded = load_model(tmp_path / "m")
    for size in BATCHES:
        np.testing.assert_allclose(loaded.predict(x[:size]), classifier.predict(x[:size]), rtol=1e-5, atol=1e-6)
    assert loaded.input_shape == classifier.input_shape
    assert loaded.nb_classes == NB_CLASSES
    assert [float(np.min(v)) for v in loaded.clip_values] == [0.0, 1.0]
    assert type(loaded) is type(classifier)


def test_weights_of_an_architecture_by_its_function(nets, tmp_path, monkeypatch):
    classifier = nets.classifier("batchnorm")
    x, y = nets.data("batchnorm")
    trainer = CLIPTrainer(classifier, seed=7)
    trainer.fit(x, y, nb_epochs=2)
    save(trainer, tmp_path, architecture=f"{nets.__name__}:bare_batchnorm")
    with pytest.raises(Untrusted, match="trust=True"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, trust=True)
    assert same_weights(nets.weights(loaded), nets.weights(classifier), atol=0)
    np.testing.assert_array_equal(loaded.predict(x), classifier.predict(x))
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["history"] == trainer.history
    assert (record["seed"], record["lamda"]) == (7, trainer.lamda)
    assert record["versions"]["artclip"] == artclip.__version__


def test_clip_values_and_scaling_by_channel_come_back(nets, tmp_path):
    shape = nets.NETS["cnn"][0]
    low, high = np.zeros(shape, np.float32), np.linspace(1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    classifier = nets.classifier("cnn", clip_values=(low, high))
    save(classifier, tmp_path)
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(np.broadcast_to(loaded.clip_values[1], shape), high)
    bound = artclip.lipschitz_lower_bound(loaded, nets.data("cnn")[0], seed=0, nb_restarts=4, max_iter=10)
    assert bound.value > 0


# What a user may give as mean for inputs of two channels -> whether it needs its channels first (True), last or neither
MEANS = {
    "number": (0.3, None),
    "tuple": ((0.3, 0.6), None),
    "list": ([0.3, 0.6], None),
    "vector": (np.array([0.3, 0.6]), None),
    "first": (np.array([0.3, 0.6]).reshape(2, 1, 1), True),
    "batch first": (np.array([0.3, 0.6]).reshape(1, 2, 1, 1), True),
    "last": (np.array([0.3, 0.6]).reshape(1, 1, 2), False),
    "batch last": (np.array([0.3, 0.6]).reshape(1, 1, 1, 2), False),
    "input": ("shape", None),
}


@pytest.mark.parametrize("mean", MEANS)
def test_mean_and_std_of_any_shape_come_back(nets, mean, tmp_path):
    shape, rng = nets.NETS["batchnorm"][0], np.random.default_rng(0)
    given, first = MEANS[mean]
    if first is not None and first != (shape[0] == 2):
        pytest.skip("for channels at the other end")
    given = rng.random(shape) if mean == "input" else given
    std = np.asarray(given) + 0.5
    classifier = nets.classifier("batchnorm", preprocessing=(given, std))
    x = nets.data("batchnorm")[0][:9]
    factory = f"{nets.__name__}:bare_batchnorm"
    save(classifier, tmp_path, architecture=factory)
    loaded = load_model(tmp_path, trust=True)
    np.testing.assert_allclose(loaded.predict(x), classifier.predict(x), rtol=1e-5, atol=1e-6)
    weights = tmp_path / json.loads((tmp_path / "training.json").read_text())["file"]
    direct = load_model(factory, weights=weights, input_shape=shape, preprocessing=[given, std])
    np.testing.assert_allclose(direct.predict(x), classifier.predict(x), rtol=1e-5, atol=1e-6)
    f = function_of(loaded)  # as all of artclip sees it
    found = f.to_numpy([f.forward(f.tensor(x))]).reshape(len(x), -1)
    np.testing.assert_allclose(found, classifier.predict(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": ([0.1, 0.2, 0.3], [1, 1, 1])}, r"mean has shape \(3,\), which does not fit inputs of shape"),
        ({"preprocessing": (0.5, 0.0)}, r"std=0\.0 must be > 0"),
        ({"preprocessing": 0.5}, "must be a pair"),
        ({"preprocessing": (0.5, "1/255")}, "neither a number nor"),
        ({"clip_values": (1.0, 0.0)}, "low < high"),
        ({"clip_values": (np.zeros(5), np.ones(5))}, "clip_values has shape"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_model(f"{default_nets.__name__}:bare_batchnorm", input_shape=default_nets.NETS["batchnorm"][0], **options)


def one_logit(framework, loss):
    """A classifier of two classes with one output, and what its loss is called."""
    if framework == "torch":
        import torch
        from art.estimators.classification import PyTorchClassifier

        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 1), *([torch.nn.Sigmoid()] if loss == "BCELoss" else []))
        return PyTorchClassifier(net, getattr(torch.nn, loss)(), (6,), 2, clip_values=(0, 1), device_type="cpu")
    import keras
    from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier

    logits = loss == "logits"
    net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, activation=None if logits else "sigmoid")])
    if loss == "compiled":
        net.compile("sgd", "binary_crossentropy")
        return KerasClassifier(net, clip_values=(0, 1))
    entropy = keras.losses.BinaryCrossentropy(from_logits=logits)
    return TensorFlowV2Classifier(net, 2, (6,), loss_object=entropy, clip_values=(0, 1))


@pytest.mark.parametrize(
    ("framework", "loss"),
    [
        *(("torch", loss) for loss in ("BCEWithLogitsLoss", "BCELoss")),
        *(("tensorflow", loss) for loss in ("logits", "probability", "compiled")),
    ],
)
def test_one_output_is_saved_with_its_loss(framework, loss, tmp_path):
    if framework not in FRAMEWORKS:
        pytest.skip(f"{framework} is not installed")
    classifier, x = one_logit(framework, loss), nets_of(framework).data()[0]
    save(classifier, tmp_path)
    loaded = load_model(tmp_path)
    np.testing.assert_allclose(loaded.predict(x), classifier.predict(x), rtol=1e-5, atol=1e-6)
    assert type(loaded) is type(classifier)
    assert loaded.nb_classes == 2
    found, given = (trainable_of(c).described()["loss"] for c in (loaded, classifier))
    assert found == given


def test_a_keras_classifier_and_its_loss_come_back(tmp_path):
    keras = pytest.importorskip("keras")
    from art.estimators.classification import KerasClassifier

    net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    net.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1))
    classifier = KerasClassifier(net, use_logits=True, clip_values=(0, 1), preprocessing=(0.5, 0.25))
    x, y = nets_of("tensorflow").data()
    save(classifier, tmp_path)
    loaded = load_model(tmp_path)
    assert (type(loaded), loaded.use_logits) == (KerasClassifier, True)
    np.testing.assert_allclose(loaded.predict(x), classifier.predict(x), rtol=1e-5, atol=1e-6)
    labels = np.eye(3, dtype=np.float32)[y]
    np.testing.assert_allclose(loaded.loss_gradient(x, labels), classifier.loss_gradient(x, labels), rtol=1e-4)
    with pytest.raises(ValueError, match="has no optimizer"):
        CLIPTrainer(loaded)


def test_losses_of_ones_own_are_not_kept_and_those_of_pytorch_are(tmp_path):
    torch = pytest.importorskip("torch")
    classifier = nets_of("torch").classifier("batchnorm")
    weight = torch.tensor([1.0, 2.0, 3.0])
    for loss, expected in (
        (torch.nn.CrossEntropyLoss(weight, label_smoothing=0.1), {"label_smoothing": 0.1, "weight": [1.0, 2.0, 3.0]}),
        (torch.nn.MultiMarginLoss(p=2), {"p": 2}),
        (torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), {"pos_weight": 3.0}),
        (lambda z, y: z.sum(), {"label_smoothing": 0.0}),  # cross-entropy
    ):
        classifier._loss = loss
        save(classifier, tmp_path, architecture="tests.nets.torch_nets:bare_batchnorm")
        found = trainable_of(load_model(tmp_path, trust=True)).described()["loss"]
        assert found.items() >= expected.items()


def test_defences_are_refused_by_name(nets, tmp_path):
    from art.defences.postprocessor import ReverseSigmoid
    from art.defences.preprocessor import FeatureSqueezing

    squeezed = nets.classifier(preprocessing_defences=FeatureSqueezing((0, 1), apply_fit=False))
    with pytest.raises(ValueError, match=r"defences of preprocessing \(FeatureSqueezing\)"):
        save(squeezed, tmp_path)
    with pytest.raises(ValueError, match=r"postprocessing \(ReverseSigmoid\).*set_params\(postprocessing_defences"):
        save(nets.classifier(postprocessing_defences=ReverseSigmoid()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_model_gets_the_new_one_whole(nets, tmp_path, monkeypatch):
    first, second = (nets.classifier("batchnorm", seed=s, clip_values=(0.0, 1.0 + s)) for s in (0, 1))
    x, factory = nets.data("batchnorm")[0], f"{nets.__name__}:bare_batchnorm"
    save(first, tmp_path, factory)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save(second, tmp_path, factory)
    np.testing.assert_array_equal(load_model(tmp_path, trust=True).predict(x), first.predict(x))
    save(second, tmp_path, factory)
    loaded = load_model(tmp_path, trust=True)
    np.testing.assert_array_equal(loaded.predict(x), second.predict(x))
    assert float(np.max(loaded.clip_values[1])) == 2.0
    with pytest.raises(ValueError, match="holds the clip_values, mean and std"):
        load_model(tmp_path, clip_values=(0, 255), trust=True)


def test_what_cannot_be_saved_is_said(nets, tmp_path):
    with pytest.raises(TypeError, match="regressor"):
        save(nets.regressor(), tmp_path)
    with pytest.raises(TypeError, match="expected an ART"):
        save(object(), tmp_path)
    with pytest.raises(ValueError, match=r"architecture='mlp' is not of the form package\.module:factory"):
        save(nets.classifier(), tmp_path, architecture="mlp")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        save(nets.classifier(), tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../etc/passwd"}, "is not whole"),
        ({"architecture": "os:abort"}, "the function os:abort makes; loading it may run code"),
        ({"nb_classes": 9}, r"nb_classes is 9, but the model gives 3 outputs"),
        ({"input_shape": None}, "is not whole"),
        ({"loss": {"class": "Module", "settings": {}}}, "is no loss of"),
        ({"loss": {"class": 3}}, "is no loss of"),
    ],
)
def test_a_record_that_was_tampered_with_is_refused(change, message, tmp_path):
    save(default_nets.classifier(), tmp_path)
    path = tmp_path / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_what_predict_does_and_the_model_does_not_is_refused(nets, tmp_path):
    """A predict of the user's own, and what ART leaves out of a Sequential."""
    classifier = nets.classifier("mlp")
    x, y = nets.data("mlp")
    own = type(classifier).predict
    classifier.predict = lambda x, **more: -own(classifier, x, **more)
    for ask in (
        lambda: save(classifier, tmp_path / "a"),
        lambda: artclip.evaluate(classifier, x, y, attacks="quick", verbose=False),
        lambda: artclip.lipschitz_upper_bound(classifier),
    ):
        with pytest.raises(ValueError, match=r"predict of this .* is not ART's"):
            ask()
    assert not list(tmp_path.iterdir())


def test_what_art_leaves_out_of_a_sequential_is_refused(tmp_path):
    """Its predict runs the parts alone, and a file would hold the whole."""
    torch = pytest.importorskip("torch")
    classifier = nets_of("torch").classifier("mlp")
    assert isinstance(classifier.model, torch.nn.Sequential)
    hook = classifier.model.register_forward_hook(lambda module, inputs, outputs: -outputs)
    with pytest.raises(ValueError, match="leaves out its hooks"):
        save(classifier, tmp_path / "a")
    hook.remove()
    classifier.model.forward = lambda x: -torch.nn.Sequential.forward(classifier.model, x)
    with pytest.raises(ValueError, match="leaves out its own forward"):
        save(classifier, tmp_path / "a")
