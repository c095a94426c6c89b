"""The command line: each command is in the file of its name."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from artclip._version import __version__
from artclip.cli import attacks, audit, compare, evaluate, leaderboard, lipschitz, reproduce, train
from artclip.cli.options import check_files, of_keras
from artclip.reporting.text import number

DONE, FAILURE, BAD_INPUT = 0, 1, 2
NOBODY_READS = 141  # what a shell says of a program that SIGPIPE ended
# What users of other tools write for an option of this one.
ALIASES = {
    "--lambda": "--lamda",
    "--epochs": "--nb-epochs",
    "--defense": "--defence",
    "--defenses": "--defences",
    "--lr": "--learning-rate",
    "--n-jobs": "--jobs",
    "--nb-seeds": "--seeds",
}
TRAINING = {"train": train, "compare": compare, "reproduce": reproduce}
MEASURING = {
    "evaluate": evaluate,
    "lipschitz": lipschitz,
    "audit": audit,
    "attacks": attacks,
    "leaderboard": leaderboard,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failure, 2 bad usage or input, 141 where nobody reads on.

    Args:
        argv: the words after ``artclip``; ``None`` takes those of the process.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # at its exit Python would complain of a closed pipe by itself
    except BrokenPipeError:  # as by ``| head``, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parsed(words)
    arguments.typed = shlex.join(["artclip", *words])
    own, warnings.formatwarning = warnings.formatwarning, _warning  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            check_files(arguments)
            _start(arguments)
            code: int | None = arguments.run(arguments)
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        return _failed(error, BAD_INPUT)
    except (ImportError, FloatingPointError, MemoryError) as error:
        return _failed(error, FAILURE)
    except KeyboardInterrupt:
        return _failed("interrupted", FAILURE)
    finally:
        warnings.formatwarning = own
    return code or DONE


def _parsed(words: list[str]) -> argparse.Namespace:
    """What the words say; options of other tools are read as ours, and a slip is told with what is near to it."""
    parser = _parser()
    commands = [*TRAINING, *MEASURING]
    if words and not words[0].startswith("-") and words[0] not in commands:
        near = _near(words[0], commands)
        parser.error(f"there is no command {words[0]!r}; {near or 'use one of ' + ', '.join(commands)}")
    arguments, unknown = parser.parse_known_args([_ours(word) for word in words])
    if not unknown:
        return arguments
    command: _Parser = arguments.parser
    flag = next((word for word in unknown if word.startswith("-")), None)
    if flag is None:
        command.error(f"{unknown[0]!r} belongs to no option")
    near = _near(flag.partition("=")[0], list(command._option_string_actions))
    command.error(f"there is no option {flag.partition('=')[0]}{near and f'; {near}'}")


def _ours(word: str) -> str:
    """A word with the name that an option has here."""
    name, equals, value = word.partition("=")
    return f"{ALIASES.get(name, name)}{equals}{value}"


def _near(word: str, known: list[str]) -> str:
    """A question with the name that is nearest to a word, or nothing."""
    found = difflib.get_close_matches(word, known, 1)
    return f"did you mean {found[0]}?" if found else ""


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_failed(f"{message} (see {self.prog} --help)", BAD_INPUT))


def _failed(what: object, code: int) -> int:
    """Say so, in one line, however many the words of the user had; the code."""
    print("artclip:", " ".join(str(what).split()), file=sys.stderr)
    return code


def _warning(message: Warning | str, *_: object) -> str:
    """A warning as one line, without the place in the code that it comes from."""
    return f"artclip: warning: {' '.join(str(message).split())}\n"


def _parser() -> argparse.ArgumentParser:
    listed = _listed("train", TRAINING), _listed("measure a model", MEASURING)
    parser = _Parser(
        prog="artclip",
        usage="artclip COMMAND [options]",
        description="\n\n".join(["Train models that are hard to fool, and measure how hard.", *listed]),
        epilog="artclip COMMAND --help says what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"artclip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command", help=argparse.SUPPRESS)

    for module in (*TRAINING.values(), *MEASURING.values()):
        module.add(commands, _number)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _listed(title: str, commands: dict[str, ModuleType]) -> str:
    """Commands, each with its first example."""
    lines = [f"  {name:<13}{module.TEXTS[0]}\n{'':15}{module.TEXTS[1]}" for name, module in commands.items()]
    return "\n".join([f"{title}:", *lines])


def _number(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, as 0.5 or 8/255") from None


def _start(arguments: argparse.Namespace) -> None:
    """Name the framework, and start TensorFlow without a word."""
    from artclip.frameworks import default_framework, require
    from artclip.frameworks.keras.startup import start_tensorflow

    if arguments.command in TRAINING:
        # What trainings warn of stands below the table.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r".*artclip.comparison")
        arguments.framework = arguments.framework or default_framework()
    elif of_keras(arguments):
        arguments.framework = "tensorflow"
    if arguments.framework is not None:
        require(arguments.framework)
    if arguments.framework == "tensorflow":
        start_tensorflow(getattr(arguments, "threads", None))
