"""Test models, one registry per framework with the same names: small nets of every kind, wrapped as ART estimators.

A test that runs on every framework takes the fixture ``nets``. One that is about the algorithm alone says
``from tests.nets import default as nets``: the registry of the first framework that is installed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

FRAMEWORKS = [name for name in ("torch", "tensorflow") if find_spec(name) is not None]
NAMES = ("linear", "mlp", "sigmoid", "cnn", "batchnorm", "series", "hidden-dropout", "frozen")


def of(framework):
    """The registry of a framework."""
    return import_module(f"tests.nets.{framework}_nets")


default = of(FRAMEWORKS[0])
