"""One random net: bounded soundly, or refused by name."""

from dataclasses import dataclass

import numpy as np

from artclip import lipschitz_upper_bound
from artclip.graph.equivalence import Disagreement
from tests.fuzz.steepness import steepest

NORMS = (1, 2, np.inf)
ROOM = 1e-6  # relative, for the rounding of float64 in pairs that are close


@dataclass(frozen=True)
class Outcome:
    """What became of a net: ``"bounded"``, ``"refused"``, ``"misread"`` where layers were read that are not what it
    computes, ``"unsound"`` or ``"crashed"``, and what there is to say."""

    kind: str
    said: str
    ratio: float = 0.0  # of the steepest pair over the bound


def torch_case(seed):
    """Name, estimator, f and its pullback in float64, the input shape, and how f rounds."""
    import torch
    from art.estimators.regression import PyTorchRegressor

    from tests.fuzz import torch_vocabulary

    net, shape = torch_vocabulary.net(seed)
    rng = np.random.default_rng(seed + 1)
    mean, std = (float(rng.uniform(-1, 1)), float(rng.uniform(0.3, 2))) if seed % 3 == 0 else (0.0, 1.0)
    box = (0.0, (1.0, 255.0)[seed % 2]) if seed % 4 else None
    net = net.double() if seed % 2 else net.float()
    estimator = PyTorchRegressor(
        net, torch.nn.MSELoss(), shape, optimizer=None, clip_values=box, preprocessing=(mean, std), device_type="cpu"
    )
    double = torch_vocabulary.net(seed)[0]
    double.load_state_dict(net.state_dict())
    double = double.double()

    def outputs(t):
        return double((t - mean) / std).reshape(len(t), -1)

    def f(x):
        with torch.no_grad():
            return outputs(torch.from_numpy(x.copy())).numpy()

    def pull(x, cotangents):
        t = torch.from_numpy(x.copy()).requires_grad_(True)
        try:
            (gradient,) = torch.autograd.grad(outputs(t * 1.0), t, torch.from_numpy(cotangents), allow_unused=True)
        except RuntimeError:  # values that the gradient needs were overwritten in place
            gradient = None
        return np.zeros_like(x) if gradient is None else gradient.numpy()

    return str(net), estimator, f, pull, shape, 1e-14


def keras_case(seed):
    """The same of a Keras net; f is that of the net itself, which computes in float64."""
    import keras
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    from tests.fuzz import keras_vocabulary

    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64"), keras.config.set_dtype_policy("float64")
    try:
        net, shape = keras_vocabulary.net(seed)
    finally:
        keras.config.set_floatx(before[0]), keras.config.set_dtype_policy(before[1])
    rng = np.random.default_rng(seed + 1)
    mean, std = (float(rng.uniform(-1, 1)), float(rng.uniform(0.3, 2))) if seed % 3 == 0 else (0.0, 1.0)
    box = (0.0, (1.0, 255.0)[seed % 2]) if seed % 4 else None
    loss, width = keras.losses.MeanSquaredError(), net.output_shape[-1]
    estimator = TensorFlowV2Classifier(
        net, max(2, width), shape, loss_object=loss, clip_values=box, preprocessing=(mean, std)
    )

    @tf.function
    def outputs(t):
        return net((t - mean) / std, training=False)

    @tf.function
    def pulled(t, cotangents):
        with tf.GradientTape() as tape:
            tape.watch(t)
            y = net((t - mean) / std, training=False)
        return tape.gradient(y, t, cotangents, unconnected_gradients="zero")

    def f(x):
        return outputs(tf.constant(x)).numpy()

    def pull(x, cotangents):
        return pulled(tf.constant(x), tf.constant(cotangents)).numpy()

    name = " > ".join(f"{type(o).__name__}{_arguments(o)}" for o in net.operations)
    resized = any(getattr(o, "interpolation", "nearest") != "nearest" for o in net.operations)
    return name, estimator, f, pull, shape, 1e-6 if resized else 1e-14  # TensorFlow resizes in float32


def _arguments(operation):
    hidden = ("name", "dtype", "trainable", "module", "registered_name", "build_config")
    try:
        config = operation.get_config().items()
    except NotImplementedError:
        config = vars(operation).items()
    kept = {k: v for k, v in config if k not in hidden and isinstance(v, (int, float, str, tuple, list))}
    return {k: v for k, v in kept.items() if not k.startswith("_")}


def run(case, seed, points=8, rounds=2):
    """What becomes of the net of a seed; ``case`` is :func:`torch_case` or one like it."""
    name, estimator, f, pull, shape, rounding = case(seed)
    rng = np.random.default_rng(seed + 2)
    p, q = (NORMS[i] for i in rng.integers(0, 3, 2))
    method = ("auto", "product", "eclipse", "lipsdp")[rng.integers(4)]
    told = f"seed {seed}, L{p} to L{q}, {method}: {name}"
    try:
        bound = lipschitz_upper_bound(estimator, p, q, method, max_iter=20)
    except Disagreement as error:
        return Outcome("misread", f"{told}: {error}")
    except ValueError as error:
        return Outcome("refused", f"{error}")
    except Exception as error:  # any other is a crash
        return Outcome("crashed", f"{told}: {type(error).__name__}: {error}")
    seen = steepest(f, pull, shape, p, q, rng, points, rounds, rounding)
    ratio = seen / bound.value if bound.value > 0 else (0.0 if seen < 1e-9 else np.inf)
    if seen > bound.value * (1 + ROOM + 1000 * rounding) + 1e-9:
        return Outcome("unsound", f"{told}: a pair shows {seen:.6g}, the bound is {bound.value:.6g}", ratio)
    return Outcome("bounded", told, ratio)
