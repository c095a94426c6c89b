"""Sets that scikit-learn fetches from OpenML."""

from __future__ import annotations

import numpy as np

Split = tuple[np.ndarray, np.ndarray]

# Name -> what asks for it there, shape of an image, number of training images, which come first.
_SETS: dict[str, tuple[dict[str, object], tuple[int, ...], int]] = {
    "mnist": ({"name": "mnist_784", "version": 1}, (28, 28), 60_000),
    "fashion-mnist": ({"name": "Fashion-MNIST", "version": 1}, (28, 28), 60_000),
    "cifar-10": ({"data_id": 40927}, (3, 32, 32), 50_000),
}
NAMES = tuple(_SETS)


def fetch(name: str) -> tuple[Split, Split]:
    """Images, unsigned bytes of shape (n, 28, 28) or (n, 3, 32, 32), and class indices of the two parts.

    Raises:
        FileNotFoundError: they cannot be fetched.
        ValueError: what came is of another shape.
    """
    from sklearn.datasets import fetch_openml

    asked, shape, nb_train = _SETS[name]
    try:
        bunch = fetch_openml(**asked, as_frame=False, parser="liac-arff")
    except OSError as error:
        what = (
            "cifar-10/ or an archive of it, as cifar-10.zip"
            if name == "cifar-10"
            else f"{name}/ with its four IDX files"
        )
        raise FileNotFoundError(
            f"{name} could not be fetched from OpenML ({error}); set ARTCLIP_DATA to a folder that holds {what}"
        ) from error
    data = np.asarray(bunch.data)
    if data.shape != (nb_train + 10_000, int(np.prod(shape))):
        raise ValueError(f"{name} came from OpenML with the shape {data.shape}, which is not that of this set")
    x, y = data.astype(np.uint8).reshape(-1, *shape), np.asarray(bunch.target).astype(np.int64)
    return (x[:nb_train], y[:nb_train]), (x[nb_train:], y[nb_train:])
