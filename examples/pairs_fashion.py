"""Pairs of Fashion-MNIST images as they become adversarial: u, v and v - u while the pairs climb, and the quotients.

A small CNN is trained plainly. Pairs of two images come together until they are h = 1 apart in L2, and climb; shown is
the pair that ends steepest, with what the net takes its two images for.

Run: ``ARTCLIP_DATA=FOLDER python examples/pairs_fashion.py``, with Fashion-MNIST in ``FOLDER/fashion-mnist``; without,
it takes scikit-learn's digits. Half a minute on a CPU; writes ``pairs_fashion.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import answer, arguments, images, save, show, small_cnn

import artclip
from artclip.frameworks import function_of
from artclip.reporting.figures import BLUE, GREY, VERMILLION, new_figure, styled

FRAMES = (0, 2, 60)
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

    frames = []
    for i in FRAMES:
        ends = np.stack([u[i][best], v[i][best]])
        said = [answer(logits, names_of(data)) for logits in classifier.predict(ends)]
        frames.append((f"iteration {i}, Q = {values[i, best]:.1f}", ends, said))
    figure = draw(frames, values, lower.value)
    save(figure, options.out / "pairs_fashion.png")
    return {"quotients": values, "lower": lower, "u": u, "v": v, "classifier": classifier}


def names_of(data: str) -> Any:
    return FASHION if data == "fashion-mnist" else range(10)


@styled
def draw(frames: list[Any], values: np.ndarray, lower: float) -> Any:
    """Three moments of a pair, a column each, and the quotients below."""
    first, second = (said.split(",")[0] for said in frames[-1][2])
    message = f"Two images climb until they look alike,\nand the net still takes them for {first} and {second}"
    figure = new_figure(6.4, 7.6, message)
    above, below = figure.subfigures(2, 1, height_ratios=[2, 1])
    grid = above.subplots(3, len(frames))
    for column, (title, ends, said) in zip(grid.T, frames, strict=True):
        show(column[0], ends[0], f"{title}\n{said[0]}"), show(column[1], ends[1], said[1])
        difference = ends[1] - ends[0]
        span = float(np.abs(difference).max())
        show(column[2], difference, f"L2 length {np.linalg.norm(difference):.1f}", span)
    for axes, label in zip(grid[:, 0], ("u", "v", "v - u"), strict=True):
        axes.set_ylabel(label, fontsize=12, rotation=0, ha="right")
    axes = below.subplots()
    axes.plot(values.max(axis=1), color=BLUE), axes.plot(values.mean(axis=1), color=GREY)
    axes.axhline(lower, color=VERMILLION, linestyle="--", linewidth=1.2)
    for height, label, colour in (
        (lower, f"lipschitz_lower_bound finds {lower:.1f}", VERMILLION),
        (values.max(), "largest of the pairs", BLUE),
        (0.75 * values[-1].mean(), "mean of the pairs", GREY),
    ):
        axes.text(len(values) - 1, height + 0.2, label, color=colour, ha="right", va="bottom", fontsize=10)
    axes.set_title("Q of 64 pairs; each is a lower bound of the constant", fontsize=10)
    axes.set_xlabel("iteration"), axes.set_xlim(0, len(values) - 1), axes.grid(alpha=0.3)
    axes.set_ylim(0, 1.2 * max(lower, values.max()))
    return figure


if __name__ == "__main__":
    main()
