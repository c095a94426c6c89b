"""The command line: commands that train are in ``compare``, those on a model in ``models``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from artclip import checks
from artclip._version import __version__
from artclip.cli import compare, models

DONE, FAILURE, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failure, 2 bad usage or input.

    Args:
        argv: the words after ``artclip``; ``None`` takes those of the process.
    """
    arguments = _parser().parse_args(argv)
    arguments.typed = shlex.join(["artclip", *(sys.argv[1:] if argv is None else argv)])
    try:
        _start(arguments)
        code: int | None = arguments.run(arguments)
    except (ValueError, TypeError, OSError) as error:
        return _failed(error, BAD_INPUT)
    except (ImportError, FloatingPointError, MemoryError) as error:
        return _failed(error, FAILURE)
    except KeyboardInterrupt:
        return _failed("interrupted", FAILURE)
    return code or DONE


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_failed(f"{message} (see {self.prog} --help)", BAD_INPUT))


def _failed(what: object, code: int) -> int:
    """Say so, in one line, however many the words of the user had; the code."""
    print("artclip:", " ".join(str(what).split()), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="artclip",
        usage="artclip COMMAND [options]",
        description="\n\n".join(["Train models that are hard to fool, and measure how hard.", *map(_listed, _GROUPS)]),
        epilog="artclip COMMAND --help says what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"artclip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command", help=argparse.SUPPRESS)

    compare.add(commands, _number)
    models.add(commands, _number)
    return parser


_GROUPS = ("train", compare.COMMANDS), ("measure a model", models.COMMANDS)


def _listed(group: tuple[str, dict[str, tuple[str, ...]]]) -> str:
    """Commands, each with its first example."""
    lines = [f"  {name:<11}{texts[0]}\n{'':13}{texts[1]}" for name, texts in group[1].items()]
    return "\n".join([f"{group[0]}:", *lines])


def _number(text: str) -> float:
    try:
        return checks.number(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, as 0.5 or 8/255") from None


def _start(arguments: argparse.Namespace) -> None:
    """Name the framework, and start TensorFlow without a word."""
    from artclip.frameworks import default_framework, require
    from artclip.frameworks.keras.startup import start_tensorflow

    if arguments.command in compare.COMMANDS:
        arguments.framework = arguments.framework or default_framework()
    elif models.of_keras(arguments):
        arguments.framework = "tensorflow"
    if arguments.framework is not None:
        require(arguments.framework)
    if arguments.framework == "tensorflow":
        start_tensorflow(getattr(arguments, "threads", None))
