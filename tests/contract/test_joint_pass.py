"""Loss and penalty in one pass through the model, where that is the same as a pass each."""

import numpy as np
import pytest

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from tests.nets import FRAMEWORKS
from tests.nets.common import same_weights

KINDS = {
    "default": {},
    "bound": {"certify_eps": 0.1, "upper_penalty": 0.01},
    "persistent": {"pair_init": "near", "penalty": "linear"},
    "adversarial": {"adversarial_eps": 0.2},
    "steepest": {"reduction": "max", "norm": np.inf, "output_norm": 1},
    "more pairs than samples": {"nb_pairs": 30},
}


def trained(nets, monkeypatch, joins, make, **options):
    """Weights and history after a fit, and how often a step took one pass."""
    estimator, passes = make(), []
    f = trainable_of(estimator)
    assert isinstance(f.joins_passes(1), bool)
    original = type(f).joint_loss
    monkeypatch.setattr(type(f), "joins_passes", lambda self, rows: joins)
    monkeypatch.setattr(type(f), "joint_loss", lambda *a: (passes.append(1), original(*a))[1])
    trainer = CLIPTrainer(estimator, **{"lamda": 0.3, "pair_interval": 2, "nb_pairs": 6, "seed": 0, **options})
    x, y = nets.data(n=50)
    trainer.fit(x.astype(np.float64), y, batch_size=16, nb_epochs=2)
    monkeypatch.undo()
    kept = ("loss", "accuracy", "lipschitz", "lamda", "gradients")
    return nets.weights(estimator), [{k: r[k] for k in kept} for r in trainer.history], len(passes)


def compared(nets, monkeypatch, make, **options):
    one, shown, passes = trained(nets, monkeypatch, True, make, **options)
    two, shown_of_two, none = trained(nets, monkeypatch, False, make, **options)
    assert passes > 0 == none
    assert same_weights(one, two, atol=1e-11)
    plain, *_ = trained(nets, monkeypatch, False, make, **{**options, "lamda": 0.0})
    assert not same_weights(one, plain, atol=1e-4)  # the penalty is felt
    for a, b in zip(shown, shown_of_two, strict=True):
        assert a == pytest.approx(b, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("nets", "kind"),
    [(f, kind) for f in FRAMEWORKS for kind in KINDS if f == FRAMEWORKS[0] or kind in ("default", "bound")],
    indirect=["nets"],
)
def test_a_step_in_one_pass_is_the_step_of_two(nets, kind, monkeypatch):
    compared(nets, monkeypatch, lambda: nets.to_double("mlp"), **KINDS[kind])


def test_of_a_loss_that_is_a_sum_too(nets, monkeypatch):
    def make():
        made = nets.to_double("sigmoid", lr=0.01)
        (made.loss if hasattr(made, "loss") else made.loss_object).reduction = "sum"
        return made

    compared(nets, monkeypatch, make)


def test_passes_are_joined_where_that_takes_less_memory_than_a_second_gradient(nets):
    f = trainable_of(nets.classifier("mlp"))  # 83 parameters; of each point 6 inputs, 8 and at most 3 outputs are kept
    assert f.joins_passes(4)
    assert not f.joins_passes(7)


@pytest.mark.parametrize("net", ["batchnorm", "hidden-dropout", "branches"])
def test_passes_stay_apart_where_a_model_may_have_modes_or_mix_samples(nets, net):
    assert not trainable_of(nets.classifier(net)).joins_passes(0)
