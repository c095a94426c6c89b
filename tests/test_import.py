"""``import artclip`` is light, and its public names are there."""

import subprocess
import sys

import pytest

import artclip


def _run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_pulls_in_no_framework():
    code = """
import sys, artclip, artclip.checks, artclip.frameworks, artclip.lipschitz.pairs, artclip.trainers.lamda, artclip.data
print([m for m in ("torch", "tensorflow", "art", "sklearn") if m in sys.modules])
"""
    result = _run(code)
    assert result.stdout.strip() == "[]", result.stderr


def test_only_frameworks_import_a_framework():
    from pathlib import Path

    root = Path(artclip.__file__).parent
    for path in root.rglob("*.py"):
        if path.parent.name != "frameworks":
            lines = [line.strip() for line in path.read_text().splitlines()]
            guilty = [line for line in lines if line.startswith(("import torch", "from torch", "import tensorflow"))]
            assert not guilty, f"{path}: {guilty}"


@pytest.mark.parametrize("name", artclip.__all__)
def test_public_names_exist_and_are_documented(name):
    assert getattr(artclip, name).__doc__ or name == "__version__"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = artclip.nonsense
