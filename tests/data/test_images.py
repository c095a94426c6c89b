"""Folders and archives of images: the pixels that are in them, or one line that says what is wrong."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from artclip import load_data
from artclip.data import Uint8Images, describe_data, load_described
from tests.images import SIZE, Image, as_folder, as_tar, as_zip, encoded, pixels, two_parts


def kept_as(kind, tmp_path, files):
    if kind == "folder":
        return as_folder(tmp_path / "photos", files)
    if kind == "zip":
        return as_zip(tmp_path / "photos.zip", files)
    return as_tar(tmp_path / f"photos.tar{kind and '.'}{kind}", files, f"w:{kind}")


@pytest.mark.parametrize("kind", ["folder", "zip", "", "gz", "xz", "bz2"])
@pytest.mark.parametrize("above", ["", "photos-1.0/data/"])
def test_what_was_written_is_read(kind, above, tmp_path):
    files, arrays = two_parts()
    path = kept_as(kind, tmp_path, {above + name: data for name, data in files.items()})
    before = sorted(tmp_path.rglob("*"))
    (x, y), (x_test, y_test) = load_data(path)
    assert x.dtype == x_test.dtype == np.float32
    assert (x.shape, x_test.shape) == ((6, 3, *SIZE), (4, 3, *SIZE))
    assert sorted(y.tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(y_test.tolist()) == [0, 0, 1, 1]
    for images, labels, part in ((x, y, "train"), (x_test, y_test, "test")):
        for label, name in enumerate(("cat", "dog")):
            written = {a.tobytes() for key, a in arrays.items() if key.startswith(f"{part}/{name}/")}
            read = np.rint(255 * np.moveaxis(images[labels == label], 1, -1)).astype(np.uint8)
            assert {a.tobytes() for a in read} == written
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked beside it
    (last, _), _ = load_data(path, channels_first=False)
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), x)
    (few, _), _ = load_data(path, uint8=True)
    assert isinstance(few, Uint8Images)
    np.testing.assert_array_equal(few, x)
    assert describe_data(path).class_names == ("cat", "dog")


def test_images_do_not_come_class_by_class(tmp_path):
    files = {f"train/{name}/{i}.png": encoded(pixels(0)) for name in "ab" for i in range(100)}
    path = as_folder(tmp_path / "photos", {**files, "test/a/0.png": encoded(pixels(0))})
    labels = load_data(path)[0][1]
    assert 5 < labels[:30].sum() < 25
    np.testing.assert_array_equal(load_data(path)[0][1], labels)


def test_images_that_ask_to_be_turned_are_taken_as_stored_and_counted(tmp_path):
    turned = Image.Exif()
    turned[0x112] = 3
    files, arrays = two_parts()
    files["train/cat/0000.png"] = encoded(arrays["train/cat/0000.png"], exif=turned)
    splits, said = load_described(as_folder(tmp_path / "photos", files))
    assert "1 images ask in their EXIF data to be turned or mirrored, and were taken as stored" in str(said)
    plain, said = load_described(as_folder(tmp_path / "others", two_parts()[0]))
    assert "EXIF" not in str(said)
    np.testing.assert_array_equal(splits[0][0], plain[0][0])


def test_validation_is_the_test_part_where_there_is_no_other(tmp_path):
    files, _ = two_parts(tests="Val")
    path = as_folder(tmp_path / "photos", files)
    splits, said = load_described(path)
    assert len(splits[1][0]) == 4
    assert "val/ is the test part" in str(said)
    as_folder(path, {f"test/{name}/0.png": encoded(pixels(0)) for name in ("cat", "dog")})
    splits, said = load_described(path)
    assert len(splits[1][0]) == 2
    assert "Val/ was left out" in str(said)


def test_one_part_is_split_of_each_class_alike_and_always_the_same(tmp_path):
    files = {f"{name}/{i}.png": encoded(pixels(10 * k + i)) for k, name in enumerate("abc") for i in range(10)}
    path = as_folder(tmp_path / "photos", files)
    ((x, y), (x_test, y_test)), said = load_described(path)
    assert np.bincount(y).tolist() == [8, 8, 8]
    assert np.bincount(y_test).tolist() == [2, 2, 2]
    assert "20% of each class, drawn with seed 0, are the test part" in str(said)
    rows = {a.tobytes() for a in (*x, *x_test)}
    assert len(rows) == 30  # each image once
    np.testing.assert_array_equal(load_data(path)[1][0], x_test)


def one_image(data, name="0.png"):
    """A set in which one image is this."""
    files, _ = two_parts(nb_train=1, nb_test=1)
    del files["train/cat/0000.png"]
    return {**files, f"train/cat/{name}": data}


def taken(tmp_path, data, name="0.png"):
    return load_data(as_folder(tmp_path / "photos", one_image(data, name)))[0][0][0]


GREY, COLOUR = pixels(1, "L"), pixels(2)


def palette():
    return Image.fromarray(COLOUR).quantize(16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(GREY), np.repeat(GREY[None], 3, 0)),
        (encoded(np.dstack([COLOUR, np.full(SIZE, 255, np.uint8)])), np.moveaxis(COLOUR, -1, 0)),
        (encoded(palette()), np.moveaxis(np.asarray(palette().convert("RGB")), -1, 0)),
        (
            encoded(palette(), transparency=bytes([255] * 16)),
            np.moveaxis(np.asarray(palette().convert("RGB")), -1, 0),
        ),
        (encoded(np.dstack([GREY, np.full(SIZE, 255, np.uint8)])), np.repeat(GREY[None], 3, 0)),
        (encoded(Image.fromarray(GREY > 127)), np.repeat(255 * (GREY > 127)[None], 3, 0)),
    ],
    ids=["grey", "opaque alpha", "palette", "opaque palette", "opaque grey", "bits"],
)
def test_kinds_of_pixels_that_are_taken(data, expected, tmp_path):
    np.testing.assert_array_equal(taken(tmp_path, data), expected.astype(np.float32) / 255)


def test_suffixes_in_capitals_and_grey_sets_of_one_channel(tmp_path):
    assert taken(tmp_path, encoded(COLOUR, "JPEG"), "0.JPG").shape == (3, *SIZE)
    files = {f"{part}/{c}/0.PNG": encoded(GREY) for part in ("train", "test") for c in "ab"}
    (x, _), _ = load_data(as_folder(tmp_path / "grey", files))
    np.testing.assert_array_equal(x, np.stack([GREY[None]] * 2).astype(np.float32) / 255)


DEEP = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 65536, SIZE).astype(np.uint16)))
GIF = encoded(palette(), "GIF", save_all=True, append_images=[Image.fromarray(pixels(3)).quantize(16)])


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (DEEP, "0.png", "train/cat/0.png has more than 8 bits a channel"),
        (encoded(pixels(4, "RGBA")), "0.png", "train/cat/0.png is transparent in places"),
        (encoded(palette(), transparency=3), "0.png", "train/cat/0.png is transparent in places"),
        (
            encoded(Image.fromarray(COLOUR).convert("LAB"), "TIFF"),
            "0.tiff",
            "train/cat/0.tiff has neither grey nor RGB",
        ),
        (encoded(COLOUR)[:60], "0.png", "train/cat/0.png is not a whole image"),
        (b"hello", "0.jpg", "train/cat/0.jpg is not a whole image: it is empty, of another format"),
        (b"", "0.png", "or damaged; save it again, or remove it"),
        (GIF, "0.gif", "train/cat/0.gif has 2 frames"),
        (encoded(pixels(5, size=(7, 5))), "z.png", "train/dog/0000.png has 5×6 pixels, and train/cat/z.png has 5×7"),
    ],
    ids=["16 bits", "transparent", "transparent palette", "lab", "cut off", "text", "empty", "frames", "sizes"],
)
def test_images_that_are_refused_by_name(data, name, message, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        taken(tmp_path, data, name)
    assert message in str(error.value)
    assert "<" not in str(error.value)  # no place in memory


def folders(*names):
    return {name: encoded(pixels(0)) for name in names}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (folders("train/a/0.png", "test/a/0.png"), "one class alone, 'a'"),
        (folders("train/a/0.png", "train/b/0.png", "test/c/0.png"), "test/ has the class 'c', which the training part"),
        (folders("a/0.png", "b/0.png", "0.png"), "the image 0.png outside of the folders of classes"),
        (folders("train/0.png", "test/0.png"), "images in train/ itself"),
        (folders("a/0.png", "b/x/0.png"), "expected train/CLASS/FILE and test/CLASS/FILE"),
        (folders("a/0.png", "b/0.png"), "class 'a' has one image"),
        ({"a/notes.txt": b"", "b/0.txt": b""}, "holds no images"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip", "xz"])
def test_folders_that_are_refused(files, message, kind, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=r"^[^\n]*$") as error:
        load_data(kept_as(kind, tmp_path, files))
    assert message in str(error.value)


def test_an_empty_class_is_named_and_hidden_files_are_left_alone(tmp_path):
    files, _ = two_parts()
    hidden = {
        "train/cat/.DS_Store": b"",
        ".cache/a/0.png": b"",
        "__MACOSX/train/cat/0.png": b"",
        "train/dog/a.txt": b"",
    }
    path = as_folder(tmp_path / "photos", {**files, **hidden})
    splits, said = load_described(path)
    assert len(splits[0][0]) == 6
    assert "1 files that are no images were left out" in str(said)
    (path / "train" / "bird").mkdir()
    with pytest.raises(ValueError, match="the folder of class 'bird' holds no images"):
        load_data(path)


@pytest.mark.parametrize("name", ["../out/a/0.png", "/out/a/0.png", "a/../../b/0.png", "..\\a\\0.png"])
@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_members_outside_of_the_archive_are_refused(name, kind, tmp_path):
    files, _ = two_parts()
    with pytest.raises(ValueError, match="which would lie outside of it; it is not read"):
        load_data(kept_as(kind, tmp_path, {**files, name: encoded(COLOUR)}))


def test_archives_that_are_not_what_they_should_be(tmp_path):
    path = as_tar(tmp_path / "a.tar.gz", two_parts()[0], "w:gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a whole archive"):
        load_data(path)
    path = as_zip(tmp_path / "a.zip", two_parts()[0])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"a\.zip is not a whole \.zip file"):
        load_data(path)
    for missing in ("none.zip", "none.tar.xz"):
        with pytest.raises((FileNotFoundError, ValueError), match=missing):
            load_data(tmp_path / missing)
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("train/cat/0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match="is a link or no file"):
        load_data(tmp_path / "link.tar")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/0.png", bytes(100 << 20))
    with pytest.raises(ValueError, match="would unpack to"):
        load_data(tmp_path / "bomb.zip")


def test_cifar_10_of_the_data_folder_says_what_it_is(tmp_path, monkeypatch):
    files = {name.replace(".png", ".jpg"): encoded(a, "JPEG") for name, a in two_parts()[1].items()}
    as_tar(tmp_path / "cifar-10.tar.xz", {f"cifar-10/{name}": data for name, data in files.items()})
    monkeypatch.setenv("ARTCLIP_DATA", str(tmp_path))
    said = describe_data("cifar-10")
    assert said.class_names == ("cat", "dog")
    assert str(said).startswith(
        "cifar-10 (JPEG copies in cifar-10.tar.xz): 6 training and 4 test inputs of shape (3, 6, 5)"
    )
    as_folder(tmp_path / "cifar-10", two_parts(nb_train=1)[0])
    assert describe_data("cifar-10").source == "png images in cifar-10"


def test_cifar_10_from_openml(monkeypatch):
    from sklearn import datasets

    def fetched(**asked):
        assert asked["data_id"] == 40927
        data = np.broadcast_to((np.arange(3072) % 256).astype(np.uint8), (60_000, 3072))
        return type("Bunch", (), {"data": data, "target": np.full(60_000, "3")})

    monkeypatch.delenv("ARTCLIP_DATA", raising=False)
    monkeypatch.setattr(datasets, "fetch_openml", fetched)
    (x, y), (x_test, _) = load_data("cifar-10", uint8=True)
    assert (x.shape, x_test.shape) == ((50_000, 3, 32, 32), (10_000, 3, 32, 32))
    np.testing.assert_array_equal(x.pixels[7].ravel(), np.arange(3072) % 256)
    assert (y == 3).all()
    (x, _), _ = load_data("cifar-10", channels_first=False, uint8=True)
    np.testing.assert_array_equal(np.moveaxis(x.pixels[7], -1, 0).ravel(), np.arange(3072) % 256)

    def offline(**asked):
        raise OSError("no network")

    monkeypatch.setattr(datasets, "fetch_openml", offline)
    with pytest.raises(FileNotFoundError, match="set ARTCLIP_DATA to a folder that holds cifar-10/ or an archive"):
        load_data("cifar-10")


@pytest.mark.skipif(not os.environ.get("ARTCLIP_DATA"), reason="ARTCLIP_DATA names no folder")
def test_the_real_archive_begins_as_it_should():
    """Its first members alone: the whole takes 20 seconds."""
    path = os.path.join(os.environ["ARTCLIP_DATA"], "cifar-10.tar.xz")
    if not os.path.exists(path):
        pytest.skip("no cifar-10.tar.xz there")
    with tarfile.open(path, "r|xz") as archive:
        member = next(m for m in archive if m.isreg())
        data = archive.extractfile(member).read()
    assert member.name.startswith("cifar-10/train/airplane/")
    assert np.asarray(Image.open(io.BytesIO(data))).shape == (32, 32, 3)


def test_without_pillow_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = as_folder(tmp_path / "photos", two_parts()[0])
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"which is missing: pip install pillow, or .* its extra 'images'"):
        load_data(path)
