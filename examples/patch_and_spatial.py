"""Two attacks that no norm measures, on a small CNN trained plainly and with CLIP: a patch, and shifts with turns.

Both are ART's, run by ``artclip.evaluate``; a sample counts as right if the net gets it right at every shift by a pixel
and every turn by up to 15° that is tried. Shown are samples that an attack broke, what it made of them, and what the
net takes the two for, with its softmax. CLIP is about changes that are small in L2; these are not, so it promises
nothing here. PGD in L2 stands beside them for comparison.

Run: ``ARTCLIP_DATA=FOLDER python examples/patch_and_spatial.py``, with MNIST in ``FOLDER/mnist``; without, it takes
scikit-learn's digits. A minute and a quarter on a CPU; writes ``patch_and_spatial.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

from drawing import answer, arguments, images, new_figure, save, show, small_cnn

import artclip

EPS = 1.5
ATTACKS = {
    f"PGD in L2, ε = {EPS}": "pgd-margin:max_iter=40,nb_restarts=1",
    "shift and turn": "spatial:max_translation=5,max_rotation=15",
    "patch": "patch:scale=0.3,max_iter=50,nb_targets=3",
}
NB_SHOWN = 6


def draw(figure: Any, name: str, found: artclip.Evaluation) -> None:
    """For each of the two attacks, samples that it broke, and below them what it made of them."""
    accuracy = found.accuracy
    shares = "; ".join(f"{title}: {100 * accuracy[attack]:.0f} %" for title, attack in ATTACKS.items())
    figure.suptitle(f"{name}, right answers\nunattacked: {100 * accuracy['clean']:.0f} %; {shares}", fontsize=10)
    grid = figure.subplots(4, NB_SHOWN)
    for axes in grid.flat:
        axes.axis("off")
    for rows, attack in ((grid[:2], "spatial"), (grid[2:], "patch")):
        broken = [example for example in found.examples if example.attack == attack]
        for column, example in zip(rows.T, broken, strict=False):
            show(column[0], example.x, answer(example.before))
            show(column[1], example.adversarial, answer(example.after))
        for axes in rows[:, 0] if broken else ():
            axes.axis("on")
        (
            rows[0, 0].set_ylabel("original"),
            rows[1, 0].set_ylabel("shifted, turned" if attack == "spatial" else "patched"),
        )


def main(argv: list[str] | None = None) -> dict[str, artclip.Evaluation]:
    options = arguments(__doc__, argv)
    data, (x, y), (x_test, y_test) = images("digits" if options.quick else "mnist")
    nb_test, nb_epochs = (30, 2) if options.quick else (400, 3 if data == "mnist" else 20)
    figure = new_figure(14, 6)
    found = {}
    for part, (name, lamda) in zip(
        figure.subfigures(1, 2), {"plain training": 0.0, "CLIP, λ = 0.05": 0.05}.items(), strict=True
    ):
        trainer = artclip.CLIPTrainer(small_cnn(x.shape[-1], options.seed), lamda=lamda, seed=options.seed)
        trainer.fit(x[:20_000], y[:20_000], nb_epochs=nb_epochs)
        found[name] = artclip.evaluate(
            trainer.get_classifier(),
            x_test[:nb_test],
            y_test[:nb_test],
            eps=EPS,
            attacks=list(ATTACKS.values()),
            lipschitz=False,
            masking=False,
            seed=options.seed,
            verbose=False,
        )
        draw(part, f"{data}, {name}", found[name])
        print(name, {title: round(share, 3) for title, share in found[name].accuracy.items()})
    save(figure, options.out / "patch_and_spatial.png")
    return found


if __name__ == "__main__":
    main()
