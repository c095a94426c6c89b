"""Model files of others, looked at before anything in them is used.

Weights are data; a model file may also hold code, and loading it may run that code. What follows refuses such files by
what they contain, without running any of it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 32 << 30  # of an unpacked archive
_MOST_RATIO, _SMALL = 200, 64 << 20  # weights hardly compress: more than this, beyond a small size, is a bomb

# What a graph of torch.export may call: tensor operators that touch no file, and arithmetic on sizes.
_OPERATORS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|torch\.ops\.aten\.(?!from_file)\w+|torch\.sym_\w+|"
    r"_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|ge|gt|le|lt|and_|or_|not_)|"
    r"math\.(ceil|floor|trunc|sqrt)"
)
# What its expressions of sizes may name.
_NAMES = frozenset(
    (
        *("Symbol", "positive", "nonnegative", "integer", "True", "False"),
        *("Max", "Min", "Mod", "FloorDiv", "CeilDiv", "CleanDiv", "PythonMod"),
        *("ModularIndexing", "Eq", "Ne", "Gt", "Ge", "Lt", "Le", "And"),
        *("Or", "Not", "Integer", "Rational", "Pow", "Add", "Mul", "Where", "TruncToInt"),
        *("CeilToInt", "FloorToInt", "ToFloat", "L", "args", "kwargs", "size"),
        *("stride", "and", "or", "not"),
    )
)
_EXPRESSION = re.compile(r"[\w\s+\-*/%<>=!&|(),.\[\]']*")


class Untrusted(ValueError):
    """A file that is refused unless the user trusts whoever made it."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(
            f"{path} {what}; loading it may run code of whoever made it. If you trust them, say trust=True (--trust)"
        )


def archive(path: Path) -> zipfile.ZipFile:
    """The zip archive at a path, opened.

    Raises:
        ValueError: it is none, is cut off, or would unpack to far more than it is.
    """
    try:
        found = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is not a whole {path.suffix} file: {error}") from error
    members = found.infolist()
    total, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if total > MOST_BYTES or (total > _SMALL and total > _MOST_RATIO * max(packed, 1)):
        found.close()
        raise ValueError(
            f"{path} would unpack to {total:,} bytes from {packed:,}: a zip bomb, or no model; it was not unpacked"
        )
    return found


def check_exported(path: Path, safe_pickle: Any) -> None:
    """Look through a ``torch.export`` archive for anything but tensors, tensor operators and sizes.

    Args:
        path: of the file.
        safe_pickle: raises an exception for bytes that pickle more than tensors.

    Raises:
        ValueError: it is no such archive; :class:`Untrusted` where it holds more than that.
    """
    with archive(path) as file:
        names = file.namelist()
        graphs = [name for name in names if "/models/" in name and name.endswith(".json")]
        if not graphs:
            raise ValueError(f"{path} is no file of torch.export.save: it has no models/*.json")
        for name in names:
            if "aotinductor" in name or name.endswith((".so", ".py", ".cpp")):
                raise Untrusted(path, f"holds compiled or source code ({name})")
            if name.endswith(".json"):
                _check_graph(path, json.loads(file.read(name)))
            elif name.endswith((".pt", ".pkl")) or file.read(name)[:2] in (
                b"PK",
                b"\x80\x02",
                b"\x80\x04",
                b"\x80\x05",
            ):
                try:
                    safe_pickle(file.read(name))
                except Exception as error:
                    raise Untrusted(path, f"holds pickled objects that are no tensors ({name})") from error


def _check_graph(path: Path, record: Any) -> None:
    for key, value in _strings(record):
        if key == "target" and not _OPERATORS.fullmatch(value):
            raise Untrusted(path, f"calls {value!r}, which is no tensor operator")
        if key in ("expr_str", "guards_code") and not _is_arithmetic(value):
            raise Untrusted(path, f"has the expression {value!r}, which is more than arithmetic on sizes")


def _strings(record: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings in a JSON record, each with the key it is under."""
    if isinstance(record, str):
        yield key, record
    elif isinstance(record, dict):
        for name, value in record.items():
            yield from _strings(value, name)
    elif isinstance(record, list):
        for value in record:
            yield from _strings(value, key)


def _is_arithmetic(expression: str) -> bool:
    names = re.findall(r"[A-Za-z_]\w*", re.sub(r"'\w*'", "", expression))
    known = all(name in _NAMES or re.fullmatch(r"[su]\d+", name) for name in names)
    return known and "__" not in expression and _EXPRESSION.fullmatch(expression) is not None


def check_keras(path: Path) -> None:
    """Look through the configuration of a ``.keras`` or ``.h5`` model for code and for modules that are not Keras's.

    Raises:
        ValueError: it is no such file; :class:`Untrusted` where it holds code.
    """
    if path.suffix == ".keras":
        with archive(path) as file:
            if "config.json" not in file.namelist():
                raise ValueError(f"{path} is no Keras model: it has no config.json")
            config = file.read("config.json").decode()
    else:
        config = _hdf5_config(path)
    try:
        record = json.loads(config)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a configuration that is no JSON: {error}") from error
    for layer in _objects(record):
        kind, module = layer.get("class_name"), layer.get("module")
        if kind in ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"):
            raise Untrusted(path, f"has a {kind} layer, which holds code")
        if isinstance(module, str) and module.split(".")[0] not in ("keras", "builtins"):
            raise Untrusted(path, f"asks for {module}.{kind}, which is not Keras's")


def _hdf5_config(path: Path) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ValueError(f"{path} is not a whole HDF5 file: {error}") from error
    if config is None:
        raise ValueError(
            f"{path} holds weights without a model; give package.module:factory as the model, and this file as weights"
        )
    return config.decode() if isinstance(config, bytes) else str(config)


def _objects(record: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON record."""
    if isinstance(record, dict):
        yield record
    for value in record.values() if isinstance(record, dict) else record if isinstance(record, list) else ():
        yield from _objects(value)
