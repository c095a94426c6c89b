"""Weight regularisation: its penalties are the norms they claim to be."""

import numpy as np
import pytest

from artclip import WeightRegularizationTrainer
from tests.nets import default as nets


@pytest.mark.parametrize("kind", ["l2", "spectral"])
def test_larger_lamda_smaller_norms(kind):
    x, y = nets.data(n=100)
    norms = []
    for lamda in (0.0, 0.01, 1.0):
        classifier = nets.classifier()
        trainer = WeightRegularizationTrainer(classifier, lamda=lamda, kind=kind, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=20)
        norms.append(np.prod([np.linalg.norm(w, 2) for w in nets.matrices(classifier)]))
        assert trainer.history[-1]["lipschitz"] is None
        assert (trainer.history[-1]["penalty"] is None) == (lamda == 0)
    assert norms[0] > norms[1] > norms[2]


def test_target_accuracy_is_held():
    trainer = WeightRegularizationTrainer(nets.classifier(lr=0.5), target_accuracy=0.8, seed=0)
    trainer.fit(*nets.data(n=400), batch_size=20, nb_epochs=60)
    assert np.mean([r["accuracy"] for r in trainer.history[-10:]]) == pytest.approx(0.8, abs=0.05)
