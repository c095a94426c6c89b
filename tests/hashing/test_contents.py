"""The hash of what something computes: another one for whatever changes an answer, none where that cannot be seen."""

import functools
import math
import os
import sys
import threading
import types

import numpy as np
import pytest

from artclip.hashing.contents import NotHashable, content_digest
from tests.nets import FRAMEWORKS

SCALE = 2


def scaled(x):
    return SCALE * x


def twice_scaled(x):
    return scaled(scaled(x))


def times(factor):
    return lambda x: factor * x


class Affine:
    offset = 1

    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return self.slope * x + self.offset

    def method(self, x):
        return self(x)


class Slotted:
    __slots__ = ("slope",)

    def __init__(self, slope):
        self.slope = slope


class Named(dict):
    """What it holds is not among its attributes."""


def default(x, factor=2):
    return factor * x


def other_default(x, factor=3):
    return factor * x


other_default.__qualname__ = other_default.__name__ = "default"


@pytest.mark.parametrize(
    "make",
    [
        times,
        lambda k: functools.partial(math.pow, k),
        lambda k: functools.partial(times, factor=k),
        Affine,
        lambda k: Affine(k).method,
        lambda k: functools.partial(Affine(1), Affine(k)),
        Slotted,
        lambda k: Named(slope=k),
        lambda k: np.float32(k),
        lambda k: [np.arange(k)],
        lambda k: {"a": {k}},
        lambda k: {"a": frozenset((k, "b"))},
        lambda k: lambda x: [y * k for y in x],
        lambda k: types.SimpleNamespace(slope=k),
        lambda k: np.random.default_rng(k),
        lambda k: functools.lru_cache(times(k)),
        lambda k: property(times(k)),
        lambda k: staticmethod(times(k)),
        lambda k: type("Made", (), {"slope": k, "__module__": __name__}),
        lambda k: type("Made", (Affine,), {"__call__": times(k), "__module__": __name__})(1),
    ],
)
def test_what_holds_another_number_is_another_thing(make):
    assert content_digest(make(2)) == content_digest(make(2))
    assert content_digest(make(2)) != content_digest(make(3))


def test_code_globals_and_defaults_count_however_deep(monkeypatch):
    assert content_digest(default) != content_digest(other_default)
    assert content_digest(lambda x: x + 1) != content_digest(lambda x: x - 1)
    before = content_digest(twice_scaled)
    assert content_digest(twice_scaled) == before
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3)
    assert content_digest(twice_scaled) != before
    before, bound = content_digest(Affine(1)), Affine(1).method
    monkeypatch.setattr(Affine, "offset", 2)
    assert content_digest(Affine(1)) != before
    assert content_digest(bound) == content_digest(Affine(1).method)


def test_modules_of_the_user_count_by_what_is_taken_from_them(tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("WIDTH = 2\nUNUSED = 1\n\ndef width():\n    return WIDTH\n")
    monkeypatch.syspath_prepend(tmp_path)
    import helper_of_mine

    def within():
        import helper_of_mine as h

        return h.width()

    def outside():
        return helper_of_mine.width()

    for function in (within, outside):
        before = content_digest(function)
        monkeypatch.setattr(helper_of_mine, "UNUSED", 2)
        assert content_digest(function) == before
        monkeypatch.setattr(helper_of_mine, "WIDTH", helper_of_mine.WIDTH + 1)
        assert content_digest(function) != before


def test_what_refers_to_itself_has_a_hash():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n > 0 and even(n - 1)

    ring = [1]
    ring.append(ring)
    assert content_digest(even, ring) == content_digest(even, ring)


def test_order_and_names_do_not_run_into_each_other():
    things = [("ab", "c"), ("a", "bc"), ("abc",), [["a"], "bc"], ["a", ["bc"]], {"a": "bc"}, (1,), (1.0,), (True,)]
    assert len({content_digest(thing) for thing in things}) == len(things)
    assert content_digest({1, 2, 30, 400}) == content_digest({400, 30, 2, 1})


@pytest.mark.parametrize(
    "thing",
    [
        threading.Lock(),
        functools.partial(max, threading.Lock()),
        (n for n in range(3)),
        lambda x: np.random.rand(3),  # noqa: NPY002
        lambda x: np.random.standard_normal(3),  # noqa: NPY002
        functools.reduce(lambda inner, _: [inner], range(500), 1),
    ],
)
def test_what_cannot_be_seen_has_no_hash(thing):
    with pytest.raises(NotHashable):
        content_digest(thing)


def test_the_reason_says_where():
    session = threading.Lock()
    with pytest.raises(NotHashable, match=r"session: nothing shows what a _thread\.lock holds"):
        content_digest(lambda x: session and x)
    with open(os.devnull) as file, pytest.raises(NotHashable, match="TextIOWrapper"):
        content_digest(lambda x: file and x)


@pytest.mark.skipif("torch" not in FRAMEWORKS, reason="no PyTorch")
class TestTorch:
    @pytest.mark.parametrize("change", ["weights", "attribute", "hook", "class", "nothing", "mode", "grad", "loss"])
    def test_a_module_counts_by_what_it_computes_with(self, change):
        import torch
        from art.estimators.classification import PyTorchClassifier

        def made(slope=0.1, loss=None, times=1):
            class Net(torch.nn.Sequential):
                def forward(self, x):
                    return times * super().forward(x)

            torch.manual_seed(0)
            net = Net(torch.nn.Linear(3, 2), torch.nn.LeakyReLU(slope))
            optimizer = torch.optim.Adam(net.parameters())
            loss = loss or torch.nn.CrossEntropyLoss()
            return PyTorchClassifier(net, loss, (3,), 2, optimizer=optimizer, device_type="cpu"), net

        before, (other, net) = content_digest(made()[0]), made()
        if change == "weights":
            net[0].weight.data[0, 0] += 1e-6
        elif change == "attribute":
            other = made(slope=0.2)[0]
        elif change == "class":
            other = made(times=2)[0]
        elif change == "hook":
            net[1].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
        elif change == "mode":
            net.eval()
            other.predict(np.zeros((2, 3), np.float32))
        elif change == "grad":
            net(torch.zeros(2, 3)).sum().backward()
        elif change == "loss":
            other = made(loss=torch.nn.NLLLoss())[0]
        same = change in ("nothing", "mode", "grad", "loss")
        assert (content_digest(other) == before) == same

    def test_programs(self):
        import torch

        net = torch.nn.Linear(3, 2)
        scripted = torch.jit.script(net)
        with pytest.raises(NotHashable, match="compiled program"):
            content_digest(scripted)
        x = (torch.zeros(2, 3),)
        one, same = (torch.export.export(net, x).module() for _ in range(2))
        other = torch.export.export(torch.nn.Sequential(net, torch.nn.ReLU()), x).module()
        assert content_digest(one) == content_digest(same) != content_digest(other)


@pytest.mark.skipif("tensorflow" not in FRAMEWORKS, reason="no TensorFlow")
def test_keras_models_count_by_weights_configuration_and_code():
    import keras

    def made(activation="relu", slope=1.0, weight=0.0, factor=1):
        class Scaled(keras.layers.Layer):
            def __init__(self, slope):
                super().__init__(name="own")
                self.slope = slope

            def call(self, x):
                return factor * self.slope * x

        dense = keras.layers.Dense(2, activation=activation, name="dense")
        net = keras.Sequential([keras.layers.Input((3,), name="in"), dense, Scaled(slope)], name="net")
        dense.set_weights([np.full((3, 2), weight), np.zeros(2)])
        return net

    same = made()
    assert content_digest(made()) == content_digest(same)
    same.compile("adam", "mse")
    same.predict(np.zeros((2, 3)), verbose=0)
    assert content_digest(made()) == content_digest(same)
    changed = [
        made("tanh"),
        made(slope=2.0),
        made(weight=1.0),
        made(factor=2),
        made(lambda x: x),
        made(lambda x: 2 * x),
    ]
    assert len({content_digest(net) for net in (same, *changed)}) == 7
