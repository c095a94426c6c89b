"""The samples that stand for all, of data in any order."""

import numpy as np
import pytest

from artclip.data.subset import rows_of

LABELS = {
    "numbers": lambda c: c,
    "one-hot": lambda c: np.eye(c.max() + 1)[c],
    "a column": lambda c: c[:, None],
    "words": lambda c: np.array([f"class {i:04d}" for i in range(c.max() + 1)])[c],
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize(
    ("nb_classes", "total", "n"), [(10, 10000, 1000), (2, 2000, 1000), (1000, 5000, 1000), (10, 300, 20)]
)
def test_of_sorted_data_every_class_has_its_share(nb_classes, total, n, kind):
    classes = np.sort(np.arange(total) % nb_classes)
    rows, remark = rows_of(LABELS[kind](classes), n)
    assert len(np.unique(rows)) == n
    counts = np.bincount(classes[rows], minlength=nb_classes)
    assert counts.max() - counts.min() <= 1
    assert f"{n} spread evenly over the data were taken" in remark


def test_the_remark_tells_what_the_first_ones_lack():
    assert (
        "the first 1000 of 10000 samples do not stand for all (1 of 10 classes are among them)"
        in (rows_of(np.arange(10000) // 1000, 1000)[1])
    )
    few_of_the_second = np.arange(2000) >= 950
    rows, remark = rows_of(few_of_the_second, 1000)
    assert "some classes are too many of them" in remark
    assert few_of_the_second[rows].mean() == pytest.approx(few_of_the_second.mean(), abs=2e-3)


@pytest.mark.parametrize(("nb_classes", "n"), [(2, 50), (10, 20), (10, 1000), (200, 100)])
@pytest.mark.parametrize("skewed", [False, True])
def test_in_random_order_they_are_the_first(nb_classes, n, skewed):
    rng = np.random.default_rng(nb_classes + n)
    share = rng.dirichlet(np.full(nb_classes, 0.3 if skewed else 100))
    for _ in range(200):
        rows, remark = rows_of(rng.choice(nb_classes, 3000, p=share), n)
        assert remark == ""
        np.testing.assert_array_equal(rows, np.arange(n))


def test_labels_of_another_kind_are_not_looked_at():
    several = np.repeat([[1, 1, 0], [0, 1, 1]], 50, axis=0)
    assert rows_of(several, 20)[1] == ""
    assert len(rows_of(np.arange(5), 20)[0]) == 5
    assert len(rows_of(np.zeros(50), 20)[0]) == 20
