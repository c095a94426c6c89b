import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off on some CPUs, where channels cannot come first then

from tests import nets as registries

HERE = Path(__file__).parent
# Files that take longest, of which each runs in one process: they come first, so that none is left alone at the end.
LONGEST = (
    "frameworks/keras/test_estimator.py",
    "contract/test_training.py",
    "comparison/test_parallel.py",
    "contract/test_resume.py",
    "fuzz/test_bounds.py",
    "frameworks/keras/test_distributed.py",
    "frameworks/pytorch/test_distributed.py",
    "frameworks/keras/test_graph.py",
    "evaluation/test_attacks.py",
    "comparison/test_compare.py",
    "test_examples.py",
)


def pytest_collection_modifyitems(items):
    places = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(HERE).as_posix(), len(LONGEST)))


def pytest_collection_finish():
    """Modules stay: the collector need not look at what is in them again and again."""
    gc.freeze()


@pytest.fixture(params=registries.FRAMEWORKS)
def nets(request):
    """The registry of test models of each framework that is installed."""
    return registries.of(request.param)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, nets):
    """Where models live; the GPU only where the framework sees one."""
    if request.param == "gpu" and not nets.has_gpu():
        pytest.skip("no GPU on this machine")
    return request.param


@pytest.fixture
def marker(tmp_path):
    """A path at which a file appears where code of a model ran; it must not."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()
