"""Bad input: an error that says what was wrong, and a model that is as it was."""

import numpy as np
import pytest
from art.estimators.classification.scikitlearn import ScikitlearnLogisticRegression
from sklearn.linear_model import LogisticRegression

from artclip import CLIPTrainer, WeightRegularizationTrainer
from tests.nets import default as nets

X, Y = nets.data(n=20)


def broken(x, value, at=(3, 2)):
    x = x.copy()
    x[at] = value
    return x


FIT = {
    "nan": ({"x": broken(X, np.nan)}, ValueError, "x has NaN or infinite values, first in sample 3"),
    "inf": ({"x": broken(X, np.inf)}, ValueError, "first in sample 3"),
    "lengths": ({"y": Y[:-1]}, ValueError, "x has 20 samples, but y has 19 labels"),
    "empty": ({"x": X[:0], "y": Y[:0]}, ValueError, "x is empty"),
    "label too high": ({"y": np.where(Y == 0, 3, Y)}, ValueError, "label 3, but the classifier has classes 0 to 2"),
    "label negative": ({"y": Y - 1}, ValueError, "label -1"),
    "label fractional": ({"y": Y * 0.5}, ValueError, "fractional"),
    "one-hot width": ({"y": np.eye(4)[Y]}, ValueError, "y has shape"),
    "negative probability": ({"y": -np.eye(3)[Y]}, ValueError, "negative class probabilities"),
    "label nan": ({"y": np.where(Y == 0, np.nan, Y)}, ValueError, "y has NaN"),
    "rank": ({"x": X[:, None]}, ValueError, r"x has shape \(20, 1, 6\).*\(n, 6\)"),
    "scalar": ({"x": np.float32(1)}, ValueError, r"is a single number; give an array of shape \(n, 6\)"),
    "strings": ({"x": X.astype(str)}, TypeError, "x has dtype"),
    "objects": ({"x": X.astype(object)}, TypeError, "x has dtype object"),
    "string labels": ({"y": Y.astype(str)}, TypeError, "y has dtype"),
    "batch size 0": ({"batch_size": 0}, ValueError, "batch_size=0"),
    "batch size float": ({"batch_size": 1.5}, ValueError, "batch_size=1.5"),
    "epochs": ({"nb_epochs": -1}, ValueError, "nb_epochs=-1"),
    "scheduler": ({"scheduler": 3}, TypeError, r"scheduler is an int, without a step\(\)"),
    "unknown": ({"batchsize": 3}, TypeError, "unknown argument 'batchsize'"),
    "validation": ({"validation_data": (X, Y[:3])}, ValueError, "validation x has 20 samples, but validation y has 3"),
    "validation of three": (
        {"validation_data": (X, Y, Y)},
        ValueError,
        r"validation_data is a tuple of 3; give a pair \(x, y\); weights of samples",
    ),
    "validation number": ({"validation_data": 5}, ValueError, r"validation_data is an int; give a pair \(x, y\)$"),
    "one label": ({"y": Y[:1]}, ValueError, "x has 20 samples, but y has 1 label; give one for each"),
    "label scalar": ({"y": 3}, ValueError, "x has 20 samples, but y is a single number, 3; give one for each"),
    "verbose": ({"verbose": "yes"}, TypeError, "verbose='yes' must be True or False"),
    "drop_last": ({"drop_last": 0.5}, TypeError, "drop_last=0.5 must be True or False"),
    "resume": ({"resume": [True]}, TypeError, r"resume=\[True\] must be True or False"),
    "interval": ({"scheduler_interval": np.zeros(3)}, ValueError, "scheduler_interval=array.* use one of 'epoch'"),
    "gradients": ({"max_grad_norm": True}, ValueError, "max_grad_norm=True must be a finite number > 0"),
    "epochs text": ({"nb_epochs": "3"}, ValueError, "nb_epochs='3' must be an integer"),
    "validation nan": ({"validation_data": (broken(X, np.nan), Y)}, ValueError, "validation x has NaN"),
}


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
def test_clip_values_of_other_units_are_a_likely_mistake(make, recwarn):
    """Of inputs of 0 to 255, and data in [0, 1]."""
    fit = {"nb_epochs": 1, "batch_size": 10}
    words = "likely mistake: data fill .* of a range of 255; give the clip_values of the data"
    with pytest.warns(RuntimeWarning, match=words):
        make(nets.classifier(clip_values=(0.0, 255.0)), lamda=0.1).fit(X, Y, **fit)
    make(nets.classifier(clip_values=(0.0, 20.0)), lamda=0.1).fit(X, Y, **fit)
    assert not [w for w in recwarn if "likely mistake" in str(w.message)]


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
@pytest.mark.parametrize(("kwargs", "error", "message"), FIT.values(), ids=FIT.keys())
def test_bad_data_is_refused_and_the_model_untouched(make, kwargs, error, message):
    classifier = nets.classifier()
    trainer, before = make(classifier), nets.weights(classifier)
    arguments = {"x": X, "y": Y, **kwargs}
    with pytest.raises(error, match=message):
        trainer.fit(**arguments)
    assert nets.same_weights(before, nets.weights(classifier))
    assert trainer.history == []


OPTIONS = {
    "lamda": ({"lamda": -1}, "lamda=-1"),
    "lamda nan": ({"lamda": float("nan")}, "lamda=nan"),
    "lamda text": ({"lamda": "much"}, "lamda='much'"),
    "target 0": ({"target_accuracy": 0}, "target_accuracy=0"),
    "target in percent": ({"target_accuracy": 95}, r"target_accuracy=95 must lie in \(0, 1\]"),
    "increment": ({"target_accuracy": 0.9, "lamda_increment": -0.1}, "lamda_increment=-0.1"),
    "warmup": ({"warmup_epochs": -1}, "warmup_epochs=-1"),
    "norm": ({"norm": 3}, "norm=3 is not a norm"),
    "output norm": ({"output_norm": "fro"}, "output_norm='fro'"),
    "init": ({"pair_init": "nearby"}, "pair_init='nearby' is not known; use one of 'near'"),
    "domain": ({"domain": "box"}, "domain='box'"),
    "penalty": ({"penalty": "cubic"}, "penalty='cubic'"),
    "reduction": ({"reduction": "sum"}, "reduction='sum'"),
    "pairs": ({"nb_pairs": 0}, "nb_pairs=0"),
    "interval": ({"pair_interval": 0}, "pair_interval=0"),
    "steps": ({"pair_steps": -1}, "pair_steps=-1"),
    "separation": ({"separation": 0.0}, "separation=0.0"),
    "seed": ({"seed": -3}, "seed=-3"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=OPTIONS.keys())
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CLIPTrainer(nets.classifier(), **options)


TYPES = {
    "restore_best": ("yes", "restore_best='yes' must be True or False"),
    "verbose": (2, "verbose=2 must be True or False"),
    "checkpoint": (5, "checkpoint=5 is an int; give the name of a folder, as checkpoint='run'"),
    "callbacks": (5, r"callbacks=5 must be a list of functions of \(trainer, record\)"),
}


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
@pytest.mark.parametrize("name", TYPES)
def test_arguments_of_a_wrong_type_are_refused(make, name):
    value, message = TYPES[name]
    with pytest.raises(TypeError, match=message):
        make(nets.classifier(), **{name: value})


@pytest.mark.parametrize("callbacks", [print, [print, 3], "print", {"show": print}, None])
def test_callbacks_that_are_no_functions_are_refused(callbacks):
    with pytest.raises(TypeError, match=r"callbacks=.* must be a list of functions .* as callbacks=\[show\]"):
        CLIPTrainer(nets.classifier(), callbacks=callbacks)


def test_numbers_of_numpy_and_ones_are_taken():
    trainer = CLIPTrainer(
        nets.classifier(), np.float32(0.1), warmup_epochs=np.int64(0), verbose=0, restore_best=np.True_
    )
    trainer.fit(X, Y, batch_size=np.int64(10), nb_epochs=np.int32(1), drop_last=1, max_grad_norm=np.float32(1))
    assert len(trainer.history) == 1


def test_bad_kind_of_weight_regularisation():
    with pytest.raises(ValueError, match="kind='l1'"):
        WeightRegularizationTrainer(nets.classifier(), kind="l1")


def test_separation_below_rounding_is_refused_before_training():
    classifier = nets.classifier()
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match="rounding"):
        CLIPTrainer(classifier, separation=1e-9).fit(X, Y)
    assert nets.same_weights(before, nets.weights(classifier))


@pytest.mark.parametrize("thing", [None, "classifier", 3, object(), lambda x: x])
def test_things_that_are_no_classifier(thing):
    with pytest.raises(TypeError, match=r"expected an ART (PyTorchClassifier|TensorFlowV2Classifier)"):
        CLIPTrainer(thing)


def test_an_art_estimator_of_another_kind_is_named():
    model = ScikitlearnLogisticRegression(LogisticRegression().fit(X, Y))
    with pytest.raises(TypeError, match="ScikitlearnLogisticRegression"):
        CLIPTrainer(model)


def test_a_regressor_has_no_target_accuracy():
    with pytest.raises(ValueError, match="a regressor has no accuracy"):
        CLIPTrainer(nets.regressor(), target_accuracy=0.9)


def test_regression_targets_of_another_width_are_refused_untouched():
    regressor = nets.regressor(outputs=1)
    before = nets.weights(regressor)
    x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    with pytest.raises(ValueError, match="target"):
        CLIPTrainer(regressor).fit(x, np.zeros((8, 2), np.float32))
    assert nets.same_weights(before, nets.weights(regressor))
