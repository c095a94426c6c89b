"""Trainings that are the same on one process and on several, for test_distributed: writes what came of each."""

import json
import os
import signal
import sys

import numpy as np
import torch
import torch.distributed as dist

from artclip import CLIPTrainer, checks, lipschitz_lower_bound
from tests.frameworks import several
from tests.nets import torch_nets as nets

RANK, NB_RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
CASES = {
    **several.CASES,
    "resumed": several.CASES["default"],
    "generator": ("mlp", lambda c: CLIPTrainer(c, lamda=0.05, pair_interval=2, nb_pairs=6, seed=0)),
}


class Shared:
    """Batches of 12, of which each process gets a third or so; all of them where there is one process."""

    size, batch_size = 48, 12

    def __init__(self, x, y):
        self._x, self._y, self._next = x, y, 0

    def get_batch(self):
        start, self._next = self._next, (self._next + 12) % 48
        rows = slice(start, start + 12) if NB_RANKS == 1 else slice(start + (0, 4)[RANK], start + (4, 12)[RANK])
        return self._x[rows], self._y[rows]


def train(name, folder="", die=""):
    """History and weights."""
    net, make = CASES[name]
    classifier = nets.classifier(net, lr=0.3)
    if RANK:
        nets.scale_weights(classifier, 1.1)  # the first process has the weights that count
    trainer = make(classifier)
    x, y = nets.data(net, n=98)  # with a last batch of 2
    data = {"validation_data": (x[:31], y[:31]), "nb_epochs": 4}
    if name == "generator":
        trainer.fit_generator(Shared(x, y), nb_epochs=4)
    elif name == "resumed":
        trainer.checkpoint = checks.folder(folder)
        if die and RANK:
            trainer.callbacks = (lambda t, r: r["epoch"] == 2 and os.kill(os.getpid(), signal.SIGKILL),)
        trainer.fit(x, y, batch_size=16, resume=True, **data)
    else:
        trainer.fit(x, y, batch_size=16 if net != "batchnorm" else 25, **data)
    if RANK == 0:
        lipschitz_lower_bound(classifier, x, nb_restarts=2, max_iter=2)  # by one process alone: nothing may wait
    return trainer.history, np.concatenate([w.ravel() for w in nets.weights(classifier).values()])


def main(names, path, folder="", die=""):
    if NB_RANKS > 1:
        dist.init_process_group("gloo")
    found = {}
    for name in names.split(","):
        history, weights = train(name, folder, die)
        if NB_RANKS > 1:
            everywhere = [torch.zeros(len(weights)) for _ in range(NB_RANKS)]
            dist.all_gather(everywhere, torch.from_numpy(weights).float())
            assert all(torch.equal(everywhere[0], w) for w in everywhere), name
        found[name] = history, weights.tolist()
    if RANK == 0:
        with open(path, "w") as file:
            json.dump(found, file)
    if NB_RANKS > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # gloo's threads abort now and then while the interpreter ends (pytorch/pytorch#179291)
