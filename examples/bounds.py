"""What is known of a net's Lipschitz constant while it trains: plain training on the left, CLIP on the right.

After every epoch: the product of the layers' norms, the best upper bound (LipSDP), the steepest pair that a search
finds, and the mean quotient of the training pairs over the epoch, which is what the trainer's history shows; it is not
a bound. The constant lies in the band between the lower and the best upper bound.

Run: ``ARTCLIP_DATA=FOLDER python examples/bounds.py``, with MNIST in ``FOLDER/mnist``; without, it takes scikit-learn's
digits. A minute on a CPU; writes ``bounds.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from drawing import arguments, images, save

import artclip
from artclip.reporting.figures import BLUE, GREEN, GREY, VERMILLION, new_figure, styled

# So small a λ changes nothing, but has the history record the pairs of plain training too.
PLAIN = 1e-12


def small_mlp(shape: tuple[int, ...], seed: int) -> PyTorchClassifier:
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(int(np.prod(shape)), 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    return PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), shape, 10, optimizer=optimizer, clip_values=(0.0, 1.0))


def train(data: Any, lamda: float, nb_epochs: int, nb_restarts: int, seed: int) -> list[dict[str, float]]:
    """The bounds after each epoch."""
    (x, y), (x_test, y_test) = data
    rows: list[dict[str, float]] = []

    def measure(trainer: artclip.CLIPTrainer, record: dict[str, Any]) -> None:
        classifier = trainer.get_classifier()
        # The bounds from above hold for all inputs, so the search is among all inputs too.
        lower = artclip.lipschitz_lower_bound(
            classifier, x, domain="free", nb_restarts=nb_restarts, max_iter=40, seed=seed
        )
        upper = artclip.lipschitz_upper_bound(classifier)
        product = artclip.lipschitz_upper_bound(classifier, method="product")
        test = float(np.mean(classifier.predict(x_test).argmax(axis=1) == y_test))
        rows.append(
            {
                "epoch": record["epoch"],
                "pairs": record["lipschitz"],
                "lower": lower.value,
                "upper": upper.value,
                "product": product.value,
                "test": test,
            }
        )

    trainer = artclip.CLIPTrainer(small_mlp(x.shape[1:], seed), lamda=lamda, seed=seed, callbacks=[measure])
    trainer.fit(x, y, nb_epochs=nb_epochs)
    return rows


def draw_run(axes: Any, rows: list[dict[str, float]], name: str) -> None:
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    epochs, last = columns["epoch"], rows[-1]
    axes.fill_between(epochs, columns["lower"], columns["upper"], color=BLUE, alpha=0.2, linewidth=0)
    for key, colour, style in (
        ("product", VERMILLION, "s-"),
        ("upper", GREEN, "v-"),
        ("lower", BLUE, "^-"),
        ("pairs", GREY, "o--"),
    ):
        axes.plot(epochs, columns[key], style, color=colour, markersize=4, linewidth=1.4)
    axes.set_title(
        f"{name}: {last['lower']:.3g} ≤ Lip ≤ {last['upper']:.3g}\n{100 * last['test']:.0f} % of test images right",
        fontsize=10,
    )
    axes.locator_params(axis="x", nbins=5, integer=True), axes.set_xlabel("epoch")
    axes.set_yscale("log"), axes.grid(alpha=0.3)
    ticks = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks]), axes.set_yticks([], minor=True)


@styled
def draw(runs: dict[str, list[dict[str, float]]]) -> Any:
    message = (
        f"The Lipschitz constant lies in the band: at least {runs['plain'][-1]['lower']:.3g}\n"
        f"after plain training, at most {runs['CLIP'][-1]['upper']:.3g} after CLIP"
    )
    figure = new_figure(6.4, 4.8, message)
    left, right = figure.subplots(1, 2, sharey=True)
    draw_run(left, runs["plain"], "plain"), draw_run(right, runs["CLIP"], "CLIP")
    values = [row[key] for rows in runs.values() for row in rows for key in ("pairs", "product")]
    left.set_ylim(0.8 * min(values), 1.25 * max(values))
    left.set_ylabel("L2 to L2, all inputs (log axis)")
    last = runs["CLIP"][-1]
    for key, label, colour, factor in (
        ("product", "product of layers' norms", VERMILLION, 1.28),
        ("upper", "upper bound", GREEN, 1.28),
        ("lower", "lower bound", BLUE, 0.8),
        ("pairs", "training pairs: no bound", GREY, 0.8),
    ):
        right.text(last["epoch"], factor * last[key], label, color=colour, fontsize=10, ha="right", va="center")
    return figure


def main(argv: list[str] | None = None) -> dict[str, list[dict[str, float]]]:
    options = arguments(__doc__, argv)
    name, (x, y), (x_test, y_test) = images("digits" if options.quick else "mnist")
    data = (x[:10_000], y[:10_000]), (x_test[:2000], y_test[:2000])
    nb_epochs, nb_restarts = (2, 4) if options.quick else (12 if name == "mnist" else 24, 32)
    lamdas = {"plain": PLAIN, "CLIP": 0.03}
    runs = {key: train(data, lamda, nb_epochs, nb_restarts, options.seed) for key, lamda in lamdas.items()}
    for key, rows in runs.items():
        print(name, key, {k: round(value, 3) for k, value in rows[-1].items()})
    save(draw(runs), options.out / "bounds.png")
    return runs


if __name__ == "__main__":
    main()
