"""What a function, a class or an object computes, as one hash: code, closures, what it names, what it holds."""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import importlib
import logging
import types
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from artclip.hashing.objects import NotHashable, is_installed, version, visit_object

_DEPTH = 80  # of things within things
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, slice)
_SKIPPED = frozenset(  # of a class: what Python adds by itself, and what computes nothing
    (
        *("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__annotate__", "__abstractmethods__"),
        *("_abc_impl", "__firstlineno__", "__static_attributes__", "__slots__", "__parameters__", "__orig_bases__"),
        *("__annotations_cache__", "__annotate_func__", "__match_args__", "__dataclass_params__", "__qualname__"),
        "__dataclass_fields__",
    )
)
_RANDOM = {"random", "secrets", "uuid"}  # modules whose numbers no seed of a comparison sets


def content_digest(*things: Any) -> str:
    """SHA-256 of everything that functions, classes and objects compute with, so far as Python shows it.

    A function counts by its code, defaults, closure and the globals that it names; a ``functools.partial`` by its
    arguments too; a bound method by its object; an object by its class and what it holds. What is installed counts by
    its code and version, what the user wrote by all that it refers to.

    Args:
        things: whatever is to be told apart.

    Raises:
        NotHashable: something in it shows nothing of what it holds (a lock, a file, a connection, a compiled program),
            draws random numbers that have no seed, or lies too deep.
    """
    walk = _Walk()
    try:
        walk.visit(tuple(things), 0)
    except RecursionError:
        why = "it is nested too deeply"
    except NotHashable as error:
        why = str(error)
    except Exception as error:  # properties and reductions of strangers raise whatever they like
        why = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        return walk.total.hexdigest()
    raise NotHashable(f"{'.'.join(walk.path)}: {why}" if walk.path else why)


class _Walk:
    """Goes through a thing once; what it meets again it names by its place."""

    def __init__(self) -> None:
        self.total = hashlib.sha256()
        self.path: list[str] = []  # names on the way to what is visited
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no number of _seen is given to another object

    def put(self, *texts: Any) -> None:
        for text in texts:
            raw = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
            self.total.update(len(raw).to_bytes(8, "little") + raw)

    def name(self, name: str, visit: Callable[..., None], *arguments: Any) -> None:
        """Visit what stands under a name."""
        self.put(name)
        self.path.append(name)
        visit(*arguments)
        self.path.pop()

    def visit(self, x: Any, depth: int) -> None:
        if depth > _DEPTH:
            raise NotHashable("it is nested too deeply")
        if type(x) in _PLAIN:
            self.put(type(x).__name__, repr(x))
        elif isinstance(x, types.CodeType):
            self._code(x, depth)
        elif type(x) in (tuple, frozenset):
            self.container(x, depth)
        elif isinstance(x, (np.ndarray, np.generic)) or _is_tensor(x):
            self.array(x, depth)
        elif id(x) in self._seen:
            self.put("again", self._seen[id(x)])
        else:
            self._seen[id(x)] = len(self._seen)
            self._alive.append(x)
            self._once(x, depth)

    def _once(self, x: Any, depth: int) -> None:
        if isinstance(x, types.FunctionType):
            self._function(x, depth)
        elif isinstance(x, types.MethodType):
            self.put("method")
            self.each((x.__func__, x.__self__), depth)
        elif isinstance(x, functools.partial):
            self.put("partial", type(x).__qualname__)
            self.each((x.func, x.args, x.keywords), depth)
        elif isinstance(x, (types.BuiltinFunctionType, types.MethodWrapperType)):
            owner = getattr(x, "__self__", None)
            self.put("builtin", getattr(x, "__module__", ""), x.__qualname__, version(getattr(x, "__module__", "")))
            if owner is not None and not isinstance(owner, (types.ModuleType, type)):
                self.visit(owner, depth + 1)
        elif isinstance(x, type):
            self._class(x, depth)
        elif isinstance(x, types.ModuleType):
            self._module(x, frozenset(name for name in vars(x) if not name.startswith("__")), depth)
        elif isinstance(x, (staticmethod, classmethod)):
            self.put(type(x).__name__)
            self.visit(x.__func__, depth + 1)
        elif isinstance(x, property):
            self.put("property")
            self.each((x.fget, x.fset), depth)
        elif isinstance(x, (np.ufunc, logging.Logger)):
            self.put(type(x).__name__, getattr(x, "__name__", "") or getattr(x, "name", ""))
        elif isinstance(x, enum.Enum):
            self.put("enum", x.name)
            self.each((type(x), x.value), depth)
        elif isinstance(x, types.CellType):
            try:
                self.each((x.cell_contents,), depth)
            except ValueError:
                self.put("not filled yet")
        elif isinstance(x, types.MappingProxyType):
            self.container(dict(x), depth)
        elif type(x) in (list, dict, set, deque):
            self.container(x, depth)
        else:
            visit_object(self, x, depth)

    def each(self, things: Iterable[Any], depth: int) -> None:
        for thing in things:
            self.visit(thing, depth + 1)

    def container(self, x: Any, depth: int) -> None:
        self.put(type(x).__name__, len(x))
        if isinstance(x, (set, frozenset)):
            self.put(*sorted(content_digest(member) for member in x))
        elif isinstance(x, dict):
            for key, value in list(x.items()):
                self.each((key, value), depth)
        else:
            self.each(list(x), depth)

    def array(self, x: Any, depth: int) -> None:
        if not isinstance(x, (np.ndarray, np.generic)):
            self.put(str(x.dtype))
            x = x.detach().cpu() if hasattr(x, "detach") else x
            x = np.asarray(x.float() if str(getattr(x, "dtype", "")) == "torch.bfloat16" else x)
        a = np.asarray(x)
        if a.dtype == object:
            self.put("array", a.shape)
            self.each(a.ravel().tolist(), depth)
        else:
            self.put("array", a.dtype.str, a.shape, np.ascontiguousarray(a).tobytes())

    def _function(self, f: types.FunctionType, depth: int) -> None:
        self.put("function", f.__qualname__)
        self._code(f.__code__, depth)
        self.each((f.__defaults__, f.__kwdefaults__), depth)
        used = _Used(f.__code__)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                self.name(name, self._named, cell.cell_contents, used.attributes, depth)
            except ValueError:
                self.put("not filled yet")
        if is_installed(f.__module__):
            self.put(version(f.__module__))
            return
        self.visit(f.__dict__, depth + 1)
        for name in sorted(used.names & f.__globals__.keys()):
            self.name(name, self._named, f.__globals__[name], used.attributes, depth)
        for name, level in sorted(used.imports):
            self._named(_imported(name, level, f.__globals__), used.attributes, depth)

    def _named(self, value: Any, attributes: frozenset[str], depth: int) -> None:
        """What code refers to by name: of a module, what it may take from it."""
        if isinstance(value, types.ModuleType):
            self._module(value, attributes, depth)
        else:
            self.visit(value, depth + 1)

    def _module(self, module: types.ModuleType, attributes: frozenset[str], depth: int) -> None:
        self.put("module", module.__name__)
        root = module.__name__.partition(".")[0]
        seeded = {"default_rng", "RandomState", "Generator", "Random"} & attributes
        if not seeded and (root in _RANDOM or (root == "numpy" and "random" in attributes | {module.__name__[6:]})):
            raise NotHashable(f"it draws numbers from {root}, whose state no seed sets")
        if is_installed(module.__name__):
            self.put(version(module.__name__))
            return
        for name in sorted(attributes):
            if name in vars(module) and depth < _DEPTH:
                self.name(name, self._named, vars(module)[name], attributes, depth + 1)

    def _code(self, code: types.CodeType, depth: int) -> None:
        self.put("code", code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.put(code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        self.put(getattr(code, "co_exceptiontable", b""))
        self.each(code.co_consts, depth)

    def _class(self, c: type, depth: int) -> None:
        module = c.__module__ if isinstance(c.__module__, str) else "builtins"  # some metaclasses in C have none
        self.put("class", module, c.__qualname__)
        if is_installed(module):
            self.put(version(module))
            return
        self.each(c.__bases__, depth)
        if type(c) is not type:
            self.visit(type(c), depth + 1)
        for name, value in sorted(vars(c).items()):
            if name not in _SKIPPED and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                self.name(name, self.visit, value, depth + 1)


class _Used:
    """What code names: globals, attributes, imports; those of functions within it too."""

    def __init__(self, code: types.CodeType) -> None:
        names, attributes, imports = set(), set(), set()
        codes = [code]
        while codes:
            one = codes.pop()
            codes += [const for const in one.co_consts if isinstance(const, types.CodeType)]
            before: list[Any] = []
            for step in dis.get_instructions(one):
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                    names.add(str(step.argval))
                elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
                    attributes.add(str(step.argval))
                elif step.opname == "IMPORT_NAME":
                    imports.add((str(step.argval), before[-2] if isinstance(before[-2], int) else 0))
                before = [*before[-1:], step.argval]
        self.names, self.attributes, self.imports = frozenset(names), frozenset(attributes), frozenset(imports)


def _imported(name: str, level: int, names: dict[str, Any]) -> Any:
    """The module that code imports; it would import it itself in a moment."""
    return importlib.import_module("." * level + name, names.get("__package__") if level else None)


def _is_tensor(x: Any) -> bool:
    root = str(type(x).__module__).partition(".")[0]
    return root in ("torch", "tensorflow", "keras", "jax", "jaxlib") and hasattr(x, "__array__") and hasattr(x, "shape")
