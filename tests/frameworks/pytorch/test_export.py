"""Programs of torch.export: what is loaded is the program, whatever its batch, and what would run code is refused."""

import json
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from artclip import evaluate, lipschitz_lower_bound, lipschitz_upper_bound, load_model
from artclip.frameworks.pytorch.export import _is_known
from artclip.safety import ModelFileError, Untrusted
from tests.archives import rewritten

pytestmark = pytest.mark.filterwarnings("ignore:.*takes batches of")
nn = torch.nn
Dim = torch.export.Dim


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten(), nn.Linear(8, 3)).eval()


def exported(path, batch=2, dynamic=None, model=None):
    shapes = None if dynamic is None else ({0: dynamic},)
    program = torch.export.export(model or net(), (torch.zeros(batch, 1, 4, 4),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("pt2") / "clean.pt2", dynamic=Dim("n"))


def with_graph(source, path, change):
    def of_member(name, data):
        if not name.endswith("models/model.json"):
            return data
        record = json.loads(data)
        change(record)
        return json.dumps(record)

    return rewritten(source, path, of_member)


def gradients(model, x, y):
    x = torch.tensor(x, requires_grad=True)
    nn.functional.cross_entropy(model(x), torch.tensor(y)).backward()
    return x.grad


@pytest.mark.parametrize(
    ("batch", "dynamic"),
    [(1, None), (2, None), (3, None), (2, Dim("n")), (2, Dim("n", max=4)), (2, Dim.DYNAMIC)],
    ids=["1", "2", "3", "any", "at most 4", "dynamic"],
)
def test_a_program_of_any_batch_is_the_module_that_it_came_from(tmp_path, batch, dynamic):
    loaded, model = load_model(exported(tmp_path / "m.pt2", batch, dynamic)), net()
    assert (loaded.input_shape, loaded.nb_classes) == ((1, 4, 4), 3)
    for n in (1, 2, 7):
        x = np.random.default_rng(n).uniform(size=(n, 1, 4, 4)).astype(np.float32)
        y = np.arange(n) % 3
        np.testing.assert_allclose(loaded.predict(x), model(torch.tensor(x)).detach(), atol=1e-6)
        found = loaded.loss_gradient(x, np.eye(3, dtype=np.float32)[y])
        np.testing.assert_allclose(found, gradients(model, x, y), atol=1e-6)
        assert np.abs(found).max() > 1e-4


def test_it_can_be_attacked_and_bounded(clean):
    x, loaded = np.random.default_rng(0).uniform(size=(5, 1, 4, 4)).astype(np.float32), load_model(clean)
    y = loaded.predict(x).argmax(1)
    found = evaluate(loaded, x, y, eps=0.5, attacks="quick", lipschitz=False, seed=0, verbose=False)
    assert not [r["error"] for r in found.records() if r["error"]]
    low = lipschitz_lower_bound(loaded, x, nb_restarts=4, seed=0)
    assert 0 < low.value <= lipschitz_upper_bound(loaded, method="product").value


class ByBatch(torch.nn.Module):
    """Its outputs depend on all samples of a batch."""

    def forward(self, x):
        return x.flatten(1)[:, :3] - x.mean()


def test_batches_of_one_size_are_said(tmp_path):
    with pytest.warns(UserWarning, match=r"takes batches of 3 alone.*dynamic_shapes=\({0: torch.export.Dim\('n'\)},\)"):
        load_model(exported(tmp_path / "m.pt2", batch=3, model=ByBatch()))


class Reshaped(torch.nn.Module):
    """Shapes with the size of the batch in them."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 8))

    def forward(self, x):
        x = x.view(x.shape[0], 2, 8) + self.weight.expand(x.shape[0], 2, 8)
        return x.reshape(x.shape[0], -1)[:, :3]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("make", [net, Reshaped])
def test_a_program_that_need_not_be_sliced_is_not(tmp_path, batch, make, recwarn):
    model = make()
    loaded = load_model(exported(tmp_path / "m.pt2", batch, model=model))
    x = np.random.default_rng(0).uniform(size=(7, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(x), model(torch.from_numpy(x)).detach(), atol=1e-6)
    assert loaded.model.size is None
    assert not [w for w in recwarn if "takes batches of" in str(w.message)]
    assert lipschitz_upper_bound(loaded, method="product").value > 0


def test_a_dtype_of_its_own(tmp_path):
    path, x = tmp_path / "m.pt2", np.random.default_rng(0).uniform(size=(3, 1, 4, 4)).astype(np.float32)
    torch.export.save(torch.export.export(net().double(), (torch.zeros(3, 1, 4, 4).double(),)), path)
    np.testing.assert_allclose(load_model(path).predict(x), net()(torch.tensor(x)).detach(), atol=1e-6)


def test_one_in_train_mode_is_said(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
    with pytest.warns(UserWarning, match=r"was exported in train mode, so its dropout draws"):
        load_model(exported(tmp_path / "m.pt2", model=model))


def test_what_is_no_classifier_of_images_is_said(tmp_path):
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    class Named(nn.Module):
        def forward(self, x):
            return {"logits": x.flatten(1)}

    a = torch.zeros(2, 3)
    for name, program, message in (
        ("two", torch.export.export(Two(), (a, a)), r"two\.pt2 takes 2 inputs; export a module"),
        ("named", torch.export.export(Named(), (a,)), r"named\.pt2.*gives a dict; export a module that gives logits"),
        ("whole", torch.export.export(nn.Flatten(), (a.long(),)), r"takes inputs of torch\.int64, shape \(2, 3\)"),
        ("flat", torch.export.export(nn.Unflatten(1, (1, 3)), (a,)), r"gives \(2, 1, 3\) for 2 inputs"),
    ):
        torch.export.save(program, tmp_path / f"{name}.pt2")
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path / f"{name}.pt2")


def test_the_layout_of_before_and_files_of_the_makers_own(tmp_path, clean):
    """PyTorch wrote these members before 2.8, and still reads them; notes of the maker are not copied."""
    names = {
        "models/model.json": "serialized_exported_program.json",
        "data/sample_inputs/model.pt": "serialized_example_inputs.pt",
    }
    torch.save({**dict(net().named_parameters()), **dict(net().named_buffers())}, tmp_path / "state")
    torch.save({}, tmp_path / "constants")
    old = {
        "version": b"8.20",
        "serialized_state_dict.pt": (tmp_path / "state").read_bytes(),
        "serialized_constants.pt": (tmp_path / "constants").read_bytes(),
        "extra_files/notes.txt": b"import os",
    }
    with zipfile.ZipFile(clean) as file, zipfile.ZipFile(tmp_path / "old.pt2", "w") as kept:
        for name, to in names.items():
            kept.writestr(to, file.read(f"{file.namelist()[0].split('/')[0]}/{name}"))
        for name, data in old.items():
            kept.writestr(name, data)
    x = np.random.default_rng(0).uniform(size=(2, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "old.pt2").predict(x), net()(torch.tensor(x)).detach(), atol=1e-6)


def call(target, *arguments):
    """A change that calls something before the program's own operators."""

    def change(record):
        arg = [{"name": "", "arg": {kind: value}, "kind": 1} for kind, value in arguments]
        node = {"target": target, "inputs": arg, "outputs": [], "metadata": {}, "name": "call"}
        record["graph_module"]["graph"]["nodes"].insert(0, node)

    return change


def signature(**fields):
    return lambda record: record["graph_module"]["module_call_graph"][0]["signature"].update(fields)


def size(expression):
    def change(record):
        values = record["graph_module"]["graph"]["tensor_values"]
        next(iter(values.values()))["sizes"][0] = {"as_expr": {"expr_str": expression, "hint": None}}

    return change


def field(where, key, value):
    """A change of one field of the first node, or of the first input of the signature."""

    def change(record):
        graph = record["graph_module"]
        place = {"node": graph["graph"]["nodes"][0], "weight": graph["signature"]["input_specs"][0]["parameter"]}
        place[where][key] = value

    return change


IMPORTS = json.dumps(
    [1, {"type": "collections.defaultdict", "context": '{"default_factory_module": "this"}', "children_spec": []}]
)
CHANGES = {
    "a function of a module": call("torch.os.system", ("as_string", "touch MARKER")),
    "a function of torch": call("torch.hub.load", ("as_string", "MARKER")),
    "an operator that writes a file": call("torch.ops.aten.save.default", ("as_int", 1), ("as_string", "MARKER")),
    "an operator that reads a file": call("torch.ops.aten.from_file.default", ("as_string", "MARKER")),
    "an operator of another library": call("torch.ops.mine.run.default"),
    "a function of functions": call(
        "torch.ops.higher_order.wrap_with_set_grad_enabled",
        *(("as_bool", True), ("as_operator", "torch.os.system"), ("as_string", "touch MARKER")),
    ),
    "a size": size("__import__('os').system('touch MARKER')"),
    "a size of attributes": size("().__class__.__bases__"),
    "a name in generated code": field("node", "name", "a = print(1); b"),
    "a weight's name in generated code": field("weight", "parameter_name", 'a", print(1)) or getattr(self, "b'),
    "an argument in generated code": signature(forward_arg_names=["x=__import__('os').system('touch MARKER')"]),
    "a structure that imports": signature(in_spec=IMPORTS),
    "a class": lambda record: record.update(verifiers=[{"class_fqn": "os.system"}]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_strings_that_would_run_are_refused(tmp_path, marker, clean, change):
    path = with_graph(clean, tmp_path / "m.pt2", change)
    path = rewritten(path, tmp_path / "n.pt2", lambda name, data: data.replace(b"MARKER", str(marker).encode()))
    with pytest.raises(Untrusted, match=r"n\.pt2 has .*which is not known to be harmless.*say trust=True"):
        load_model(path)


def test_a_size_that_would_run_does_run_in_a_trusted_file(tmp_path, clean):
    """The refusals are about something: PyTorch evaluates the string."""
    marker = tmp_path / "ran"
    path = with_graph(clean, tmp_path / "m.pt2", size(f"__import__('os').system('touch {marker}')"))
    with pytest.raises(ValueError, match=r"cannot read the model"):
        load_model(path, trust=True)
    assert marker.exists()


def test_guards_are_left_out(tmp_path, marker, clean):
    def change(record):
        record["guards_code"] = [f"not __import__('os').system('touch {marker}')"]

    loaded = load_model(with_graph(clean, tmp_path / "m.pt2", change))
    x = np.random.default_rng(0).uniform(size=(2, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(x), net()(torch.tensor(x)).detach(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("archive/data/aotinductor/model/wrapper.so", "holds .*wrapper.so, which is no part of a program on tensors"),
        ("archive/data/constants/custom_obj_0", "holds .*custom_obj_0, which is no part"),
        ("archive/data/constants/opaque_obj_0", "holds .*opaque_obj_0, which is no part"),
        ("clean/DATA/weights/weight_0", "holds two members of one name; it was made to deceive"),
    ],
)
def test_members_that_are_no_tensors_are_refused(tmp_path, clean, name, message):
    with pytest.raises(ModelFileError, match=message):
        load_model(rewritten(clean, tmp_path / "m.pt2", lambda name, data: data, [(name, b"x")]))


def test_pickled_weights_are_refused(tmp_path, clean):
    def change(name, data):
        return data.replace(b'"use_pickle": false', b'"use_pickle": true')

    with pytest.raises(Untrusted, match="holds pickled weights"):
        load_model(rewritten(clean, tmp_path / "m.pt2", change))


def test_expressions_of_sizes():
    symbol = "Symbol('s77', positive=True, integer=True)"
    for good in ("s31", symbol, "2*s0 + 1", f"Min(Integer(8), Mul(Integer(8), {symbol}))", "s0**2", "u0 // 2", ""):
        assert _is_known("expr_str", good), good
    bad = ("exit()", "s0.__class__", f"{symbol}; print", "open('x')", "lambda: 0", "eval('1')", "9**9**9", "Symbol(a)")
    for text in bad:
        assert not _is_known("expr_str", text), text
    assert not _is_known("a field of tomorrow", "words")
