"""Data sets: what comes back, and what is said when a file is not what it should be."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from artclip import load_data
from artclip.data import fit_to


def write_idx(folder, n_train=5, n_test=3, size=4, prefix=b"\0\0\x08"):
    rng = np.random.default_rng(0)
    written = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        images, labels = rng.integers(0, 256, (n, size, size), np.uint8), rng.integers(0, 10, n).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
            header = prefix + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
            (folder / name).write_bytes(gzip.compress(header + array.tobytes()))
        written[part] = images, labels
    return written


@pytest.mark.parametrize("channels_first", [True, False])
def test_digits(channels_first):
    (x_train, y_train), (x_test, y_test) = load_data("digits", channels_first)
    shape = (1, 8, 8) if channels_first else (8, 8, 1)
    assert x_train.shape == (1437, *shape)
    assert x_test.shape == (360, *shape)
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert (x_train.min(), x_train.max()) == (0.0, 1.0)
    assert set(y_train) == set(y_test) == set(range(10))
    assert (load_data("digits", channels_first)[0][0] == x_train).all()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_of_the_data_folder(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    written = write_idx(tmp_path / name)
    monkeypatch.setenv("ARTCLIP_DATA", str(tmp_path))
    for data in (name, tmp_path / name):
        (x_train, y_train), (x_test, _) = load_data(data)
        assert (x_train[:, 0] == written["train"][0].astype(np.float32) / 255).all()
        assert (y_train == written["train"][1]).all()
        assert x_test.shape == (3, 1, 4, 4)


def test_without_the_folder_openml_is_asked(monkeypatch):
    from sklearn import datasets

    def fetch(name, **kwargs):
        assert name == "mnist_784"
        rng = np.random.default_rng(0)
        return type("Bunch", (), {"data": rng.integers(0, 256, (70_000, 784)), "target": np.full(70_000, "7")})

    monkeypatch.delenv("ARTCLIP_DATA", raising=False)
    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    (x_train, y_train), (x_test, _) = load_data("mnist")
    assert x_train.shape == (60_000, 1, 28, 28)
    assert x_test.shape == (10_000, 1, 28, 28)
    assert x_train.max() == 1.0
    assert (y_train == 7).all()

    def offline(name, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(datasets, "fetch_openml", offline)
    with pytest.raises(FileNotFoundError, match="set ARTCLIP_DATA"):
        load_data("mnist")


def test_npz_round_trip(tmp_path):
    arrays = {k: np.arange(4.0) for k in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "d.npz", **arrays)
    (x_train, _), (_, y_test) = load_data(str(tmp_path / "d.npz"))
    assert (x_train == np.arange(4)).all()
    assert (y_test == np.arange(4)).all()


def test_npz_never_unpickles(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    bomb = np.array([Bomb()], dtype=object)
    np.savez(tmp_path / "d.npz", x_train=bomb, y_train=bomb, x_test=bomb, y_test=bomb)
    with pytest.raises(ValueError, match="pickle"):
        load_data(tmp_path / "d.npz")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_not_what_they_should_be(tmp_path):
    np.savez(tmp_path / "lacks.npz", x_train=np.zeros(1))
    with pytest.raises(ValueError, match=r"lacks y_train, x_test, y_test; it holds x_train"):
        load_data(tmp_path / "lacks.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz"):
        load_data(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        load_data(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="data 'cifar' is not known; use one of digits, mnist"):
        load_data("cifar")
    for name in ("/nope", "nope/", "photos/cats", "data.csv", "nope.zip", "nope.tar.gz"):
        with pytest.raises(FileNotFoundError, match=f"^{Path(name)}/? does not exist"):
            load_data(name)
    (tmp_path / "data.csv").touch()
    with pytest.raises(ValueError, match=r"data\.csv is of a kind that is not known; use one of digits"):
        load_data(tmp_path / "data.csv")
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz is missing"):
        load_data(tmp_path)
    write_idx(tmp_path, prefix=b"\0\0\x09")
    with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
        load_data(tmp_path)
    write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(ValueError, match="should hold 80 bytes"):
        load_data(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        load_data(tmp_path)


@pytest.mark.skipif(not os.environ.get("ARTCLIP_DATA"), reason="ARTCLIP_DATA names no folder")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_sets_where_they_are_at_hand(name):
    (x_train, y_train), (x_test, y_test) = load_data(name)
    assert (x_train.shape, x_test.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert (x_train.dtype, x_train.min(), x_train.max()) == (np.float32, 0.0, 1.0)
    assert set(y_train) == set(y_test) == set(range(10))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        *(((1, 28, 28), shape) for shape in ((784,), (784, 1), (1, 784), (28, 28), (28, 28, 1), (1, 28, 28))),
        *(((6, 1), shape) for shape in ((6,), (1, 6), (1, 1, 6))),
        *(((4, 4), shape) for shape in ((1, 4, 4), (4, 4, 1))),
    ],
)
def test_axes_of_one_come_and_go(given, wanted):
    x = np.arange(3 * np.prod(given), dtype=np.float32).reshape(3, *given)
    np.testing.assert_array_equal(fit_to(x, wanted), x.reshape(3, *wanted))


@pytest.mark.parametrize(("given", "wanted"), [((1, 28, 28), (28, 14, 2)), ((3, 8, 8), (8, 24)), ((6,), (2, 3))])
def test_what_would_show_something_else_is_refused(given, wanted):
    with pytest.raises(ValueError, match="but the model wants"):
        fit_to(np.zeros((3, *given)), wanted)
