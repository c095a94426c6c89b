"""Small images for tests, written by Pillow."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

SIZE = (6, 5)  # rows, columns


def pixels(seed, mode="RGB", size=SIZE):
    """Unsigned bytes, shape size, or (*size, 3 or 4)."""
    shape = size if mode == "L" else (*size, len(mode))
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(array, kind="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    (Image.fromarray(array) if isinstance(array, np.ndarray) else array).save(file, kind, **options)
    return file.getvalue()


def two_parts(nb_train=3, nb_test=2, classes=("cat", "dog"), tests="test"):
    """Name -> bytes of the files, and the arrays of pixels by name."""
    files, arrays, seed = {}, {}, 0
    for part, nb in (("train", nb_train), (tests, nb_test)):
        for name in classes:
            for i in range(nb):
                path, seed = f"{part}/{name}/{i:04}.png", seed + 1
                arrays[path] = pixels(seed)
                files[path] = encoded(arrays[path])
    return files, arrays


def as_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path, files, mode="w:xz"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
