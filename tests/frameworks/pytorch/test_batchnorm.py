"""BatchNorm by the first rows: an operator with a gradient of its own."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from artclip.frameworks.pytorch.batchnorm import normalised_by

LAYERS = {
    (7, 3): nn.BatchNorm1d,
    (7, 3, 5): nn.BatchNorm1d,
    (7, 3, 4, 2): nn.BatchNorm2d,
    (7, 3, 2, 2, 2): nn.BatchNorm3d,
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", LAYERS)
def test_gradients_equal_finite_differences(shape, affine):
    layer = LAYERS[shape](3, affine=affine).double()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def outputs(x, *parameters):
        with normalised_by([layer], 4, 7):
            return layer(x)

    assert torch.autograd.gradcheck(outputs, (x, *layer.parameters()))


def test_a_whole_batch_is_what_the_layer_itself_makes_of_it():
    layer, x = nn.BatchNorm2d(3), torch.randn(5, 3, 4, 4)
    with normalised_by([layer], 5, 5):
        found = layer(x)
    assert (layer.running_mean == 0).all()
    torch.testing.assert_close(found, layer(x))
    assert (layer.running_mean != 0).any()


@pytest.mark.parametrize("own", [True, False])
def test_layers_end_as_they_were(own):
    layer = nn.BatchNorm1d(3)
    if own:
        layer.forward = lambda x: x + 1
    before = dict(vars(layer))
    with pytest.raises(RuntimeError), normalised_by([layer], 1, 2):
        layer(torch.ones(2, 4))
    assert vars(layer) == before


def test_layers_in_eval_mode_keep_to_their_averages():
    layer, x = nn.BatchNorm1d(3).eval(), torch.randn(4, 3)
    expected = layer(x)
    with normalised_by([layer], 2, 4):
        assert torch.equal(layer(x), expected)
