"""``artclip lipschitz``: bounds of a model's Lipschitz constant."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from artclip import checks
from artclip.cli.options import add_advanced, add_common, add_model, add_norms, command, load, writable
from artclip.reporting.text import wrapped

TEXTS = (
    "how strongly can its outputs change? bounds of its Lipschitz constant",
    "artclip lipschitz out --data digits",
    "artclip lipschitz model.onnx --data data.npz --norm inf --method lipsdp --max-seconds 300",
)

_WIDE = 10.0  # ratio of the bounds above which little can be proved by the upper one
_SAID_OF_WIDE = (
    "The bracket is wide: the upper bound holds, but certificates by it will be small or none. "
    'certified_radius(method="auto") bounds the model around each sample instead.'
)


def add(commands: Any, number: Any) -> None:
    """Add the parser of this command; ``number`` reads an argument as ``8/255``."""
    parser = command(commands, "lipschitz", "MODEL --data DATA", *TEXTS)
    add_model(parser, number)
    option = parser.add_argument_group("bounds").add_argument
    add_norms(option)
    option("--domain", default="clip_values", help="of the search: clip_values or free (default: first)")
    option("--method", default="auto", help="auto, product, eclipse, lipsdp or exact (default: auto)")
    option("--max-seconds", type=number, default=60.0, help="for the upper bound (default: 60)")
    option = parser.add_argument_group("output").add_argument
    option("-o", "--output", metavar="FIGURE", help="draw the steepest pair and the bounds here")
    add_common(option)
    add_advanced(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from artclip.lipschitz.lower import lipschitz_lower_bound
    from artclip.lipschitz.upper import METHODS, lipschitz_upper_bound

    checks.one_of("method", arguments.method, METHODS)  # now, and not after the search
    checks.positive("max_seconds", arguments.max_seconds)
    output = writable(arguments.output)
    if output is not None:
        from artclip.lipschitz.plot import plot_bracket
    classifier, ((x, _), _), _ = load(arguments)
    norms = {"norm": arguments.norm, "output_norm": arguments.output_norm}
    verbose = sys.stderr.isatty()
    lower = lipschitz_lower_bound(classifier, x, **norms, domain=arguments.domain, seed=arguments.seed, verbose=verbose)
    upper, why = None, ""
    try:
        limits = {"method": arguments.method, "max_seconds": arguments.max_seconds}
        upper = lipschitz_upper_bound(classifier, **norms, **limits, verbose=verbose)
    except (ValueError, TypeError) as error:
        if arguments.method != "auto":
            raise
        why = str(error)
    if output is not None:
        plot_bracket(classifier, lower, upper).savefig(output, dpi=150)
    if arguments.json:
        print(json.dumps({"lower": lower.to_dict(), "upper": upper and upper.to_dict(), "no upper": why}, indent=1))
        return
    print(f"{lower}\n        {lower.seconds:.1f} s, pair {lower.distance:.3g} apart")
    if upper is None:
        print(f"no upper bound: {why}")
    else:
        print(f"{upper}\n        {upper.seconds:.1f} s")
        ratio = upper.value / lower.value if lower.value > 0 else math.inf
        print(f"upper / lower  {ratio:.3g}")
        if ratio > _WIDE:
            print("\n".join(wrapped([_SAID_OF_WIDE], "  ")))
        print("\n".join(_layers(upper)))
    if output is not None:
        print(f"\nwritten: {output}")


def _layers(upper: Any) -> list[str]:
    """A line for each factor of a bound; those in a branch stand to the right, and what joins branches has theirs."""
    lines = []
    for place, (name, factor) in enumerate(upper.layers or []):
        branches = upper.branches.get(place, [])
        sign = " + " if math.isclose(sum(branches), factor, rel_tol=1e-6) else " beside "  # of a concatenation
        of = sign.join(f"{branch:.4g}" for branch in branches)
        lines.append(f"  {'    ' * (place in upper.inside)}{factor:10.4g}  {name}{of and f': {of}'}")
    return lines
