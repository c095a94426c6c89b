"""``import artclip`` is light, and its public names are there."""

import subprocess
import sys

import pytest

import artclip
from tests.nets import FRAMEWORKS

NAMES = ("torch", "tensorflow", "keras", "jax")
FRAMEWORK_IMPORTS = tuple(f"{word} {name}" for word in ("import", "from") for name in NAMES)
# Makes packages as good as not installed.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(lambda name, *a: None if name.split(".")[0] in {} else find(name, *a))
"""


def _run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_pulls_in_no_framework():
    code = """
import sys, artclip, artclip.checks, artclip.frameworks, artclip.lipschitz.pairs, artclip.data
import artclip.trainers.controllers
print([m for m in ("torch", "tensorflow", "keras", "jax", "art", "sklearn") if m in sys.modules])
"""
    result = _run(code)
    assert result.stdout.strip() == "[]", result.stderr


def test_only_frameworks_import_a_framework():
    from pathlib import Path

    root = Path(artclip.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] != "frameworks":
            lines = [line.strip() for line in path.read_text().splitlines()]
            guilty = [line for line in lines if line.startswith(FRAMEWORK_IMPORTS)]
            assert not guilty, f"{path}: {guilty}"


@pytest.mark.parametrize("name", artclip.__all__)
def test_public_names_exist_and_are_documented(name):
    assert getattr(artclip, name).__doc__ or name == "__version__"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = artclip.nonsense


@pytest.mark.parametrize(
    ("missing", "words", "message"),
    [
        (
            ["torch"],
            ["--framework", "torch"],
            "PyTorch is not installed; pip install torch, or install artclip with its extra 'torch'",
        ),
        (
            ["tensorflow"],
            ["--framework", "tensorflow"],
            "TensorFlow is not installed; pip install tensorflow, or install artclip with its extra 'tensorflow'",
        ),
        (["torch", "tensorflow"], [], "install artclip with its extra 'torch' or 'tensorflow'"),
    ],
)
def test_a_missing_framework_is_one_line_that_names_the_extra(missing, words, message):
    result = _run(f"""
{WITHOUT.format(missing)}
from artclip.cli.main import main
sys.exit(main(["train", "--data", "digits", *{words!r}]))
""")
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_the_other_framework_is_not_mentioned_where_it_is_missing():
    titles = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
    for missing, there in (("torch", "tensorflow"), ("tensorflow", "torch")):
        if there in FRAMEWORKS:
            said = _run(f"""
{WITHOUT.format([missing])}
from artclip import CLIPTrainer
try:
    CLIPTrainer(3)
except TypeError as error:
    print(error)
""").stdout
            assert titles[there] in said
            assert titles[missing] not in said
