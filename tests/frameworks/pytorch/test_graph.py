"""PyTorch modules read as graphs of layers: the graph computes what the module does, and its constants hold."""

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.estimators.classification import PyTorchClassifier
from art.estimators.regression import PyTorchRegressor
from torch import nn

from artclip import graph as G
from artclip import lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks import graph_of
from artclip.frameworks.pytorch.calls import RULES, arguments_of
from artclip.frameworks.pytorch.graph import read
from tests.nets.torch_graphs import ACTIVATIONS, ARCHITECTURES, IN_PLACE, OPERATIONS, REFUSED, SHAPE, Of, build

COMPUTED = ARCHITECTURES | IN_PLACE | OPERATIONS | ACTIVATIONS


def images(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *SHAPE))


def outputs(net, x):
    with torch.no_grad():
        return net(torch.from_numpy(x).clone()).flatten(1).numpy()


@pytest.mark.parametrize("name", COMPUTED)
def test_the_graph_computes_what_the_module_does(name):
    net, x = build(COMPUTED[name]).double(), images(5) * 2
    graph = read(net, SHAPE)
    tolerance = 1e-5 if name == "cast" else 1e-10
    assert graph.inputs == 144
    np.testing.assert_allclose(graph.evaluate(x), outputs(net, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [*ARCHITECTURES, *IN_PLACE, *OPERATIONS, *ACTIVATIONS])
def test_constants_are_never_exceeded(name):
    net = build(COMPUTED[name]).double()
    graph = read(net, SHAPE)
    spread = np.concatenate([images(6, seed) * scale for seed, scale in enumerate((0.01, 1.0, 10.0))])
    shifts = np.random.default_rng(9).standard_normal(spread.shape) * 1e-4
    for p in (1, 2, np.inf):
        factors = [node.operation.factor(p) for node in graph.nodes]
        bound = G.through(graph.nodes, factors, 1.0, lambda b, p=p: float(np.linalg.norm(b, p)))[-1]
        jacobian = torch.autograd.functional.jacobian
        seen = [
            np.linalg.norm(jacobian(lambda t: net(t.clone()).flatten(), torch.from_numpy(x[None])).reshape(-1, 144), p)
            for x in spread[:: 3 if p == 2 else 5]
        ]
        pairs = np.linalg.norm(outputs(net, spread + shifts) - outputs(net, spread), p, axis=1)
        lengths = np.linalg.norm(shifts.reshape(len(shifts), -1), p, axis=1)
        tolerance = 1e-3 if name == "cast" else 1e-7  # it rounds to float32 inside
        assert max(*seen, *(pairs / lengths)) <= bound * (1 + tolerance)
        assert bound > 0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_of_activations(name):
    """Of what acts on each entry alone the graph is one activation, whose slopes are just those of the function."""
    net = build(ACTIVATIONS[name]).double()
    (node,) = read(net, SHAPE).nodes
    if name == "sines":
        return
    x = np.concatenate([np.linspace(-30, 30, 144 * 400), np.linspace(-900, 900, 143), [0.0]]).reshape(-1, *SHAPE)
    step = 1e-6
    slopes = (outputs(net, x + step) - outputs(net, x - step)) / (2 * step)
    operation = node.operation
    low, high = (operation.low, operation.high) if isinstance(operation, G.Activation) else (None, operation.factor(2))
    assert slopes.max() <= high + 1e-7
    assert slopes.max() >= high - 1e-3 * max(1, abs(high)) or name == "x·tanh"
    if low is not None:
        assert slopes.min() >= low - 1e-7
        assert slopes.min() <= low + 1e-3 * max(1, abs(low)) or "SELU" in name or name == "x·tanh"


# Values and Jacobians are compared above; these go through all of it, from ART's estimator to a bound.
@pytest.mark.parametrize("name", ["dense", "residual", "cast", "in place through a view"])
def test_bounds_hold(name):
    x, net = images(20), build(COMPUTED[name])
    width = net(torch.zeros(1, *SHAPE)).flatten(1).shape[1]
    model = PyTorchRegressor(nn.Sequential(net, nn.Flatten()), nn.MSELoss(), SHAPE, device_type="cpu", optimizer=None)
    assert graph_of(model).nodes[-1].size == width
    for norm in (1, 2, "inf"):
        lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=4, max_iter=10, seed=0)
        assert 0 < lower.value <= lipschitz_upper_bound(model, norm, norm, max_iter=10).value * (1 + 1e-6)


def test_scaling_of_art_is_part_of_the_graph():
    net = build(ARCHITECTURES["dense"])
    scaling = (np.array([0.1, 0.4, 0.2, 0.3]), np.array([0.5, 2, 1, 0.7]))
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), SHAPE, 3, device_type="cpu", preprocessing=scaling)
    x = images(5).astype(np.float32)
    np.testing.assert_allclose(graph_of(model).evaluate(x), model.predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_what_has_no_constant_is_named(name):
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        read(Of(function), SHAPE)


@pytest.mark.parametrize("overload", RULES)
def test_rules_name_all_arguments_of_their_operations(overload):
    packet, _, name = overload.partition(".")
    schema = getattr(getattr(torch.ops.aten, packet), name)._schema
    names = arguments_of(RULES[overload])
    # A rule that names none runs the operation itself, with all its arguments.
    given = {a.name for a in schema.arguments}
    assert names is None or {name for name, needed in names.items() if needed} <= given <= set(names)
    if names is None:
        assert inspect.getsource(RULES[overload]).count("call.node.target(**") == 1


def test_arguments_that_only_some_overloads_have_are_those_of_one():
    for rule in set(RULES.values()):
        overloads = [overload.partition(".") for overload, other in RULES.items() if other is rule]
        schemas = [getattr(getattr(torch.ops.aten, packet), name)._schema for packet, _, name in overloads]
        known = {a.name for schema in schemas for a in schema.arguments}
        assert set(arguments_of(rule) or ()) <= known


def test_an_argument_that_a_rule_does_not_know_is_refused(monkeypatch):
    monkeypatch.setitem(RULES, "gelu.default", lambda call, /, self: call.put(G.ACTIVATIONS["gelu"], self))
    with pytest.raises(ValueError, match=r"no rule for 'gelu.default' with the argument approximate"):
        read(nn.GELU(), SHAPE)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.calls, self.last, self.cache = 0, None, {"sizes": {}}

    def forward(self, x):
        self.calls += 1
        self.last = x
        self.cache["sizes"][len(x)] = torch.ones_like(x)
        self.count += 1
        return x.flatten(1)


def test_reading_leaves_the_model_as_it_was():
    net = Counting()
    with pytest.raises(ValueError, match="forward changes the buffer 'count'"):
        read(net, SHAPE)
    assert net.count == 0
    assert net.calls == 0
    assert net.last is None
    assert net.cache == {"sizes": {}}
    assert net.training
    convolutions = build(ARCHITECTURES["convolutions"]).train()
    before = {k: v.clone() for k, v in convolutions.state_dict().items()}
    read(convolutions, SHAPE)
    assert all(m.training for m in convolutions.modules())
    assert all(torch.equal(v, before[k]) for k, v in convolutions.state_dict().items())


@pytest.mark.parametrize("function", [lambda x: torch.ones(len(x), 3), lambda x: torch.zeros(3).expand(len(x), 3)])
def test_outputs_that_are_the_same_for_all_inputs_have_the_constant_0(function):
    model = PyTorchRegressor(Of(lambda m, x: function(x)), nn.MSELoss(), (6,), device_type="cpu", optimizer=None)
    assert lipschitz_upper_bound(model).value == 0


def test_a_refusal_leaves_buffers_and_generators_as_they_were():
    net = Counting()
    model = PyTorchRegressor(net, nn.MSELoss(), (6,), device_type="cpu", optimizer=None)
    with pytest.raises(ValueError, match="forward changes the buffer"):
        lipschitz_upper_bound(model)
    assert net.count == 0
    for draw in (lambda x: x + torch.randn(6), nn.functional.dropout, lambda x: x * float(np.random.rand())):  # noqa: NPY002
        model = PyTorchRegressor(
            Of(lambda m, x, draw=draw: draw(x)), nn.MSELoss(), (6,), device_type="cpu", optimizer=None
        )
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        with pytest.raises(ValueError, match="random"):
            lipschitz_upper_bound(model)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_in_place_models_leave_the_data_of_the_user():
    net = Of(lambda m, x: m.inside[0](x.sub_(0.5).flatten(1)), nn.Linear(144, 3))
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), SHAPE, 3, clip_values=(0, 1), device_type="cpu")
    x = np.random.default_rng(0).uniform(size=(8, *SHAPE)).astype(np.float32)
    before = x.copy()
    lower = lipschitz_lower_bound(model, x, nb_restarts=2, max_iter=5, seed=0)
    assert np.array_equal(x, before)
    assert lower.value == pytest.approx(np.linalg.norm(net.inside[0].weight.detach(), 2), rel=1e-3)


class Wrong(nn.Module):
    """What it computes outside the framework is a constant for whoever traces it."""

    def __init__(self, function):
        super().__init__()
        self.function, self.linear = function, nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(x) + torch.from_numpy(self.function(len(x))).to(x.dtype)


def test_the_witness_finds_what_a_trace_cannot_see():
    rng = np.random.default_rng(0)
    model = PyTorchClassifier(
        Wrong(lambda n: rng.standard_normal(3)), nn.CrossEntropyLoss(), (6,), 3, device_type="cpu"
    )
    with pytest.raises(ValueError, match="two calls of predict on the same inputs differ"):
        lipschitz_upper_bound(model)
    model = PyTorchClassifier(Wrong(lambda n: np.full(3, n)), nn.CrossEntropyLoss(), (6,), 3, device_type="cpu")
    with pytest.raises(ValueError, match="outputs of a sample alone and in a batch differ"):
        lipschitz_upper_bound(model)


def test_models_in_half_precision_are_refused():
    for dtype in (torch.bfloat16, torch.float16):
        model = PyTorchClassifier(nn.Linear(6, 3).to(dtype), nn.CrossEntropyLoss(), (6,), 3, device_type="cpu")
        with pytest.raises(ValueError, match=f"computes in {str(dtype)[6:]}.*use model.float"):
            lipschitz_upper_bound(model)


@pytest.mark.parametrize("make", [nn.Identity, nn.Flatten])
def test_models_without_weights(make):
    model = PyTorchRegressor(make(), nn.MSELoss(), (6,), device_type="cpu", optimizer=None)
    assert lipschitz_upper_bound(model).value == pytest.approx(1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: (x.flatten(1), x), r"a tuple of 2; .*model\(x\)\[0\]"),
        (lambda m, x: {"logits": x}, r"a dict of 'logits'; .*model\(x\)\['logits'\]"),
        (lambda m, x: x, r"shape \(\d+, 4, 6, 6\); a classifier gives one row"),
        (lambda m, x: x.flatten(1), "144 outputs a sample and its estimator says nb_classes=3"),
    ],
)
def test_outputs_that_are_no_row_a_sample_are_refused(function, message):
    class Net(nn.Module):
        def forward(self, x):
            return function(self, x)

    model = PyTorchClassifier(Net(), nn.CrossEntropyLoss(), SHAPE, 3, clip_values=(0, 1), device_type="cpu")
    for figure in (lambda: lipschitz_upper_bound(model), lambda: lipschitz_lower_bound(model, np.zeros((4, *SHAPE)))):
        with pytest.raises(ValueError, match=message):
            figure()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: m(x) * (10 if len(x) > 32 else 1), "depends on the size of the batch"),
        (lambda m, x: m(x) * (10 if np.random.random() < 1e-9 else 1), "draws numbers from Python's or NumPy's"),  # noqa: NPY002
    ],
)
def test_models_that_depend_on_more_than_a_sample_are_refused(function, message):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(6, 3)

        def forward(self, x):
            return function(self.inside, x)

    model = PyTorchClassifier(Net(), nn.CrossEntropyLoss(), (6,), 3, clip_values=(0, 1), device_type="cpu")
    for figure in (lambda: lipschitz_upper_bound(model), lambda: lipschitz_lower_bound(model, np.zeros((4, 6)))):
        with pytest.raises(ValueError, match=message):
            figure()


def test_one_number_a_sample_and_programs():
    net = Of(lambda m, x: torch.stack([x[:, 0, 0, 0], 2 * x[:, 1, 2, 3].relu_()], 1))
    graph, x = read(net, SHAPE), images(3)
    np.testing.assert_allclose(graph.evaluate(x), outputs(net, x))
    with pytest.raises(ValueError, match="TorchScript program"):
        read(torch.jit.trace(nn.Linear(6, 3), torch.zeros(2, 6)), (6,))


def test_a_sequential_that_predict_runs_otherwise_has_a_note():
    class Steeper(nn.Sequential):
        def forward(self, x):
            return 3 * super().forward(x)

    plain, own, hooked = (kind(nn.Linear(6, 3)) for kind in (nn.Sequential, Steeper, nn.Sequential))
    hooked.register_forward_hook(lambda module, inputs, outputs: 3 * outputs)
    for net, said in ((plain, None), (own, "own forward"), (hooked, "hooks")):
        model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (6,), 3, device_type="cpu")
        assert lipschitz_upper_bound(model).value == pytest.approx(np.linalg.norm(net[0].weight.detach(), 2))
        for found in (lipschitz_upper_bound(model), lipschitz_lower_bound(model, np.zeros((2, 6)), nb_restarts=2)):
            assert len(found.notes) == (said is not None)
            assert said is None or said in found.notes[0]


class _Iterated(nn.Module):
    """A weight over its norm, by iterations that torch.export cannot follow."""

    def __init__(self, drift=0.0):
        super().__init__()
        self.drift, self.calls = drift, 0

    def forward(self, w):
        norm = 1.0
        while abs(norm - float((w.detach() / norm).norm()) * norm) > 1e-3:
            norm = float(w.detach().norm())
        self.calls += 1
        return w / norm * (1 + self.drift * self.calls)


@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_weights_that_cannot_be_traced_are_constants_where_they_stay(drift):
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3))
    nn.utils.parametrize.register_parametrization(net[0], "weight", _Iterated(drift), unsafe=True)
    if drift:
        with pytest.raises(ValueError, match="cannot be read"):
            read(net, (5,))
        return
    graph = read(net, (5,))
    x = np.random.default_rng(0).standard_normal((7, 5))
    assert np.allclose(graph.evaluate(x), net(torch.from_numpy(x).float()).detach().numpy(), atol=1e-6)
    assert not nn.utils.parametrize._cache
