"""What PyTorch's optimizers take, StiefelMuon takes too."""

import pytest
import torch
from torch import nn

from artclip.frameworks.pytorch.stiefel import StiefelMuon


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3))


def from_orthogonal(p):
    w = p.detach().flatten(1)
    w = w if len(w) <= w.shape[1] else w.T
    return float((w @ w.T - torch.eye(len(w))).abs().max())


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.rand(8, 1, 4, 4)).square().sum().backward()
    optimizer.step()


def test_names_and_groups_are_taken_and_matrices_are_orthogonal_at_once():
    model = net()
    matrices, others = [model[0].weight, model[2].weight], [model[0].bias, model[2].bias, model[4].bias]
    groups = [{"params": matrices, "lr": 0.02}, {"params": others, "role": "vector"}]
    for optimizer in (StiefelMuon(model.named_parameters()), StiefelMuon(groups)):
        assert [id(p) for p in optimizer.orthogonal] == [id(p) for p in matrices]
        assert max(map(from_orthogonal, matrices)) < 1e-6
        step(model, optimizer)
        assert max(map(from_orthogonal, matrices)) < 1e-6
    optimizer.add_param_group({"params": model[4].weight})
    assert from_orthogonal(model[4].weight) < 1e-6
    assert len(optimizer.orthogonal) == 3


def test_the_last_matrix_is_free_whether_or_not_it_is_trained():
    model = net()
    model[4].weight.requires_grad_(False)
    assert len(StiefelMuon(model.parameters()).orthogonal) == 2
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = StiefelMuon(model.parameters())
    step(model, optimizer)
    assert [id(p) for p in optimizer.orthogonal] == [id(model[2].weight)]
    assert torch.equal(before, model[0].weight)


def test_what_makes_no_sense_is_refused_and_changes_nothing():
    model = net()
    optimizer = StiefelMuon([{"params": [model[0].weight]}])
    before = [p.clone() for p in model.parameters()]
    for group, error in (
        ({"params": [model[2].weight], "role": "x"}, "role='x' is not known"),
        ({"params": [model[2].weight], "lr": 9.0}, "radians"),
        ({"params": model[2].parameters()}, "is no matrix"),
        ({"params": [nn.Parameter(torch.full((2, 2), torch.nan))]}, "NaN"),
    ):
        with pytest.raises(ValueError, match=error):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    with pytest.raises(TypeError, match="params is one tensor"):
        StiefelMuon(torch.zeros(3, 3))
    with pytest.raises(TypeError, match="complex64"):
        StiefelMuon([nn.Parameter(torch.zeros((2, 2), dtype=torch.complex64)), nn.Parameter(torch.zeros((2, 2)))])
    optimizer.param_groups[0]["lr"] = 0.7  # as a scheduler may
    with pytest.raises(ValueError, match="radians"):
        step(model, optimizer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_all_floating_types_train(dtype):
    model = net().to(dtype)
    optimizer = StiefelMuon(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(8, 1, 4, 4, dtype=dtype)).square().mean().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())  # which casts states
    step_of = [p.clone() for p in model.parameters()]
    optimizer.step()
    assert all(p.isfinite().all() and p.dtype == dtype for p in model.parameters())
    assert not all(torch.equal(p, q) for p, q in zip(step_of, model.parameters(), strict=True))
    assert max(from_orthogonal(p.float()) for p in optimizer.orthogonal) < (1e-6 if dtype == torch.float64 else 0.05)
