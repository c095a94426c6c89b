"""What a CLIP step costs on TensorFlow: against a tight compiled plain step, and ART's own ``fit``.

Run: ``python benchmarks/step_cost_tensorflow.py``. MNIST comes from the folder that ARTCLIP_DATA names. The number of
threads can be set only once, so each runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import TensorFlowV2Classifier
from clip_step import BATCH_SIZE, SETTINGS, STEPS, clip_step
from common import interleaved, mnist, ratio, save

from artclip import CLIPTrainer

ROUNDS, NB_EPOCHS, EPOCH_ROUNDS = 41, 3, 5


def mlp(activation: str) -> TensorFlowV2Classifier:
    """784-200-80-10 on logits."""
    layers = [keras.layers.Dense(n, activation=activation) for n in (200, 80)]
    return TensorFlowV2Classifier(
        keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)]),
        10,
        (784,),
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        clip_values=(0.0, 1.0),
    )


def plain_step(activation: str, x: np.ndarray, y: np.ndarray, concrete: bool = False) -> Callable[[], None]:
    """The plain step as one tf.function; gathering the batch in numpy was faster than inside it.

    ``concrete`` calls its one trace directly, as artclip does, which few people write.
    """
    classifier = mlp(activation)
    model, optimizer, loss = classifier.model, classifier.optimizer, classifier.loss_object
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)

    @tf.function(input_signature=[tf.TensorSpec((None, 784)), tf.TensorSpec((None,), tf.int64)])
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))

    call = step.get_concrete_function() if concrete else step

    def steps() -> None:
        order = rng.permutation(len(x))[: STEPS * BATCH_SIZE]
        for i in range(STEPS):
            index = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            call(tf.convert_to_tensor(x[index]), tf.convert_to_tensor(y[index]))

    return steps


def epochs(activation: str, x: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], None]]:
    """Calls of ``fit`` that trace their steps anew, ART's and ours."""
    art, clip = mlp(activation), CLIPTrainer(mlp(activation), seed=0)
    return {
        "ART fit": lambda: art.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS),
        "CLIP fit": lambda: clip.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS),
    }


def measure(threads: int) -> list[dict[str, Any]]:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    (x, y), _ = mnist()
    results = []
    for activation in ("relu", "sigmoid"):
        functions = {
            "plain": plain_step(activation, x, y),
            "plain, concrete": plain_step(activation, x, y, concrete=True),
            "artclip λ=0": clip_step(mlp(activation), x, y, lamda=0.0),
            **{name: clip_step(mlp(activation), x, y, **options) for name, options in SETTINGS.items()},
        }
        seconds = interleaved(functions, ROUNDS)
        row: dict[str, Any] = {"threads": threads, "activation": activation}
        row["step over plain"] = {n: ratio(seconds, n, "plain") for n in functions if n != "plain"}
        row["epoch over ART fit"] = ratio(interleaved(epochs(activation, x, y), EPOCH_ROUNDS), "CLIP fit", "ART fit")
        results.append(row)
        shown = {n: round(r["median"], 2) for n, r in row["step over plain"].items()}
        ours = round(row["epoch over ART fit"]["median"], 2)
        print(threads, activation, shown, "epoch over ART fit", ours, file=sys.stderr)
    return results


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    results = []
    for threads in (1, os.cpu_count() or 1):
        run = subprocess.run([sys.executable, __file__, str(threads)], stdout=subprocess.PIPE, text=True, check=True)
        results += json.loads(run.stdout)
    settings = {
        "net": "784-200-80-10 on logits",
        "batch_size": BATCH_SIZE,
        "optimizer": "SGD 0.1, momentum 0.9",
        "steps per round": STEPS,
        "epochs per fit": NB_EPOCHS,
        "CLIP settings": SETTINGS,
    }
    save("step_cost_tensorflow", settings, results, "tensorflow", "keras")


if __name__ == "__main__":
    main()
