"""Whatever is passed for data: a result, or an error of our own that names the argument; never a changed model."""

import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import artclip
from artclip import CLIPTrainer
from tests.nets import default as nets
from tests.nets.common import same_weights

PACKAGE = str(Path(artclip.__file__).parent)
MOST = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
NAMES = ("x", "y", "validation", "clip_values", "batch", "labels", "inputs", "samples")


def as_torch(a):
    torch = pytest.importorskip("torch")
    return torch.tensor(np.asarray(a, np.float32))


def with_gradient(a):
    return as_torch(a).requires_grad_(True)


def as_bfloat16(a):
    return as_torch(a).bfloat16()


def ragged(a):
    rows = np.asarray(a).tolist()
    return [*rows, rows[0][:-1]] if np.ndim(a) > 1 and len(rows) else rows


def as_pandas(a):
    return pytest.importorskip("pandas").DataFrame(np.asarray(a))


def read_only(a):
    a = np.array(a)
    a.flags.writeable = False
    return a


FORMS = {
    "array": lambda a: a,
    "list": lambda a: np.asarray(a).tolist(),
    "fortran": lambda a: np.asfortranarray(a),
    "reversed": lambda a: np.asarray(a)[::-1] if np.ndim(a) else a,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2] if np.ndim(a) else a,
    "read-only": read_only,
    "big-endian": lambda a: np.asarray(a).astype(np.asarray(a).dtype.newbyteorder(">")),
    "pandas": lambda a: as_pandas(a) if np.ndim(a) == 2 and np.asarray(a).dtype.kind in "fiub" else a,
    "ragged": ragged,
    **{
        form.__name__: lambda a, form=form: form(a) if np.asarray(a).dtype.kind in "fiub" else a
        for form in (as_torch, with_gradient, as_bfloat16)
    },
}
SHAPES = ((9, 6), (9, 6), (9, 6), (1, 6), (0, 6), (9, 5), (9, 6, 1), (6,), (), (9, 2, 3))
DTYPES = (
    "float32",
    "float32",
    "float64",
    "float16",
    "uint8",
    "int64",
    "bool",
    "object",
    "str",
    "complex64",
    "datetime64[s]",
)
SPECIAL = (0.5, 0.5, 0.5, 0.0, -1.0, 1e30, -3e38, np.nan, np.inf)


@st.composite
def inputs(draw):
    """Data as a user might pass it, right or wrong."""
    shape, dtype, special = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SPECIAL))
    a = np.random.default_rng(draw(st.integers(0, 3))).random(shape)
    if np.size(a):
        a = np.asarray(a)
        a.reshape(-1)[draw(st.integers(0, a.size - 1))] = special
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        a = (a * 100).astype(np.int64).astype(dtype) if dtype.startswith("datetime") else a.astype(dtype)
    return FORMS[draw(st.sampled_from(sorted(FORMS)))](a)


@st.composite
def targets(draw):
    """Labels as a user might pass them, right or wrong."""
    n = draw(st.sampled_from((9, 9, 9, 9, 1, 8, 0)))
    index = np.random.default_rng(draw(st.integers(0, 3))).integers(0, 3, n)
    kinds = {
        "index": index,
        "int8": index.astype(np.int8),
        "float": index.astype(np.float32),
        "one-hot": np.eye(3)[index],
        "column": index[:, None],
        "too high": index + 1,
        "negative": index - 1,
        "half": index / 2,
        "nan": np.where(index == 0, np.nan, index),
        "strings": index.astype(str),
        "objects": index.astype(object),
        "wide": np.eye(4)[index],
        "cube": np.zeros((n, 3, 1)),
        "none": None,
        "number": 3,
    }
    y = kinds[draw(st.sampled_from(sorted(kinds)))]
    return y if y is None or np.ndim(y) == 0 else FORMS[draw(st.sampled_from(["array", "list", "read-only"]))](y)


def answered(call):
    """Whether the call had a result; an error must be artclip's own and name what was wrong."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            call()
            return True
        except (ValueError, TypeError, FloatingPointError) as found:
            error = found
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    assert where.startswith(PACKAGE), f"from {where}: {error!r}"
    assert isinstance(error, FloatingPointError) or any(name in str(error) for name in NAMES), str(error)
    return False


SEEN = {}


@pytest.fixture(scope="module", autouse=True)
def both_answers_occur():
    """Results and errors both come up, or the tests test nothing."""
    yield
    assert all(len(answers) == 2 for answers in SEEN.values()), SEEN


@settings(MOST, max_examples=40)
@given(inputs(), targets(), st.sampled_from((1, 4, 100)))
def test_fit(x, y, batch_size):
    classifier = nets.classifier()
    trainer, before = CLIPTrainer(classifier, nb_pairs=4, pair_interval=2, seed=0), nets.weights(classifier)
    good = answered(lambda: trainer.fit(x, y, batch_size=batch_size, nb_epochs=1))
    SEEN.setdefault("fit", set()).add(good)
    if not good:
        assert same_weights(before, nets.weights(classifier), atol=0)
    assert all(np.isfinite(w).all() for w in nets.weights(classifier).values())


@MOST
@given(inputs())
def test_lower_bound(x):
    good = answered(lambda: artclip.lipschitz_lower_bound(nets.classifier(), x, nb_restarts=2, max_iter=3, seed=0))
    SEEN.setdefault("lower", set()).add(good)


@MOST
@given(inputs(), targets())
def test_certified_radius(x, y):
    good = answered(lambda: artclip.certified_radius(nets.classifier(), x, y, lipschitz=2.0))
    SEEN.setdefault("certified", set()).add(good)


@settings(MOST, max_examples=40)
@given(inputs(), targets())
def test_evaluate(x, y):
    def call():
        options = {"lipschitz": False, "masking": False, "verbose": False, "seed": 0}
        artclip.evaluate(nets.classifier(), x, y, eps=0.1, attacks=["noise", "fgsm"], **options)

    SEEN.setdefault("evaluate", set()).add(answered(call))


@settings(MOST, max_examples=40)
@given(inputs())
def test_penalty(x):
    good = answered(lambda: artclip.LipschitzPenalty(nets.classifier(), x, nb_pairs=4, seed=0)())
    SEEN.setdefault("penalty", set()).add(good)
