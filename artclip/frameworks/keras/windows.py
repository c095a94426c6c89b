"""Keras's pools, pads, crops and resizing as nodes of the graph of layers: a matrix along each axis, or windows."""

from __future__ import annotations

import math

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.calls import Call, rule
from artclip.frameworks.keras.convolutions import window
from artclip.frameworks.keras.nodes import MOST, Tensor, flat

_POOL = "pool_size strides padding data_format"


def _axes(call: Call) -> range:
    """The spatial axes of the input."""
    rank = len(call.x.shape)
    return range(1, rank) if call["data_format"] == "channels_first" else range(rank - 1)


def _sizes(call: Call) -> list[int]:
    """The input's spatial shape."""
    return [call.x.shape[a] for a in _axes(call)]


# Pools


def _places(call: Call) -> list[np.ndarray]:
    """For each spatial axis the entries of each window, (windows, entries), -1 where there is none."""
    sizes = _sizes(call)
    pool = G.each(call["pool_size"], len(sizes))
    around, windows = window(call, sizes, pool), []
    for n, k, s, (before, after) in zip(sizes, pool, around["stride"], around["padding"], strict=True):
        first = np.arange((n + before + after - k) // s + 1)[:, None] * s - before
        at = first + np.arange(k)
        windows.append(np.where((at >= 0) & (at < n), at, -1))
    return windows


def _maximum(call: Call, places: list[np.ndarray]) -> Tensor:
    x = call.image()
    operation = G.Maximum(G.windows(x.spatial, places), math.prod(x.held[:1]))
    return call.put(operation, (x,), x.image(x.held[0], [len(p) for p in places]), x.first)


def _average(call: Call, places: list[np.ndarray]) -> Tensor:
    matrices = {}
    for axis, at in zip(_axes(call), places, strict=True):
        matrix = np.zeros((len(at), call.x.shape[axis]))
        rows, columns = np.nonzero(at >= 0)  # TensorFlow divides by the number of entries that are there
        matrix[rows, at[rows, columns]] = 1 / (at >= 0).sum(1)[rows]
        matrices[axis] = matrix
    return call.along(matrices)


@rule("layers.MaxPooling1D layers.MaxPooling2D layers.MaxPooling3D ops.MaxPool", _POOL)
def _max_pool(call: Call) -> Tensor:
    return _maximum(call, _places(call))


@rule("layers.AveragePooling1D layers.AveragePooling2D layers.AveragePooling3D ops.AveragePool", _POOL)
def _average_pool(call: Call) -> Tensor:
    places = _places(call)
    if max(len(at) * n for at, n in zip(places, _sizes(call), strict=True)) <= MOST:
        return _average(call, places)
    x, sizes = call.image(), G.each(call["pool_size"], len(places))  # long series: a matrix would be large
    kernel, channels = np.full((x.held[0], 1, *sizes), 1 / math.prod(sizes)), x.held[0]
    shape = x.image(channels, [len(at) for at in places])
    operation = G.Convolution(kernel, x.spatial, **window(call, x.spatial, sizes), groups=channels)
    y = call.put(operation, (x,), shape, x.first)
    if all((at >= 0).all() for at in places):
        return y
    there = np.ones(1)
    for at in places:
        there = np.multiply.outer(there, (at >= 0).mean(1))
    return call.put(G.Scale(np.tile(1 / there.ravel(), channels)), (y,), what="border")


@rule(
    "layers.AdaptiveAveragePooling1D layers.AdaptiveAveragePooling2D layers.AdaptiveAveragePooling3D "
    "ops.AdaptiveAveragePool",
    "output_size data_format",
)
def _adaptive_average(call: Call) -> Tensor:
    return _checked(call, call.along(_matrices(call)))


@rule(
    "layers.AdaptiveMaxPooling1D layers.AdaptiveMaxPooling2D layers.AdaptiveMaxPooling3D ops.AdaptiveMaxPool",
    "output_size data_format",
)
def _adaptive_maximum(call: Call) -> Tensor:
    """The largest entry of a window is 1 for an image that is 1 at one of its entries, else 0."""
    places = []
    for matrix in _matrices(call).values():
        inside = matrix > 0.5
        rows = np.argsort(~inside, axis=1, kind="stable")[:, : inside.sum(1).max()]
        places.append(np.where(np.take_along_axis(inside, rows, axis=1), rows, -1))
    return _checked(call, _maximum(call, places))


# What the layer itself does along an axis


def _run(call: Call, images: np.ndarray) -> np.ndarray:
    """The layer's outputs, in float64, for images (n, *spatial, channels), both with their channels last."""
    first = call["data_format"] == "channels_first"
    images = np.moveaxis(images, -1, 1) if first else images
    outputs = keras.ops.convert_to_numpy(call.op.call(keras.ops.convert_to_tensor(images, call.dtype)))
    return (np.moveaxis(outputs, 1, -1) if first else outputs).astype(np.float64)


def _matrices(call: Call, thin: bool = False) -> dict[int, np.ndarray]:
    """What the layer does along each spatial axis, by its outputs for images that are 1 at one entry of the axis.

    Args:
        thin: whether one entry along the other axes will do.
    """
    matrices, sizes = {}, _sizes(call)
    for i, (axis, n) in enumerate(zip(_axes(call), sizes, strict=True)):
        others = [1 if thin else m for m in sizes]
        if n * math.prod(others) * (n if thin else 1) > 4 * MOST:
            raise call.unknown(f"{type(call.op).__name__!r} of an image as large as {tuple(sizes)}")
        one = np.eye(n).reshape([n, *(n if a == i else 1 for a in range(len(sizes))), 1])
        outputs = _run(call, np.broadcast_to(one, [n, *others[:i], n, *others[i + 1 :], 1]))[..., 0]
        outputs = np.moveaxis(outputs, i + 1, -1)
        matrices[axis] = outputs.reshape(n, -1, outputs.shape[-1])[:, 0].T
    return matrices


def _checked(call: Call, y: Tensor) -> Tensor:
    """The nodes from the input to a tensor, tried on random images: they should do what the layer does."""
    images = np.random.default_rng(0).standard_normal((2, *_sizes(call), 1))
    channels = call.x.size // images[0].size
    chain = [y.place]
    while chain[-1] != call.x.place:
        chain.extend(call.net.nodes[chain[-1]].parents)

    def held(images: np.ndarray, like: Tensor) -> np.ndarray:
        images = np.repeat(images, channels, axis=-1)
        images = np.moveaxis(images, -1, 1) if call["data_format"] == "channels_first" else images
        return np.stack([flat(image, like.first) for image in images])

    given = held(images, call.x)
    for place in reversed(chain[:-1]):
        given = call.net.nodes[place].operation.apply(given)
    if not np.allclose(given, held(_run(call, images), y), rtol=1e-4, atol=1e-4):
        raise call.unknown(f"{type(call.op).__name__!r} of an image of shape {tuple(call.x.shape)}")
    return y


def _resized(call: Call) -> Tensor:
    call.net.dtypes.add("float32")  # TensorFlow resizes in float32, whatever it is given
    return _checked(call, call.along(_matrices(call, thin=True)))


@rule("layers.UpSampling1D", "size")
@rule("layers.UpSampling2D", "size data_format interpolation")
@rule("layers.UpSampling3D", "size data_format")
def _upsampling(call: Call) -> Tensor:
    sizes = _sizes(call)
    factors = G.each(call["size"], len(sizes))
    if call["interpolation"] not in (None, "nearest"):
        return _resized(call)
    if any(n * n * f > MOST for n, f in zip(sizes, factors, strict=True)):
        index = call.x.index
        for axis, factor in zip(_axes(call), factors, strict=True):
            index = np.repeat(index, factor, axis)
        return call.net.picked(call.name, call.x, index, call.x.first)
    matrices = {a: np.repeat(np.eye(n), f, 0) for a, n, f in zip(_axes(call), sizes, factors, strict=True) if f > 1}
    return call.along(matrices) if matrices else call.x


_RESIZE = "interpolation antialias crop_to_aspect_ratio pad_to_aspect_ratio fill_mode fill_value data_format"


@rule("layers.Resizing", f"height width {_RESIZE}")
@rule("ops.Resize", f"size {_RESIZE}")
def _resize(call: Call) -> Tensor:
    if call["crop_to_aspect_ratio"] or call["pad_to_aspect_ratio"]:
        raise call.unknown(f"{type(call.op).__name__!r} that keeps the aspect ratio")
    if len(call.x.shape) != 3:
        raise call.refused("it joins samples of a batch: images need the shape (samples, height, width, channels)")
    return _resized(call)


# Pads and crops


def padded(call: Call, widths: dict[int, tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Entries before and after some axes.

    Args:
        widths: (before, after) by axis.
        mode: as NumPy's.
        value: of new entries, for ``"constant"``.
    """
    x = call.x
    all_widths = [widths.get(a, (0, 0)) for a in range(len(x.shape))]
    options = {"constant_values": -1} if mode == "constant" else {}
    shift: np.ndarray | float = 0.0
    if value:
        shift = np.pad(np.zeros(x.shape), all_widths, constant_values=value)
    if any(x.shape[a] * (x.shape[a] + sum(w)) > MOST for a, w in widths.items()):
        return call.net.picked(call.name, x, np.pad(x.index, all_widths, mode=mode, **options), x.first, shift)  # type: ignore[call-overload]
    matrices = {}
    for axis, around in widths.items():
        if any(around):
            index = np.pad(np.arange(x.shape[axis]), around, mode=mode, **options)  # type: ignore[call-overload]
            matrices[axis] = (index[:, None] == np.arange(x.shape[axis])).astype(float)
    return call.along(matrices, shift) if matrices else x


@rule("layers.ZeroPadding1D layers.ZeroPadding2D layers.ZeroPadding3D", "padding data_format")
def _zero_padding(call: Call) -> Tensor:
    axes = _axes(call)
    pairs = np.reshape(call["padding"], (len(axes), 2)).tolist()
    return padded(call, {a: (int(p[0]), int(p[1])) for a, p in zip(axes, pairs, strict=True)})


@rule("ops.Pad", "pad_width mode constant_values")
def _pad(call: Call) -> Tensor:
    widths = [(int(w[0]), int(w[-1])) for w in call["pad_width"]]
    widths = widths * (len(call.x.shape) + 1) if len(widths) == 1 else widths
    if any(widths[0]):
        raise call.refused("it pads the axis of the samples")
    mode, value = str(call["mode"]).lower(), call["constant_values"]
    if mode not in ("constant", "reflect", "symmetric"):
        raise call.unknown(f"'Pad' with mode {call['mode']!r}")
    number = call.array(0.0 if value is None else value, "its constants")
    if number.ndim:
        raise call.unknown(f"'Pad' with constant_values of shape {number.shape}")
    return padded(call, dict(enumerate(widths[1:])), mode, float(number))


@rule("layers.Cropping1D", "cropping")
@rule("layers.Cropping2D layers.Cropping3D", "cropping data_format")
def _cropping(call: Call) -> Tensor:
    axes, matrices, index = _axes(call), {}, call.x.index
    pairs = np.reshape(call["cropping"], (len(axes), 2)).tolist()
    for axis, (before, after) in zip(axes, pairs, strict=True):
        n = call.x.shape[axis]
        index = np.take(index, range(before, n - after), axis)
        if before or after:
            matrices[axis] = (n - before - after, n, before)
    if any(m * n > MOST for m, n, _ in matrices.values()):
        return call.net.picked(call.name, call.x, index, call.x.first)
    return call.along({a: np.eye(m, n, k) for a, (m, n, k) in matrices.items()}) if matrices else call.x
