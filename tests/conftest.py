import gc
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests import nets as registries


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
