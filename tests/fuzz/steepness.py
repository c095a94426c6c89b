"""What pairs of inputs show of a function in float64: random ones, and ones that climb, at many scales."""

import numpy as np

SCALES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def dual(gradient, p):
    """Directions of unit p-norm in which rows of gradients rise most."""
    flat = gradient.reshape(len(gradient), -1)
    if p == 1:
        steepest = np.where(np.abs(flat) >= np.abs(flat).max(1, keepdims=True), np.sign(flat), 0.0)
    else:
        steepest = np.sign(flat) if p == np.inf else flat
    lengths = np.linalg.norm(steepest, p, axis=1, keepdims=True)
    return (steepest / np.where(lengths > 0, lengths, 1)).reshape(gradient.shape)


def quotients(f, x, y, p, q, rounding):
    with np.errstate(all="ignore"):
        u, v = f(x), f(y)
        # Of what is rounded of large outputs nothing is claimed.
        noise = rounding * (np.abs(u).sum(1) + np.abs(v).sum(1) + 1e-300)
        run = np.linalg.norm((x - y).reshape(len(x), -1), p, axis=1)
        found = (np.linalg.norm(u - v, q, axis=1) - noise) / run
    return np.where(np.isfinite(found), found, 0.0)


def steepest(f, pull, shape, p, q, rng, points=8, rounds=2, rounding=1e-14):
    """The largest quotient found.

    Args:
        f: maps (n, *shape) to (n, k), in float64.
        pull: maps inputs and output cotangents to input gradients.
        shape: of one input.
        p, q: norms of inputs and outputs.
        points, rounds: how many at each scale, and how often they climb.
        rounding: of the outputs of f, relative.
    """
    best, close = 0.0, 1e-5 if rounding < 1e-10 else 1e-2
    for scale in SCALES:
        x = scale * rng.standard_normal((points, *shape))
        w = dual(rng.standard_normal(x.shape), p)
        for length in (close, 1e-2, 1.0):
            best = max(best, quotients(f, x, x + scale * length * w, p, q, rounding).max())
        h = close * scale
        for _ in range(rounds):
            difference = f(x + h * w) - f(x - h * w)
            slope = (
                difference
                if q == 2
                else np.sign(difference)
                if q == 1
                else np.where(np.abs(difference) >= np.abs(difference).max(1, keepdims=True), np.sign(difference), 0.0)
            )
            lengths = np.linalg.norm(slope, axis=1, keepdims=True)
            gradient = pull(x, slope / np.where(lengths > 0, lengths, 1))
            if not np.isfinite(gradient).all():
                break
            w = np.where(
                np.abs(gradient).reshape(len(x), -1).max(1).reshape(-1, *[1] * len(shape)) > 0, dual(gradient, p), w
            )
            found = quotients(f, x - h * w, x + h * w, p, q, rounding)
            best = max(best, found.max())
            # The steepest point, and others around it at shrinking distances.
            top = x[[int(found.argmax())]]
            spread = scale * 10.0 ** -rng.uniform(0, 4, (points, *[1] * len(shape)))
            x = np.concatenate([top, top + spread[1:] * rng.standard_normal((points - 1, *shape))])
            w = np.repeat(w[[int(found.argmax())]], points, 0)
    return float(best)
