"""What the registries share."""

import numpy as np

from artclip.frameworks import named_nets

NB_CLASSES = 3


def labelled(shape, n, seed):
    """Inputs in [0, 1], and learnable labels."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, *shape)).astype(np.float32)
    y = np.argmax(x.reshape(n, -1) @ rng.standard_normal((int(np.prod(shape)), NB_CLASSES)), axis=1)
    return x, y


def same_weights(a, b, atol=0.0):
    """Whether two results of ``weights`` agree."""
    return a.keys() == b.keys() and all(np.allclose(a[k], b[k], rtol=0, atol=atol) for k in a)


def tokens(n=48, seed=0):
    """Sequences of 4 token ids of 0 to 9, of which the first tells the class."""
    x = np.random.default_rng(seed).integers(0, 10, (n, 4))
    return x, x[:, 0] % NB_CLASSES


def smaller(patch):
    """Nets by name that are made to be certified with few units, which take a tenth of the time."""
    for layers, sizes in {"CONVOLUTIONS": (8, 32), "DENSE": (64, 64), "RESIDUAL": 64}.items():
        patch.setattr(named_nets, layers, sizes)
