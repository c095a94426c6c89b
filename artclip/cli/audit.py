"""``artclip audit``: is the Lipschitz constant true that a model is said to have?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from artclip import checks
from artclip.cli.options import add_advanced, add_common, add_model, add_norms, command, load, writable

TEXTS = (
    "does the Lipschitz constant that it is said to have hold? exit code 1: no",
    "artclip audit package.module:net --weights net.pt --data mnist --claims 1",
    "artclip audit out --data digits --claims 1 --claims-layers 1 --pair pair.npz",
)


def add(commands: Any, number: Any) -> None:
    """Add the parser of this command; ``number`` reads an argument as ``8/255``."""
    parser = command(commands, "audit", "MODEL --data DATA --claims LIP", *TEXTS)
    add_model(parser, number)
    option = parser.add_argument_group("claim").add_argument
    option("--claims", type=number, required=True, metavar="LIP", help="the constant that the model is said to have")
    option("--claims-layers", type=number, metavar="LIP", help="that each layer is said to have by itself")
    add_norms(option)
    option("--domain", default="free", help="of the claim: free, for all inputs, or clip_values (default: first)")
    option("--max-seconds", type=number, default=60.0, help="for all of it (default: 60)")
    option = parser.add_argument_group("output").add_argument
    option("--pair", metavar="FILE.npz", help="write the pair of inputs that shows the most here")
    option("-o", "--output", metavar="FIGURE", help="draw that pair here")
    add_common(option)
    add_advanced(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from artclip.lipschitz.audit import audit

    checks.positive("max_seconds", arguments.max_seconds)
    figure, pair = writable(arguments.output), writable(arguments.pair)
    if pair is not None and pair.suffix != ".npz":
        raise ValueError(f"--pair {pair} is to be a file of NumPy arrays, as pair.npz")
    if figure is not None:
        from artclip.lipschitz.plot import plot_bracket
    classifier, ((x, _), _), _ = load(arguments)
    found = audit(
        classifier,
        x,
        arguments.claims,
        norm=arguments.norm,
        output_norm=arguments.output_norm,
        domain=arguments.domain,
        claimed_layers=arguments.claims_layers,
        max_seconds=arguments.max_seconds,
        seed=arguments.seed,
        verbose=sys.stderr.isatty(),
    )
    if pair is not None:
        found.save_pair(pair)
    if figure is not None:
        plot_bracket(classifier, found.lower, found.upper).savefig(figure, dpi=150)
    print(found.to_json() if arguments.json else found)
    written = [str(path) for path in (pair, figure) if path is not None]
    if written and not arguments.json:
        print(f"\nwritten: {', '.join(written)}")
    return int(found.broken)
