"""Pairs of Fashion-MNIST images as they become adversarial: u, v and v - u while the pairs climb, and the quotients.

A small CNN is trained plainly. Pairs of two images come together until they are h = 1 apart in L2, and climb; shown is
the pair that ends steepest, with what the net takes its two images for. The dashed line is the quotient at which such a
run stopped in a talk on CLIP, 17.21; the net of the talk is not published, so the two figures belong to different nets.

Run: ``ARTCLIP_DATA=FOLDER python examples/pairs_fashion.py``, with Fashion-MNIST in ``FOLDER/fashion-mnist``; without,
it takes scikit-learn's digits. Half a minute on a CPU; writes ``pairs_fashion.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import GREY, LOWER, OTHER, UPPER, answer, arguments, images, new_figure, save, show, small_cnn

import artclip
from artclip.frameworks import function_of

FRAMES = (0, 1, 2, 3, 4, 10, 60)
TALK = 17.21
FASHION = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = arguments(__doc__, argv)
    data, (x, y), (x_test, y_test) = images("digits" if options.quick else "fashion-mnist")
    classifier = small_cnn(x.shape[-1], options.seed)
    # λ = 0 is plain training.
    trainer = artclip.CLIPTrainer(classifier, lamda=0, seed=options.seed)
    trainer.fit(x, y, nb_epochs=2 if data == "fashion-mnist" else 10)
    accuracy = float(np.mean(classifier.predict(x_test).argmax(axis=1) == y_test))

    pairs = artclip.PairSet(function_of(classifier), x[:5000], 64, init="data", seed=options.seed)
    u, v, quotients = [pairs.u.numpy()], [pairs.v.numpy()], [pairs.quotients()]
    for _ in range(FRAMES[-1]):
        pairs.ascend()
        u.append(pairs.u.numpy()), v.append(pairs.v.numpy()), quotients.append(pairs.quotients())
    values, best = np.array(quotients), int(quotients[-1].argmax())
    lower = artclip.lipschitz_lower_bound(classifier, x[:2000], nb_restarts=16, max_iter=40, seed=options.seed)
    print(
        f"{data}: test accuracy {accuracy:.1%}; pairs at the end: {values[-1].max():.2f}, mean {values[-1].mean():.2f}"
    )
    print(lower)

    figure = new_figure(15, 4.6)
    left, right = figure.subfigures(1, 2, width_ratios=[2.7, 1])
    grid, names = left.subplots(3, len(FRAMES)), FASHION if data == "fashion-mnist" else range(10)
    for column, i in zip(grid.T, FRAMES, strict=True):
        ends = np.stack([u[i][best], v[i][best]])
        said = [answer(logits, names) for logits in classifier.predict(ends)]
        show(column[0], ends[0], f"iteration {i}, Q = {values[i, best]:.1f}\n\n{said[0]}")
        show(column[1], ends[1], said[1])
        difference = ends[1] - ends[0]
        span = float(np.abs(difference).max())
        show(column[2], difference, f"L2 {np.linalg.norm(difference):.2f}, colours ±{span:.2f}", span)
    for axes, label in zip(grid[:, 0], ("u", "v", "v - u"), strict=True):
        axes.set_ylabel(label, fontsize=12)
    draw_quotients(right.subplots(), values, best, lower.value, talk=data == "fashion-mnist")
    left.suptitle(f"{data}, CNN trained plainly, {100 * accuracy:.1f} % of test images right", fontsize=10)
    save(figure, options.out / "pairs_fashion.png")
    return {"quotients": values, "lower": lower, "u": u, "v": v, "classifier": classifier}


def draw_quotients(axes: Any, values: np.ndarray, best: int, lower: float, talk: bool) -> None:
    axes.plot(values.max(axis=1), color=LOWER, label="steepest of 64 pairs")
    axes.plot(values[:, best], color=OTHER, linewidth=1, label="the pair shown")
    axes.plot(values.mean(axis=1), color=GREY, linewidth=1, label="mean of the pairs")
    axes.axhline(lower, color=LOWER, linestyle=":", label=f"lipschitz_lower_bound: {lower:.2f}")
    if talk:
        axes.axhline(TALK, color=UPPER, linestyle="--", label=f"talk: {TALK} (its net is not published)")
    axes.set_xlabel("iteration"), axes.set_title("Q(u, v), each a lower bound of Lip(f)", fontsize=10)
    axes.set_ylim(0, 1.15 * max(lower, TALK if talk else 0)), axes.set_xlim(0, len(values) - 1)
    axes.legend(frameon=False, fontsize=8, loc="lower right"), axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
