"""What a Keras classifier is made of, as JSON can say it: layers, loss and optimizer."""

from __future__ import annotations

from typing import Any

import keras

from artclip.frameworks.keras import layers
from artclip.hashing.digests import plain

# Of a layer: its name, and how its first weights and random numbers are drawn, of which a checkpoint has the state.
_NOT_SETTINGS = ("name", "seed", "build_config")
_LOSSES = "keras.src.losses.losses"


def described(model: Any, loss: Any, optimizer: Any) -> dict[str, Any]:
    """What decides how a model trains, besides its weights. Classes of the user's own may change their names."""
    leaves = [layer for layer in layers.layers_of(model) if not layer._layers and _is_keras(layer)]
    return {
        "layers": [_layer(layer) for layer in leaves if not isinstance(layer, keras.layers.InputLayer)],
        "loss": _loss(loss),
        "optimizer_settings": None if optimizer is None else _settings(optimizer),
    }


def _is_keras(part: Any) -> bool:
    return str(getattr(part, "__module__", "")).startswith("keras.")


def _layer(layer: Any) -> dict[str, Any]:
    return {"class": type(layer).__name__, **_settings(layer)}


def _settings(part: Any) -> dict[str, Any]:
    try:
        config = part.get_config()
    except Exception:  # a class of the user's own may have none
        config = {}
    left_out = [k for k in config if k in _NOT_SETTINGS or k.endswith("_initializer")]
    return {k: plain(v) for k, v in config.items() if k not in left_out}


def _loss(loss: Any) -> Any:
    own = _named(loss)
    if isinstance(own, keras.losses.Loss):
        return {**({"class": type(own).__name__} if _is_keras(own) else {}), **_settings(own)}
    return own.__name__ if callable(own) and _is_keras(own) and hasattr(own, "__name__") else plain(own)


def _named(loss: Any) -> Any:
    return keras.losses.get(loss) if isinstance(loss, str) else loss


def kept_loss(loss: Any) -> dict[str, Any] | None:
    """A loss of Keras's own as a record from which :func:`loss_of` makes it again; ``None`` for any other."""
    own = _named(loss)
    name = type(own).__name__ if isinstance(own, keras.losses.Loss) else getattr(own, "__name__", "")
    if own is None or vars(keras.losses).get(name) not in (own, type(own)):
        return None
    config = own.get_config() if isinstance(own, keras.losses.Loss) else {}
    settings = {k: v for k, v in config.items() if k != "name"}
    return {"class": name, "settings": settings} if _is_flat(settings) else None


def _is_flat(settings: dict[str, Any]) -> bool:
    return all(value is None or isinstance(value, (bool, int, float, str)) for value in settings.values())


def loss_of(record: dict[str, Any]) -> Any:
    """The loss that a record names.

    Raises:
        ValueError: it names none, or settings that it does not have.
    """
    try:
        kind, settings = vars(keras.losses)[record["class"]], record["settings"]
        if kind.__module__ == _LOSSES and kind.__name__ == record["class"] and _is_flat(settings):
            return kind(**settings) if isinstance(kind, type) else kind
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{record!r} is no loss of Keras's own")
