"""Which standard architectures are read, what is said of the others, and how long an upper bound takes.

Run: ``python benchmarks/architectures.py``. PyTorch nets are those of ``architectures_torch.py``, Keras nets those of
``keras.applications``, with random weights; each is looked at in a process of its own. Half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from common import save
from joblib import Parallel, delayed

import artclip
from artclip.frameworks import graph_of

GATES = "product of two activations"  # squeeze-and-excitation
# Name in keras.applications: what a refusal has to say, or None where the net has to be read.
KERAS: dict[str, str | None] = {
    **dict.fromkeys(("VGG16", "ResNet50", "ResNet50V2", "ResNet101", "DenseNet121", "InceptionV3")),
    **dict.fromkeys(("InceptionResNetV2", "Xception", "MobileNet", "MobileNetV2", "NASNetMobile", "ConvNeXtTiny")),
    **dict.fromkeys(("MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0"), GATES),
}
_IMAGES = {"MobileNetV3Small": {"input_shape": (224, 224, 3)}}  # it has no size of its own


def torch_net(name: str) -> Any:
    import torch
    from architectures_torch import ARCHITECTURES
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(0)
    make, shape, _ = ARCHITECTURES[name]
    net = make().eval()
    nb_classes = net(torch.zeros(2, *shape)).shape[1]
    return PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), shape, nb_classes, clip_values=(0.0, 1.0))


def keras_net(name: str) -> Any:
    import keras
    from art.estimators.classification import TensorFlowV2Classifier

    keras.utils.set_random_seed(0)
    net = getattr(keras.applications, name)(**_IMAGES.get(name, {}), weights=None, classifier_activation=None)
    return TensorFlowV2Classifier(net, 1000, net.input_shape[1:], clip_values=(0.0, 1.0))


MAKERS = {"torch": torch_net, "keras": keras_net}


def looked_at(framework: str, name: str, max_seconds: float) -> dict[str, Any]:
    """Seconds to read and to bound, and the most memory of the process, with its framework."""
    warnings.simplefilter("ignore")
    estimator = MAKERS[framework](name)
    estimator.predict(np.zeros((1, *estimator.input_shape), np.float32))  # what the framework sets up
    start = time.perf_counter()
    try:
        graph = graph_of(estimator)
    except (TypeError, ValueError) as error:
        return {"refused": str(error), "seconds to read": round(time.perf_counter() - start, 2)}
    read = time.perf_counter() - start
    found = artclip.lipschitz_upper_bound(estimator, method="product", max_seconds=max_seconds)
    return {
        "seconds to read": round(read, 2),
        "nodes": len(graph.nodes),
        "upper bound by the product": found.value,
        "seconds of the bound": round(found.seconds, 2),
        "left out": [note.partition(":")[0][:60] for note in found.notes],
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def names(framework: str) -> dict[str, str | None]:
    """Names, and what a refusal of each has to say."""
    if framework == "keras":
        return KERAS
    from architectures_torch import ARCHITECTURES

    return {name: refusal for name, (_, _, refusal) in ARCHITECTURES.items()}


def as_expected(result: dict[str, Any], refusal: str | None) -> bool:
    """Whether a net is read that has to be, and the others are refused for the right reason."""
    said = result.get("refused")
    return said is None if refusal is None else said is not None and refusal in said


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-seconds", type=float, default=60.0, help="of each upper bound")
    parser.add_argument("--jobs", type=int, default=2, help="nets that are looked at side by side")
    parser.add_argument("--one", nargs=2, metavar=("FRAMEWORK", "NAME"), help="print this one, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(looked_at(*arguments.one, arguments.max_seconds)))
        return 0
    jobs = [(framework, name) for framework in MAKERS for name in names(framework)]

    def in_a_process(framework: str, name: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--max-seconds", str(arguments.max_seconds), "--one", framework, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        row = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"died": done.stderr[-300:]}
        print(framework, name, row, flush=True)
        return row

    found = Parallel(arguments.jobs, prefer="threads")(delayed(in_a_process)(*job) for job in jobs)
    results: dict[str, dict[str, Any]] = {framework: {} for framework in MAKERS}
    for (framework, name), row in zip(jobs, found, strict=True):
        results[framework][name] = row
    wrong = [
        f"{framework} {name}"
        for framework, rows in results.items()
        for name, refusal in names(framework).items()
        if "died" in rows[name] or not as_expected(rows[name], refusal)
    ]
    read = {framework: sum("nodes" in row for row in rows.values()) for framework, rows in results.items()}
    counts = {framework: len(rows) for framework, rows in results.items()}
    summary = {"nets": counts, "read": read, "not as they should be": wrong}
    settings = {"max_seconds": arguments.max_seconds, "threads": 1, "jobs": arguments.jobs}
    save("architectures", settings, {**summary, **results}, "torch", "tensorflow", "keras")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
