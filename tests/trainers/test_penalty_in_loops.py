"""LipschitzPenalty on models as PyTorch's users train them: moved, wrapped, with several outputs, saved on the way."""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from artclip import LipschitzPenalty, WeightRegularizationTrainer, lipschitz_lower_bound
from tests.nets import torch_nets as nets


def penalty_of(model, **options):
    return LipschitzPenalty(model, nets.data("batchnorm")[0], nb_pairs=4, clip_values=(0, 1), seed=0, **options)


def bare():
    return nets.classifier("batchnorm").model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("init", ["batch", "near"])
def test_it_goes_where_its_model_goes(dtype, init):
    model, x = bare(), nets.data("batchnorm")[0][:12]
    penalty = penalty_of(model, pair_init=init, separation=2.0)
    penalty(x)
    model.to(dtype)
    values = [penalty(x), penalty(), penalty(torch.from_numpy(x).to(dtype))]
    assert all(v.dtype == dtype and v.isfinite() for v in values)
    sum(values).backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in model.parameters() if p.ndim > 1)
    model.float()
    assert penalty(x).dtype == torch.float32


def test_a_model_that_is_changed_later_is_seen_as_it_is():
    """A new head with Dropout, in train mode: pairs see it in eval mode, and it is left as it was."""
    model, x = bare(), nets.data("batchnorm")[0][:12]
    penalty = penalty_of(model)
    model.append(nn.Sequential(nn.Dropout(0.9)))
    model.train()
    torch.manual_seed(0)
    state = penalty.state_dict()
    first = penalty(x)
    penalty.load_state_dict(state)
    assert penalty(x) == first
    assert model[-1][0].training


class Outputs(OrderedDict):
    """As transformers' ModelOutput: a dict with attributes."""

    def __getattr__(self, name):
        return self[name]


class Wrapped(nn.Module):
    """A model with outputs of some kind; as a LightningModule it has steps of its own."""

    def __init__(self, model, wrap):
        super().__init__()
        self.inner, self.wrap = model, wrap

    def forward(self, x):
        return self.wrap(self.inner(x))

    def training_step(self, batch, index):
        raise AssertionError("the penalty is of forward")


OUTPUTS = {
    "one tensor": lambda z: z,
    "ModelOutput": lambda z: Outputs(hidden=z * 7, logits=z),
    "object": lambda z: SimpleNamespace(logits=z, loss=None),
    "dict": lambda z: {"features": z * 7, "logits": z},
    "dict without logits": lambda z: {"out": z, "aux": z * 7},
    "tuple": lambda z: (None, z, z * 7),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_of_several_outputs_the_logits_count(kind):
    found = []
    for wrap in (OUTPUTS["one tensor"], OUTPUTS[kind]):
        penalty = penalty_of(Wrapped(bare(), wrap))
        penalty(nets.data("batchnorm")[0][:12]).backward()
        found.append(penalty.quotients())
    np.testing.assert_array_equal(*found)


def test_outputs_without_a_tensor_are_named():
    with pytest.raises(ValueError, match="the model gives a dict"):
        penalty_of(Wrapped(bare(), lambda z: {"logits": 3}))


def test_a_model_in_a_wrapper_gets_the_gradient_of_one_without(tmp_path):
    """DistributedDataParallel, which counts the passes of a step, and torch.compile, which would compile each mode."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        wrappers = (lambda m: m, nn.parallel.DistributedDataParallel, torch.compile, nn.DataParallel)
        found = []
        for wrap in wrappers:
            inner = bare()
            model = wrap(inner)
            penalty = penalty_of(model)
            x = torch.from_numpy(nets.data("batchnorm")[0][:12])
            torch.manual_seed(0)
            loss = (inner if wrap is torch.compile else model)(x).square().mean()
            (loss + penalty(x)).backward()
            found.append([p.grad.clone() for p in inner.parameters()])
        for gradients in found[1:]:
            for a, b in zip(gradients, found[0], strict=True):
                torch.testing.assert_close(a, b)
    finally:
        torch.distributed.destroy_process_group()


def test_its_state_is_saved_with_the_model(tmp_path):
    """By torch.save, and read without running code."""
    model, x = bare(), nets.data("batchnorm")[0][:12]
    penalty = penalty_of(model, pair_init="near")
    penalty(x)
    torch.save({"model": model.state_dict(), "penalty": penalty.state_dict()}, tmp_path / "state.pt")
    again = penalty_of(bare(), pair_init="near")
    read = torch.load(tmp_path / "state.pt", weights_only=True)
    again._f.module.load_state_dict(read["model"])
    again.load_state_dict(read["penalty"])
    assert again(x) == penalty(x)


def test_inference_mode_is_refused_by_name_and_no_grad_is_not():
    model, x = bare(), nets.data("batchnorm")[0][:12]
    penalty = penalty_of(model)
    with torch.no_grad():
        assert penalty(x).isfinite()
    classifier = nets.classifier("batchnorm")
    for call in (lambda: penalty(x), lambda: penalty_of(model), lambda: lipschitz_lower_bound(classifier, x)):
        with (
            torch.inference_mode(),
            pytest.raises(RuntimeError, match=r"inside torch\.inference_mode\(\) nothing .*no_grad"),
        ):
            call()
    before = nets.weights(classifier)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        WeightRegularizationTrainer(classifier).fit(*nets.data("batchnorm"), nb_epochs=1)
    assert nets.same_weights(before, nets.weights(classifier))
