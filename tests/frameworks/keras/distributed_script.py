"""Trainings that are the same under no strategy and under one of two CPUs, for test_distributed."""

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import KerasClassifier

from artclip import CLIPTrainer
from tests.frameworks import several
from tests.nets import tensorflow_nets as nets


def strategy():
    """Of two workers where TF_CONFIG names them, otherwise of two virtual CPUs of this process."""
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


CASES = {
    **{name: several.CASES[name] for name in ("default", "bracket", "batchnorm")},
    "keras": ("mlp", lambda c: CLIPTrainer(c, lamda=0.05, pair_init="near", pair_interval=1, ema_decay=0.9, seed=0)),
}


def trained(name, scope, folder=None):
    """History and weights; with a folder after an interruption, from a checkpoint."""
    net, make = CASES[name]
    with scope:
        classifier = nets.classifier(net, lr=0.3)
        if name == "keras":
            classifier.model.compile(classifier.optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            classifier = KerasClassifier(classifier.model, use_logits=True, clip_values=(0.0, 1.0))
    trainer = make(classifier)
    x, y = nets.data(net, n=97)  # with a last batch of one sample more, or of a single one beside 24
    options = {"validation_data": (x[:31], y[:31]), "batch_size": 16 if net != "batchnorm" else 24}
    if folder:
        first = make(classifier)
        first.checkpoint = trainer.checkpoint = Path(folder)
        first.fit(x, y, **options, nb_epochs=2)
        nets.scale_weights(classifier, 2)
        trainer.fit(x, y, **options, nb_epochs=4, resume=True)
    else:
        trainer.fit(x, y, **options, nb_epochs=4)
    return trainer.history, np.concatenate([w.ravel() for w in nets.weights(classifier).values()]).tolist()


def main(path, folder=""):
    both = strategy()
    found = {}
    if "TF_CONFIG" in os.environ:
        found = trained("default", both.scope(), folder)
    else:
        for name in CASES:
            alone = trained(name, nullcontext()) if name != "batchnorm" else None
            found[name] = alone, trained(name, both.scope())
        with tempfile.TemporaryDirectory() as folder:
            found["resumed"] = trained("keras", both.scope(), folder), found["keras"][1]
    with open(path, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
