"""Folders and archives of images, ``train/CLASS/FILE`` and ``test/CLASS/FILE``, through Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artclip.data.archives import Files, Parts, files_of
from artclip.data.description import DataDescription
from artclip.extras import how_to_install
from artclip.pixels import Uint8Images

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN, TESTS = "train", ("test", "val", "valid", "validation")  # the first that is there
TEST_SHARE, SPLIT_SEED, ORDER_SEED = 0.2, 0, 0
_ORIENTATION = 0x112  # of EXIF: 1 where an image is upright as it is stored
_JPEG = (".jpg", ".jpeg")
_GREY, _COLOURED, _WITH_ALPHA = ("1", "L"), ("RGB", "P", "CMYK", "YCbCr", "RGBX"), ("LA", "PA", "RGBA")

Split = tuple[Uint8Images, np.ndarray]


@dataclass(frozen=True)
class _Image:
    """Where an image lies, its class, and what gives its bytes."""

    parts: Parts
    label: int
    read: Callable[[], bytes]

    def __str__(self) -> str:
        return "/".join(self.parts)


def is_image(name: str) -> bool:
    """Whether a file is an image, by its ending."""
    return name.lower().endswith(SUFFIXES)


def read_images(path: Path, name: str, channels_first: bool) -> tuple[tuple[Split, Split], DataDescription]:
    """All images of a folder or an archive, in a random order that is always the same, and what was taken.

    Args:
        path: of it.
        name: of the data, for the description.
        channels_first: images as (n, channels, height, width), else (n, height, width, channels).

    Raises:
        ImportError: Pillow is not installed.
        FileNotFoundError: there are no images.
        ValueError: the folders are not as they should be, or an image is not one, or not like the others.
    """
    _pillow()
    with files_of(path, is_image) as files:
        parts, classes, notes = _parts(path, files)
        sizes, images = [len(part) for part in parts], [image for part in parts for image in part]
        labels = np.array([image.label for image in images], np.int64)
        suffixes = {Path(image.parts[-1]).suffix.lower() for image in images}
        files.read.clear()
        del parts  # so that packed bytes can go as soon as they are decoded
        pixels, more = _decoded(path, images, channels_first)
    if len(sizes) == 2:
        rows = slice(sizes[0]), slice(sizes[0], None)
        train, test = ((Uint8Images(pixels[row]), labels[row]) for row in rows)
    else:
        chosen = _stratified(path, labels, classes)
        train, test = ((Uint8Images(pixels[row]), labels[row]) for row in chosen)
        notes.append(
            f"one part alone was found, and split: {TEST_SHARE:.0%} of each class, drawn with seed {SPLIT_SEED}, are "
            "the test part"
        )
    kind = "JPEG copies" if suffixes <= set(_JPEG) else f"{', '.join(sorted(s[1:] for s in suffixes))} images"
    described = DataDescription(name, f"{kind} in {path.name}", class_names=tuple(classes), notes=(*notes, *more))
    return (train, test), described


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f"images are read by Pillow, which is missing: {how_to_install('pillow', 'images')}"
        ) from None
    return Image


def _parts(path: Path, files: Files) -> tuple[list[list[_Image]], list[str], list[str]]:
    """The images of each part, training first; the names of the classes; and what is to be said."""
    found = {parts: read for parts, read in sorted(files.read.items()) if is_image(parts[-1])}
    if not found:
        raise FileNotFoundError(f"{path} holds no images; expected train/CLASS/FILE and test/CLASS/FILE, or CLASS/FILE")
    loose = next((parts for parts in found if len(parts) == 1), None)
    if loose is not None:
        raise ValueError(
            f"{path} has the image {loose[0]} outside of the folders of classes; expected CLASS/{loose[0]}"
        )
    notes = [f"{other} files that are no images were left out"] if (other := len(files.read) - len(found)) else []
    above = sorted({parts[:-2] for parts in found})
    if len(above) == 1 and above[0] + (TRAIN,) in {parts[:-1] for parts in found}:
        inside = "/".join((*above[0], TRAIN))
        raise ValueError(
            f"{path} has images in {inside}/ itself; put those of each class into a folder, {inside}/CLASS/"
        )
    splits = {where[-1].lower(): where for where in above if where} if len({w[:-1] for w in above}) == 1 else {}
    if len(above) == 1:
        used = [above[0]]
    elif TRAIN in splits and len(splits) == len(above) and set(splits) <= {TRAIN, *TESTS}:
        test, *unused = (name for name in TESTS if name in splits)
        used = [splits[TRAIN], splits[test]]
        notes += [f"{'/'.join(splits[part])}/ was left out" for part in unused]
        notes += [f"{test}/ is the test part"] if test != "test" else []
    else:
        first, second = ("/".join((*where, "CLASS")) for where in above[:2])
        raise ValueError(
            f"{path} has images as {first}/FILE and as {second}/FILE; expected train/CLASS/FILE and test/CLASS/FILE, "
            "or CLASS/FILE alone"
        )
    classes = _classes(path, files, found, used[0])
    return _by_class(path, classes, found, used), classes, notes


def _classes(path: Path, files: Files, found: dict[Parts, Any], where: Parts) -> list[str]:
    """Names of the folders in which training images lie, in alphabetical order."""
    names = sorted({parts[-2] for parts in found if parts[:-2] == where})
    empty = [folder[-1] for folder in files.folders if folder[:-1] == where and folder[-1] not in names]
    if empty:
        raise ValueError(f"{path}: the folder of class {sorted(empty)[0]!r} holds no images; fill it, or remove it")
    if len(names) < 2:
        raise ValueError(f"{path} has one class alone, {names[0]!r}; give two or more")
    return names


def _by_class(path: Path, classes: list[str], found: dict[Parts, Any], used: list[Parts]) -> list[list[_Image]]:
    numbers = {name: i for i, name in enumerate(classes)}
    for where in used[1:]:
        unknown = sorted({parts[-2] for parts in found if parts[:-2] == where} - numbers.keys())
        if unknown:
            part = "/".join(where)
            raise ValueError(f"{path}: {part}/ has the class {unknown[0]!r}, which the training part lacks")
    of_parts = [
        [_Image(parts, numbers[parts[-2]], read) for parts, read in found.items() if parts[:-2] == where]
        for where in used
    ]
    # Not class by class: the first n are often all that is looked at.
    orders = [np.random.default_rng(ORDER_SEED).permutation(len(part)) for part in of_parts]
    return [[part[i] for i in order] for part, order in zip(of_parts, orders, strict=True)]


def _stratified(path: Path, labels: np.ndarray, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and of the test part, of each class alike."""
    from sklearn.model_selection import train_test_split

    numbers = np.bincount(labels)
    if numbers.min() < 2:
        name = classes[int(numbers.argmin())]
        raise ValueError(f"{path}: class {name!r} has one image, which cannot be in both parts; give two or more")
    nb_test = max(len(classes), round(TEST_SHARE * len(labels)))
    rows = np.arange(len(labels))
    train, test = train_test_split(rows, test_size=nb_test, random_state=SPLIT_SEED, stratify=labels)
    return np.sort(train), np.sort(test)


def _decoded(path: Path, images: list[_Image], channels_first: bool) -> tuple[np.ndarray, list[str]]:
    """The pixels of all, unsigned bytes; grey ones have one channel, unless others have three."""
    first, size, nb_grey, nb_opaque, nb_turned = images[0], (0, 0), 0, 0, 0
    found, seen = np.empty(0, np.uint8), np.empty(0, np.uint8)  # as asked for, and the same with the channels last
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata
        warnings.simplefilter("error", _pillow().DecompressionBombWarning)
        for row, image in enumerate(images):
            one, opaque, turned = _opened(path, image)
            nb_opaque += opaque
            nb_turned += turned
            nb_grey += one.ndim == 2
            if row == 0:
                size = one.shape[:2]
                found, seen = _empty(len(images), size, 1 if one.ndim == 2 else 3, channels_first)
            if one.shape[:2] != size:
                raise ValueError(
                    f"{path}: {image} has {_said(one.shape[:2])} pixels, and {first} has {_said(size)}; all images "
                    "need one size"
                )
            if one.ndim == 3 and seen.shape[-1] == 1:  # grey so far
                grey = seen
                found, seen = _empty(len(images), size, 3, channels_first)
                seen[:row] = grey[:row]
            seen[row] = one if one.ndim == 3 else one[:, :, None]
            images[row] = first  # the packed bytes are needed no more
    notes = [f"{nb_grey} grey images were taken as coloured"] if 0 < nb_grey < len(images) else []
    notes += [f"{nb_opaque} images had an alpha channel, opaque everywhere, which was left out"] if nb_opaque else []
    notes += [f"{nb_turned} images ask in their EXIF data to be turned or mirrored, and were taken as stored"] * bool(
        nb_turned
    )
    return found, notes


def _empty(n: int, size: tuple[int, int], channels: int, channels_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """An array of images, and the same with the channels last."""
    found = np.empty((n, channels, *size) if channels_first else (n, *size, channels), np.uint8)
    return found, np.moveaxis(found, 1, -1) if channels_first else found


def _said(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"


def _reason(error: Exception) -> str:
    """What Pillow says of bytes that it was given; of those of no image it names their place in memory."""
    if isinstance(error, _pillow().UnidentifiedImageError):
        return "it is empty, of another format than its name tells, or damaged"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _opened(path: Path, image: _Image) -> tuple[np.ndarray, bool, bool]:
    """The pixels of one, (height, width) or (height, width, 3); whether an alpha channel was left out, and a turn."""
    where = f"{path}: {image}"
    try:
        with _pillow().open(io.BytesIO(image.read())) as opened:
            opened.load()
            mode, nb_frames = opened.mode, getattr(opened, "n_frames", 1)
            turned = opened.getexif().get(_ORIENTATION, 1) != 1
            transparent = mode in _WITH_ALPHA or "transparency" in opened.info
            if nb_frames == 1 and not transparent and mode in ("L", "RGB"):
                return np.asarray(opened), False, turned
            if nb_frames == 1 and mode in (*_GREY, *_COLOURED, *_WITH_ALPHA):
                alpha = np.asarray(opened.convert("RGBA"))[:, :, 3] if transparent else None
                pixels = np.asarray(opened.convert("L" if mode in (*_GREY, "LA") else "RGB"))
    except Exception as error:  # of whatever library decodes it
        raise ValueError(f"{where} is not a whole image: {_reason(error)}; save it again, or remove it") from error
    if nb_frames > 1:
        raise ValueError(f"{where} has {nb_frames} frames; give images of one")
    if mode not in (*_GREY, *_COLOURED, *_WITH_ALPHA):
        what = "more than 8 bits a channel" if mode[0] in "IF" else "neither grey nor RGB pixels"
        raise ValueError(f"{where} has {what} (Pillow's mode {mode}); save it as grey or RGB with 8 bits")
    if alpha is not None and alpha.min() < 255:
        raise ValueError(f"{where} is transparent in places; put it on a background and save it without alpha")
    return pixels, alpha is not None, turned
