"""Generators of batches: none is drawn for nothing, and data that end start anew."""

import numpy as np
import pytest
from art.data_generators import DataGenerator, KerasDataGenerator, NumpyDataGenerator

from artclip.trainers.generators import Endless

BATCHES = [(np.full((2, 3), float(i)), np.array([i, i])) for i in range(3)]


class Sequence:
    """As keras.utils.PyDataset: items by number, and no iterator."""

    epochs = 0

    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return BATCHES[index % len(BATCHES)]

    def on_epoch_end(self):
        self.epochs += 1


class Ending(DataGenerator):
    """One of a user's own that ends."""

    def __init__(self):
        super().__init__(6, 2)
        self._batches = iter(BATCHES)

    def get_batch(self):
        return next(self._batches)


def first_labels(generator, nb=8):
    read = Endless(generator)
    return [int(read.get()[1][0]) for _ in range(nb)]


def endless():
    while True:
        yield from BATCHES


@pytest.mark.parametrize(
    "source", [Sequence(), BATCHES, lambda: iter(BATCHES), endless()], ids=["Sequence", "list", "function", "loop"]
)
def test_keras_generators_give_one_batch_after_the_other(source):
    assert first_labels(KerasDataGenerator(source, 6, 2)) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_sequence_is_told_of_the_end_of_an_epoch():
    sequence = Sequence()
    first_labels(KerasDataGenerator(sequence, 6, 2))
    assert sequence.epochs == 2


def test_a_look_at_the_next_batch_takes_nothing_away():
    x = np.arange(12.0).reshape(6, 2)
    read = Endless(NumpyDataGenerator(x, np.arange(6), batch_size=2))
    assert read.peek()[1][0] == read.peek()[1][0] == 0
    assert [int(read.get()[1][0]) for _ in range(4)] == [0, 2, 4, 0]


@pytest.mark.parametrize("generator", [Ending(), KerasDataGenerator(iter(BATCHES), 6, 2)])
def test_what_cannot_start_anew_is_named(generator):
    read = Endless(generator)
    assert [int(read.get()[1][0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="come to their end and cannot start anew"):
        read.get()


def test_weights_of_samples_are_named():
    with pytest.raises(ValueError, match="batches of 3 parts"):
        Endless(KerasDataGenerator([(*BATCHES[0], np.ones(2))], 2, 2)).get()
