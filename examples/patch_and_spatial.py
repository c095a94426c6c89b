"""Two attacks that no norm measures, on a small CNN trained plainly and with CLIP: a patch, and shifts with turns.

Both are ART's, run by ``artclip.evaluate``; a sample counts as right if the net gets it right at every shift by a pixel
and every turn by up to 15° that is tried. Below stands a sample of each that it broke for the net with CLIP, and what
the net takes it for before and after, with its softmax. CLIP is about changes that are small in L2; these are not, so
it promises nothing here. PGD in L2 stands beside them for comparison. Bars are 95 % intervals of Wilson's.

Run: ``ARTCLIP_DATA=FOLDER python examples/patch_and_spatial.py``, with MNIST in ``FOLDER/mnist``; without, it takes
scikit-learn's digits. A minute and a quarter on a CPU; writes ``patch_and_spatial.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from drawing import answer, arguments, images, save, show, small_cnn

import artclip
from artclip.reporting.figures import BLUE, GREY, new_figure, styled
from artclip.reporting.intervals import wilson

EPS = 1.5
ATTACKS = {
    f"PGD in L2, ε = {EPS}": "pgd-margin:max_iter=40,nb_restarts=1",
    "shift and turn": "spatial:max_translation=5,max_rotation=15",
    "patch": "patch:scale=0.3,max_iter=50,nb_targets=3",
}
LOOKS = {"plain training": GREY, "CLIP, λ = 0.05": BLUE}


@styled
def draw(found: dict[str, artclip.Evaluation]) -> Any:
    plain, ours = (found[name].accuracy for name in LOOKS)
    shares = [100 * accuracy[next(iter(ATTACKS.values()))] for accuracy in (plain, ours)]
    message = (
        f"Under small changes (PGD in L2) {shares[1]:.0f} % stay right with CLIP,\n"
        f"{shares[0]:.0f} % without; shifts and patches break both alike"
    )
    figure = new_figure(6.4, 5.4, message)
    above, below = figure.subfigures(2, 1, height_ratios=[1.7, 1])
    draw_bars(above.subplots(), found)
    grid = below.subplots(1, 4)
    for pair, attack, title in ((grid[:2], "spatial", "shifted, turned"), (grid[2:], "patch", "with a patch")):
        example = next((e for e in found["CLIP, λ = 0.05"].examples if e.attack == attack), None)
        if example is None:
            pair[0].set_axis_off(), pair[1].set_axis_off()
        else:
            show(pair[0], example.x, f"original\n{answer(example.before)}")
            show(pair[1], example.adversarial, f"{title}\n{answer(example.after)}")
    return figure


def draw_bars(axes: Any, found: dict[str, artclip.Evaluation]) -> None:
    titles = {"no attack": "clean", **ATTACKS}
    for i, (name, colour) in enumerate(LOOKS.items()):
        shares = np.array([found[name].accuracy[attack] for attack in titles.values()])
        ends = np.array([wilson(share, found[name].settings["nb_samples"]) for share in shares])
        height, bars = np.arange(len(titles)) + 0.38 * (i - 0.5), np.abs(ends.T - shares)
        axes.barh(height, 100 * shares, 0.36, color=colour, xerr=100 * bars, ecolor="black", capsize=2)
        for at, share, end in zip(height, shares, ends[:, 1], strict=True):
            said = f"{100 * share:.0f} %" + (f"  {name}" if not at > 0.5 else "")
            axes.text(100 * end + 1.5, at, said, va="center", color=colour, weight="bold", fontsize=10)
    axes.set_yticks(range(len(titles)), list(titles)), axes.invert_yaxis(), axes.grid(axis="x", alpha=0.3)
    axes.set_xlim(0, 140), axes.set_xticks(range(0, 101, 20)), axes.set_xlabel("right answers, in %")


def main(argv: list[str] | None = None) -> dict[str, artclip.Evaluation]:
    options = arguments(__doc__, argv)
    data, (x, y), (x_test, y_test) = images("digits" if options.quick else "mnist")
    nb_test, nb_epochs = (30, 2) if options.quick else (400, 3 if data == "mnist" else 20)
    found = {}
    for name, lamda in zip(LOOKS, (0.0, 0.05), strict=True):
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
        print(data, name, {title: round(share, 3) for title, share in found[name].accuracy.items()})
    save(draw(found), options.out / "patch_and_spatial.png")
    return found


if __name__ == "__main__":
    main()
