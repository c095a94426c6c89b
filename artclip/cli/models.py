"""Commands on a model that exists: ``artclip evaluate``, ``artclip lipschitz`` and ``artclip attacks``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import numpy as np

from artclip import checks

# What is in a folder of a Keras model: weights of artclip train, or a SavedModel.
_KERAS_FILES = ("model.weights.h5", "saved_model.pb")


COMMANDS = {
    "evaluate": (
        "how robust is this model, and is that to be believed?",
        "artclip evaluate out --data digits --eps 0.5 --html report.html",
        "artclip evaluate model.keras --data data.npz --norm inf --eps 8/255 --attacks quick",
        "artclip evaluate package.module:factory --weights w.pt --data package.module:function",
    ),
    "lipschitz": (
        "how strongly can its outputs change? bounds of its Lipschitz constant",
        "artclip lipschitz out --data digits",
        "artclip lipschitz model.onnx --data data.npz --norm inf --method lipsdp --max-seconds 300",
    ),
    "attacks": ("list the attacks by name, with their settings and papers", "artclip attacks"),
}


def command(commands: Any, name: str, summary: str, *examples: str) -> Any:
    """The parser of a command, with examples below its options."""
    wide = min(100, get_terminal_size((100, 50)).columns)
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}",
        epilog="\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples]),
        usage=f"artclip {name}{_FIRST.get(name, ' --data DATA')} [options]",
        add_help=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=wide),
    )


_FIRST = {"evaluate": " MODEL --data DATA", "lipschitz": " MODEL --data DATA", "reproduce": " TABLE", "attacks": ""}


def add_common(option: Any) -> None:
    """Add what every command has."""
    option("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    option("-h", "--help", action="help", help="print this, and stop")


def add_reports(option: Any) -> None:
    """Add where results are written."""
    option("--html", metavar="FILE", help="write a report with figures here")
    option("-o", "--output", metavar="FILE", help="write the JSON here")


def add(commands: Any, number: Any) -> None:
    """Add the parsers of these commands; ``number`` reads an argument as ``8/255``."""
    evaluate, lipschitz, attacks = (command(commands, name, *texts) for name, texts in COMMANDS.items())

    _model(evaluate, number)
    option = evaluate.add_argument_group("attacks").add_argument
    option("--norm", default="2", help="of the budget: 1, 2 or inf (default: 2)")
    option("--eps", type=_list(number), default=[2.0], help="budget, as 0.5, 8/255 or 0.5,1,2 (default: 2)")
    option("--attacks", default="standard", help="standard, quick, or names split by + as pgd:max_iter=20+square")
    option("--samples", type=int, default=1000, metavar="N", help="first test samples (default: 1000)")
    option("--full", action="store_true", help="run each attack on all samples, not on those left standing")
    option("--no-lipschitz", action="store_true", help="skip the Lipschitz bounds and the certificate")
    option("--no-masking", action="store_true", help="skip the search for signs of gradient masking")
    option = evaluate.add_argument_group("output").add_argument
    add_reports(option)
    option("--class-names", metavar="FILE", help="one name a line, or module:function; for the report")
    option("--intervals", action="store_true", help="add to each accuracy its 95%% interval (Wilson)")
    add_common(option)
    option = _advanced(evaluate)
    option("--batch-size", type=int, metavar="N", help="samples in one pass (default: to suit the inputs)")
    option("--cache", metavar="FOLDER", help="keep outcomes here, and resume from them")
    evaluate.set_defaults(run=_evaluate)

    _model(lipschitz, number)
    option = lipschitz.add_argument_group("bounds").add_argument
    option("--norm", default="2", help="of the inputs: 1, 2 or inf (default: 2)")
    option("--output-norm", default="2", help="of the outputs: 1, 2 or inf (default: 2)")
    option("--domain", default="clip_values", help="of the search: clip_values or free (default: first)")
    option("--method", default="auto", help="auto, product, eclipse, lipsdp or exact (default: auto)")
    option("--max-seconds", type=number, default=60.0, help="for the upper bound (default: 60)")
    option = lipschitz.add_argument_group("output").add_argument
    option("-o", "--output", metavar="FIGURE", help="draw the steepest pair and the bounds here")
    add_common(option)
    _advanced(lipschitz)
    lipschitz.set_defaults(run=_lipschitz)

    add_common(attacks.add_argument_group("output").add_argument)
    attacks.set_defaults(run=_attacks, framework=None)


def _model(parser: Any, number: Any) -> None:
    option = parser.add_argument_group("model and data").add_argument
    option("model", help="folder of artclip train, FILE.keras, .h5, .pt2, .onnx, module:factory, hf:ORG/NAME, ...")
    option("--data", required=True, help="digits, mnist, fashion-mnist, FILE.npz, a folder, module:function")
    option("--weights", metavar="FILE", help="for package.module:factory and architectures by name")
    add_ranges(option, number)


def _advanced(parser: Any) -> Any:
    option = parser.add_argument_group("advanced").add_argument
    option("--framework", choices=("torch", "tensorflow"), help="of the model, where it must be that")
    option("--trust", action="store_true", help="let code inside the model file run")
    option("--seed", type=int, default=0, help="of all randomness (default: 0)")
    return option


def add_ranges(option: Any, number: Any) -> None:
    """Add what says in which range inputs are, and how the model wants them scaled."""
    option("--clip-values", type=_pair(number), default=(0.0, 1.0), metavar="LOW,HIGH", help="of inputs (default: 0,1)")
    option("--mean", type=_list(number), help="that the model wants subtracted, as 0.5 or one per channel")
    option("--std", type=_list(number), help="that the model wants its inputs divided by")


def scaling(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Mean and std, as they were given."""
    if (arguments.mean is None) != (arguments.std is None):
        raise ValueError("give both --mean and --std, or neither")
    if arguments.mean is None:
        return 0.0, 1.0
    mean, std = (values[0] if len(values) == 1 else values for values in (arguments.mean, arguments.std))
    return mean, std


def of_keras(arguments: argparse.Namespace) -> bool:
    """Whether a command is about a model of TensorFlow, as far as its name tells."""
    name = getattr(arguments, "model", "")
    kerass = Path(name).suffix in (".keras", ".h5") or any((Path(name) / f).is_file() for f in _KERAS_FILES)
    return arguments.framework == "tensorflow" or kerass


def writable(path: str | None) -> Path | None:
    """The path of an output file, or an error now rather than after the work."""
    if path is None:
        return None
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder, or its folder does not exist")
    return Path(path)


def _list(number: Any) -> Any:
    return lambda text: [number(part) for part in text.split(",")]


def _pair(number: Any) -> Any:
    def read(text: str) -> tuple[float, float]:
        values = [number(part) for part in text.split(",")]
        if len(values) != 2 or not values[0] < values[1]:
            raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH with LOW < HIGH, as 0,1")
        return values[0], values[1]

    return read


def _load(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The classifier, and the data in the shape that it wants."""
    from artclip.data import fit_to, load_data
    from artclip.models.loading import load_model

    preprocessing = scaling(arguments)
    data = load_data(arguments.data, channels_first=arguments.framework != "tensorflow")
    classifier = load_model(
        arguments.model,
        arguments.weights,
        arguments.framework,
        input_shape=data[0][0].shape[1:],
        clip_values=arguments.clip_values,
        preprocessing=preprocessing,
        trust=arguments.trust,
    )
    splits = tuple((fit_to(x, classifier.input_shape), y) for x, y in data)
    for name, (x, _) in zip(("x_train", "x_test"), splits, strict=True):
        if len(x):  # a part that a command does not use may be empty
            free = getattr(arguments, "domain", None) == "free"
            checks.inputs(x, classifier.input_shape or None, name, None if free else classifier.clip_values)
    return classifier, splits


def _evaluate(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.attacks import SETS, choose
    from artclip.evaluation.evaluate import evaluate
    from artclip.evaluation.preflight import preflight
    from artclip.reporting.records import as_json

    attacks = arguments.attacks if arguments.attacks in SETS else arguments.attacks.split("+")
    choose(attacks, checks.norm("norm", arguments.norm))
    checks.positive_integer("samples", arguments.samples)
    output, html = writable(arguments.output), writable(arguments.html)
    names = _names(arguments.class_names)
    classifier, (_, (x, y)) = _load(arguments)
    x, y = x[: arguments.samples], y[: arguments.samples]
    look = preflight(classifier, x, y)
    if not arguments.json:
        print(f"{look}\n", flush=True)
    found = evaluate(
        classifier,
        x,
        y,
        norm=arguments.norm,
        eps=arguments.eps,
        attacks=attacks,
        lipschitz=not arguments.no_lipschitz,
        masking=not arguments.no_masking,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        verbose=sys.stderr.isatty(),
        full=arguments.full,
        cache=arguments.cache,
        name=Path(arguments.model).name or arguments.model,
        data=arguments.data,
        class_names=names,
    )
    found.settings["command"] = arguments.typed
    record = as_json({**found.to_dict(), "preflight": look.to_dict()}, output)
    if html is not None:
        found.to_html(html)
    print(record if arguments.json else found.to_text(arguments.intervals))
    if html is not None and not arguments.json:
        print(f"\nwritten: {html}")


def _names(source: str | None) -> list[str] | None:
    """Names of classes, from a file with one a line or from a function."""
    from artclip.models.loading import from_module

    if source is None:
        return None
    if not Path(source).is_file() and ":" in source:
        return [str(name) for name in from_module(source)]
    return Path(source).read_text(encoding="utf-8").splitlines()


def _attacks(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.attacks import ATTACKS, BLACK_BOX_SETS, SETS

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "title": a.title,
            "norms": [f"L{p}" for p in a.norms] or ["outside the budget"],
            "access": a.access,
            "settings": a.options,
            "paper": a.paper,
        }
        for name, a in ATTACKS.items()
    ]
    if arguments.json:
        print(
            json.dumps(
                {"attacks": rows, "sets": SETS, "sets without gradients": BLACK_BOX_SETS}, indent=1, ensure_ascii=False
            )
        )
        return
    table = [["name", "norms", "access", "settings", "paper"]]
    for row in rows:
        settings = ",".join(f"{k}={v:g}" for k, v in row["settings"].items())
        table.append([str(row["name"]), " ".join(row["norms"]), str(row["access"]), settings, str(row["paper"])])
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip())
    for name, members in SETS.items():
        print(f"\n{name}: clean, {', '.join(members)}", end="")
        print(f"\n{name} without gradients: clean, {', '.join(BLACK_BOX_SETS[name])}", end="")
    print()


def _lipschitz(arguments: argparse.Namespace) -> None:
    from artclip.lipschitz.lower import lipschitz_lower_bound
    from artclip.lipschitz.upper import METHODS, lipschitz_upper_bound

    checks.one_of("method", arguments.method, METHODS)  # now, and not after the search
    checks.positive("max_seconds", arguments.max_seconds)
    output = writable(arguments.output)
    if output is not None:
        from artclip.lipschitz.plot import plot_bracket
    classifier, ((x, _), _) = _load(arguments)
    norms = {"norm": arguments.norm, "output_norm": arguments.output_norm}
    verbose = sys.stderr.isatty()
    lower = lipschitz_lower_bound(classifier, x, **norms, domain=arguments.domain, seed=arguments.seed, verbose=verbose)
    try:
        upper, why = (
            lipschitz_upper_bound(
                classifier, **norms, method=arguments.method, max_seconds=arguments.max_seconds, verbose=verbose
            ),
            "",
        )
    except (ValueError, TypeError) as error:
        if arguments.method != "auto":
            raise
        upper, why = None, str(error)
    if output is not None:
        plot_bracket(classifier, lower, upper).savefig(output, dpi=150)
    if arguments.json:
        print(json.dumps({"lower": lower.to_dict(), "upper": upper and upper.to_dict(), "no upper": why}, indent=1))
        return
    print(f"{lower}   {lower.seconds:.1f} s, pair {_distance(lower):.3g} apart")
    if upper is None:
        print(f"no upper bound: {why}")
    else:
        print(f"{upper}   {upper.seconds:.1f} s")
        print(f"upper / lower  {upper.value / lower.value:.3g}")
        for name, factor in upper.layers or []:
            print(f"  {factor:10.4g}  {name}")
    if output is not None:
        print(f"\nwritten: {output}")


def _distance(lower: Any) -> float:
    return float(np.linalg.norm(np.ravel(lower.v.astype(np.float64) - lower.u), lower.norm))
