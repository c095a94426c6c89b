"""Programs of ``torch.export``: looked through, copied without what they do not need, and read.

Reading such a file evaluates strings in it as Python: sizes, guards, names in the code that is generated, and pickles.
So each string must have the form that its place asks for, and only the copy that was looked at is read.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from artclip.frameworks.loaded import LoadedModel
from artclip.frameworks.pytorch.programs import Program, for_any_batch, loosened
from artclip.frameworks.replaced import replaced
from artclip.safety import ModelFileError, Untrusted, archive

# Members of an archive, by today's layout and the one before it. Compiled code and other objects are not among them.
_GRAPHS = re.compile(r"(.+/)?models/\w+\.json|serialized_exported_program\.json")
_CONFIGS = re.compile(r"(.+/)?data/(weights|constants)/\w+\.json")
_PICKLES = re.compile(r"(.+/)?data/(weights|constants|sample_inputs)/\w+\.pt|serialized_\w+\.pt")
_BYTES = re.compile(
    r"(.+/)?(data/(weights/weight|constants/tensor)_\d+|archive_format|archive_version|byteorder|version|\.data/\w+)"
)
_EXTRAS = re.compile(r"(.+/)?extra(_files)?/.*")  # files that the maker added; not copied

_WORD = re.compile(r"\w*")
_PATH = re.compile(r"[\w./\- ]*")  # of a weight, in the module that was exported
_FIELDS = {
    **dict.fromkeys(("name", "as_name", "type", "verifiers", "forward_arg_names"), _WORD),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"), _PATH),
    "path_name": re.compile(r"(weight|tensor)_\d+"),
    "torch_version": re.compile(r"[\w.+]*"),
    "as_float": re.compile(r"-?Infinity|NaN"),
    **dict.fromkeys(("as_string", "as_strings"), re.compile(r".*", re.DOTALL)),  # kept as strings
}
# Notes, and checks of inputs that are evaluated; a program runs without them.
_LEFT_OUT: dict[str, Any] = {"metadata": {}, "treespec_namedtuple_fields": {}, "guards_code": []}

_ON_SIZES = re.compile(
    r"_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|ge|gt|le|lt|and_|or_|lshift|rshift)|"
    r"math\.(ceil|floor|trunc|sqrt)|torch\.sym_\w+|"
    r"torch\.ops\.higher_order\.(cond|wrap_with_autocast|wrap_with_set_grad_enabled)"
)
# Strings that an operator on tensors may take; none of them names a file.
_CHOICES = frozenset(
    (
        *("padding", "approximate", "mode", "pad_mode", "reduce", "rounding_mode", "equation", "norm", "indexing"),
        *("UPLO", "driver", "interpolation", "side", "padding_side", "ord", "p", "assert_msg", "activation"),
    )
)
_SYMBOL = r"Symbol\('\w+'(, \w+=(True|False))*\)"
_FUNCTIONS = (
    "Add|Mul|Integer|Rational|Float|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|FloatTrueDiv|Where|"
    "ModularIndexing|ToFloat|CeilToInt|FloorToInt|TruncToInt|RoundToInt|Identity|And|Or|Not|Eq|Ne|Gt|Ge|"
    "Lt|Le|Equality|Unequality|StrictGreaterThan|GreaterThan|StrictLessThan|LessThan"
)
_ARITHMETIC = re.compile(
    rf"({_SYMBOL}|\b({_FUNCTIONS}|True|False|[suz]\w?\w?\d+|\d+(\.\d*)?)\b|\*\*[234]\b(?!\s*\*\*)|\*(?!\*)|[\s+\-/%<>=!&|(),])*"
)
_CONTAINERS = ("builtins.tuple", "builtins.list", "builtins.dict", None)  # others import what they name
_KEYS = re.compile(r'null|\[("\w+"(, ?)?)*\]')

# Operators that have a train mode -> the position of the argument that says so.
_TRAIN_FLAGS = {"aten.dropout": 2, "aten.batch_norm": 5}


def load(path: str, trust: bool) -> LoadedModel:
    """A program of ``torch.export.save``, and the shape of one of its inputs."""
    source: Any = path if trust else checked(Path(path))
    with replaced([logging.getLogger("torch.export")], "disabled", lambda _: True):  # it logs before it raises
        program = torch.export.load(source)
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    if len(names) != 1 or not isinstance(values.get(names[0]), torch.Tensor):
        raise ModelFileError(f"{path} takes {len(names)} inputs; export a module whose forward takes images alone")
    image = values[names[0]]
    if not image.dtype.is_floating_point or image.ndim < 2:
        raise ModelFileError(
            f"{path} takes inputs of {image.dtype}, shape {tuple(image.shape)}; export it for a batch of float images"
        )
    if any(_is_training(node) for node in program.graph.nodes):
        warnings.warn(f"{path} was exported in train mode, so its dropout draws; export model.eval()", stacklevel=2)
    size, exact = _most(program, image.shape[0]), isinstance(image.shape[0], int)
    shape = tuple(n if isinstance(n, int) else 0 for n in image.shape[1:])
    model = Program(program.module(), size, exact, image.dtype)
    if exact and size is not None:
        model = for_any_batch(model, lambda: loosened(program, size), shape)
    if model.size is not None and model.exact:
        warnings.warn(
            f"{path} takes batches of {size} alone, so it runs in slices of that; exported with "
            "dynamic_shapes=({0: torch.export.Dim('n')},) it is faster",
            stacklevel=2,
        )
    return LoadedModel(model, shape)


def _most(program: Any, batch: Any) -> int | None:
    if isinstance(batch, int):
        return batch
    upper: Any = getattr(program.range_constraints.get(batch.node.expr), "upper", None)
    return int(upper) if getattr(upper, "is_Integer", False) else None


def _is_training(node: Any) -> bool:
    position = _TRAIN_FLAGS.get(str(node.target).partition(".default")[0])
    return position is not None and len(node.args) > position and node.args[position] is True


def checked(path: Path) -> io.BytesIO:
    """A copy of an archive of ``torch.export`` without its notes, if it holds tensors and operators on them alone.

    Raises:
        ModelFileError: it is no such archive; :class:`~artclip.safety.Untrusted` where it holds more than that.
    """
    copy = io.BytesIO()
    with archive(path) as file, zipfile.ZipFile(copy, "w") as written:
        if not any(_GRAPHS.fullmatch(name) for name in file.namelist()):
            raise ModelFileError(
                f"{path} is no program of torch.export; write it with torch.export.save(program, FILE)"
            )
        for name in file.namelist():
            if not _EXTRAS.fullmatch(name):
                written.writestr(name, _checked_member(path, name, file.read(name)))
    copy.seek(0)
    return copy


def _checked_member(path: Path, name: str, data: bytes) -> bytes:
    if _GRAPHS.fullmatch(name) or _CONFIGS.fullmatch(name):
        return json.dumps(_checked_record(path, json.loads(data), "")).encode()
    if _PICKLES.fullmatch(name):
        try:
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # of whatever kind the bytes provoke
            raise Untrusted(path, f"holds pickled objects that are no tensors ({name})") from error
    elif not _BYTES.fullmatch(name):
        raise Untrusted(path, f"holds {name}, which is no part of a program on tensors")
    return data


def _checked_record(path: Path, record: Any, key: str) -> Any:
    """The record without what is left out, if each string in it has the form that its key asks for."""
    if isinstance(record, list):
        return [_checked_record(path, value, key) for value in record]
    if isinstance(record, dict):
        return {name: _checked_field(path, value, name) for name, value in record.items()}
    if key == "use_pickle" and record:
        raise Untrusted(path, "holds pickled weights")
    if isinstance(record, str) and not _is_known(key, record):
        raise Untrusted(path, f"has {record[:80]!r} as {key}, which is not known to be harmless")
    return record


def _checked_field(path: Path, value: Any, key: str) -> Any:
    if key in _LEFT_OUT:
        return _LEFT_OUT[key]
    if not _PATH.fullmatch(key):
        raise Untrusted(path, f"has a field {key[:80]!r}, which is not known to be harmless")
    return _checked_record(path, value, key)


def _is_known(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        return _ON_SIZES.fullmatch(text) is not None or _is_on_tensors(text)
    if key == "expr_str":
        return _ARITHMETIC.fullmatch(text) is not None
    if key in ("in_spec", "out_spec"):
        return _is_plain_tree(json.loads(text)[1])
    return key in _FIELDS and _FIELDS[key].fullmatch(text) is not None


def _is_on_tensors(target: str) -> bool:
    found = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    try:
        operator = getattr(getattr(torch.ops.aten, found[1]), found[2]) if found else None
        arguments = operator._schema.arguments if operator else None
    except AttributeError:
        return False
    return arguments is not None and all(a.name in _CHOICES for a in arguments if "str" in str(a.type))


def _is_plain_tree(tree: Any) -> bool:
    """Whether a structure of inputs or outputs is made of tuples, lists and dicts."""
    context, parts = tree["context"], tree["children_spec"]
    known = context is None or _KEYS.fullmatch(context) is not None
    return known and tree["type"] in _CONTAINERS and all(_is_plain_tree(part) for part in parts)
