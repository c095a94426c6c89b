"""Trainings in several threads of one process do not disturb each other."""

import threading

import numpy as np
import pytest

from artclip import CLIPTrainer
from tests.nets.common import same_weights


def trained(nets, net, classifier, seed, barrier=None):
    callbacks = [] if barrier is None else [lambda trainer, record: barrier.wait(60) and None]
    trainer = CLIPTrainer(classifier, lamda=0.01, nb_pairs=4, pair_interval=2, seed=seed, callbacks=callbacks)
    trainer.fit(*nets.data(net, n=90), batch_size=6, nb_epochs=4)
    return nets.weights(classifier), [r["loss"] for r in trainer.history]


@pytest.mark.parametrize("net", ["batchnorm", "hidden-dropout"])
def test_each_ends_as_if_it_had_been_alone_and_the_global_generator_is_as_found(nets, net):
    if net == "hidden-dropout" and not nets.REPLAYS:
        pytest.skip("randomness of this kind follows from the graph it is traced in")
    seeds = (1, 2)
    alone = [trained(nets, net, nets.classifier(net, seed=seed), seed) for seed in seeds]
    classifiers = {seed: nets.classifier(net, seed=seed) for seed in seeds}
    before = nets.rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found, barrier = {}, threading.Barrier(len(seeds))  # epochs begin together

    def run(seed):
        found[seed] = trained(nets, net, classifiers[seed], seed, barrier)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert nets.rng_state() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    for seed, (weights, losses) in zip(seeds, alone, strict=True):
        assert same_weights(found[seed][0], weights, atol=0)
        assert found[seed][1] == losses
