"""Model files of others, looked at before anything in them is used.

Weights are data; a model file may also hold code, and loading it may run that code. What follows refuses such files by
what they contain, without running any of it. It needs no framework.
"""

from __future__ import annotations

import builtins
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 32 << 30  # of an unpacked file
MOST_RATIO = 200  # weights hardly compress: a file that unpacks to more, and to more than the next line, is a bomb
_SMALL = 64 << 20


class ModelFileError(ValueError):
    """A model file that cannot be taken, with what to do about it."""


class Untrusted(ModelFileError):
    """A file that is refused unless the user trusts whoever made it."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(
            f"{path} {what}; loading it may run code of whoever made it. If you trust them, say trust=True (--trust)"
        )


def archive(path: Path) -> zipfile.ZipFile:
    """The zip archive at a path, opened, after a look at its directory alone.

    Raises:
        ModelFileError: it is none, is cut off, names a member twice, or would unpack to far more than it is.
    """
    try:
        found = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelFileError(
            f"{path} is not a whole {path.suffix} file ({error}); it may be cut off or of another kind: write or fetch "
            "it again"
        ) from error
    members = found.infolist()
    names = {member.filename.lower() for member in members}
    try:
        # Readers differ in which of two members of one name they take, so one could be shown and the other be used.
        if len(names) < len(members):
            raise ModelFileError(f"{path} holds two members of one name; it was made to deceive, and is not read")
        check_size(path, sum(m.file_size for m in members), sum(m.compress_size for m in members))
    except ModelFileError:
        found.close()
        raise
    return found


def check_size(path: Path, total: int, packed: int) -> None:
    """Refuse a file that unpacks from ``packed`` to ``total`` bytes, if that is too much to be a model.

    Raises:
        ModelFileError: it is.
    """
    if total > MOST_BYTES or (total > _SMALL and total > MOST_RATIO * max(packed, 1)):
        raise ModelFileError(
            f"{path} would unpack to {total:,} bytes from {packed:,}: a zip bomb, or no model; it was not unpacked"
        )


# Layers that hold code, or read files that they name.
_LAYERS_OF_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_LAYERS_OF_FILES = ("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization")
_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__tuple__", "__slice__", "__ellipsis__")
# Where classes and functions of a model may come from. Other parts of Keras read files, or open addresses.
_PARTS = "layers|models|initializers|regularizers|constraints|activations|losses|metrics|optimizers|ops|quantizers"
_CLASSES = re.compile(
    rf"keras(\.src)?(\.({_PARTS}|dtype_policies|random)(\.\w+)*)?\.[A-Z]\w*|"
    r"keras\.src\.applications\.convnext\.LayerScale"
)
_FUNCTIONS = re.compile(rf"builtins|keras(\.src)?\.({_PARTS})(\.\w+)*")
_MAKERS = ("get", "deserialize", "serialize")  # functions in these modules that make more than they are given


def check_keras(path: Path, registered: Callable[[str], bool] = lambda name: False) -> None:
    """Look through a ``.keras`` or ``.h5`` model for code, for what is not Keras's, and for links to other files.

    Args:
        path: of the file.
        registered: whether a name is that of a class that the user has registered with Keras.

    Raises:
        ModelFileError: it is no such file; :class:`Untrusted` where it holds code.
    """
    for item in _objects(_configuration(path)):
        _check_object(path, item, registered)


def _configuration(path: Path) -> Any:
    if path.suffix != ".keras":
        text = check_hdf5(path, path)
        if text is None:
            raise ModelFileError(
                f"{path} holds weights without a model; give package.module:factory as the model, and this file as "
                "weights"
            )
    else:
        with archive(path) as file:
            if "config.json" not in file.namelist():
                raise ModelFileError(f"{path} is no Keras model: it has no config.json; write it with model.save")
            for name in file.namelist():
                if name.endswith(".h5"):
                    with file.open(name) as weights:
                        check_hdf5(path, weights)
            text = file.read("config.json")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelFileError(
            f"{path} has a configuration that is no JSON ({error}); write it again with model.save"
        ) from error


def check_hdf5(path: Path, file: Any) -> str | bytes | None:
    """The configuration in an HDF5 file, ``None`` if it has none; links to other files and bombs are refused.

    Args:
        path: what to call it.
        file: its path, or a file that is open.

    Raises:
        ModelFileError: it is not a whole HDF5 file, or holds any of these.
    """
    import h5py

    links: list[tuple[str, Any]] = []
    try:
        with h5py.File(file, "r") as opened:
            opened.visititems_links(lambda name, link: links.append((name, link)))
            items = {name: opened[name] if isinstance(link, h5py.HardLink) else None for name, link in links}
            data = [item for item in items.values() if isinstance(item, h5py.Dataset)]
            away = [name for name, item in items.items() if item is None]
            away += [item.name for item in data if item.external or item.is_virtual]
            if away:
                raise ModelFileError(f"{path} takes {away[0]} from elsewhere; weights in other files are not read")
            check_size(path, sum(d.nbytes for d in data), sum(d.id.get_storage_size() for d in data))
            return opened.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelFileError(
            f"{path} is not a whole HDF5 file ({error}); it may be cut off or of another kind: write or fetch it again"
        ) from error


def _objects(record: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON record."""
    if isinstance(record, dict):
        yield record
    for value in record.values() if isinstance(record, dict) else record if isinstance(record, list) else ():
        yield from _objects(value)


def _check_object(path: Path, item: dict[str, Any], registered: Callable[[str], bool]) -> None:
    kind, module = item.get("class_name"), item.get("module")
    if kind is None:
        return
    if kind in (*_LAYERS_OF_CODE, "__lambda__"):
        raise Untrusted(path, f"has a {kind} layer, which holds code")
    if kind in _LAYERS_OF_FILES:
        raise Untrusted(path, f"has a {kind} layer, which may read files that it names")
    if kind == "function":
        name = str(item.get("config"))
        pythons = module == "builtins" and hasattr(builtins, name)
        known = bool(_FUNCTIONS.fullmatch(str(module))) and name not in _MAKERS and not pythons
    else:
        name = str(kind)
        known = kind in _VALUES or bool(_CLASSES.fullmatch(f"{module or 'keras'}.{name}"))
    if not known and not registered(str(item.get("registered_name"))):
        raise Untrusted(path, f"asks for {module}.{name}, which is no part of a Keras model")
