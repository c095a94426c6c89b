"""The command line under any words: it ends with code 2 and one line on stderr, or gets as far as the real work."""

import argparse
import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artclip.cli import main
from artclip.comparison.experiment import Experiment
from artclip.evaluation.runner import AttackRunner
from artclip.lipschitz.search import Search
from tests.nets import FRAMEWORKS

NB_TRIES = int(os.environ.get("ARTCLIP_FUZZ", "60"))


class Reached(Exception):
    """The input was accepted, and the work would begin."""


def reached(*_, **__):
    raise Reached


def commands():
    """Options of each command: those that take a value, and those that do not."""
    found = {}
    for action in main._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                options = [a for a in parser._actions if a.option_strings and "--help" not in a.option_strings]
                taking = [a.option_strings[-1] for a in options if a.nargs != 0]
                found[name] = taking, [a.option_strings[-1] for a in options if a.nargs == 0]
    return found


COMMANDS = commands()
FIRST = {
    "train": ["--data", "digits"],
    "compare": ["--data", "digits", "--seeds", "1"],
    "reproduce": ["readme", "--quick"],
    "evaluate": ["MODEL", "--data", "digits", "--samples", "20"],
    "lipschitz": ["MODEL", "--data", "digits"],
    "audit": ["MODEL", "--data", "digits", "--claims", "1"],
    "attacks": [],
    "leaderboard": ["MODEL"],
}
NASTY = [
    *("", " ", "0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e400", "1/0", "0/0", "8/255", "99999999999999999999"),
    *("1,2", "2,1", ",", "1,,2", "a,b", "None", "True", "[]", "ü☃", "a" * 3000, "../..", "/", "~", ".", "a\nb"),
    *("digits", "mnist", "standard", "quick", "clip", "clip@2", "clip@nan", "clip:lamda=", "clip:lamda=-1"),
    *("clip:nb_pairs=x", "clip:unknown=1", "weight:kind=l3", "pgd:max_iter=-5", "pgd:max_iter=nan", "pgd+", "+", ":"),
    *("module:function", "os:system", "math:pi", ":f", "a.b.c:d", "json:loads", "no_such_module:f", "hf:x", "hub:x"),
    *("EMPTY", "TEXT", "NPZ", "BADNPZ", "FOLDER", "PICKLE", "KERAS", "ONNX", "PT2", "H5", "MISSING/x", "READONLY"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Files that are not what their names promise."""
    folder = tmp_path_factory.mktemp("places")
    made = {name: folder / name.lower() for name in ("EMPTY", "TEXT", "FOLDER")}
    made |= {
        "NPZ": folder / "a.npz",
        "BADNPZ": folder / "b.npz",
        "PICKLE": folder / "a.pt",
        "KERAS": folder / "a.keras",
    }
    made |= {"ONNX": folder / "a.onnx", "PT2": folder / "a.pt2", "H5": folder / "a.h5"}
    made["EMPTY"].touch()
    made["TEXT"].write_text("some words\n")
    made["FOLDER"].mkdir()
    np.savez(made["NPZ"], x_train=np.zeros((4, 3)), unknown=np.array(["a"]))
    with zipfile.ZipFile(made["PT2"], "w") as file:
        file.writestr("archive/data.pkl", "no pickle")
    for name, start in (("BADNPZ", b"PK\x03\x04"), ("PICKLE", b"\x80\x04"), ("KERAS", b"PK"), ("ONNX", b"\x08\x07")):
        made[name].write_bytes(start + bytes(range(200)))
    made["H5"].write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return {**{name: str(path) for name, path in made.items()}, "READONLY": "/proc/x"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of artclip train."""
    folder = tmp_path_factory.mktemp("model")
    words = ["train", "--data", "digits", "--nb-epochs", "1", "--attack-samples", "2", "-o", str(folder)]
    assert main.main([*words, "--framework", FRAMEWORKS[0]]) == 0
    return str(folder)


@pytest.fixture
def work(monkeypatch):
    """The work itself is not done."""
    monkeypatch.setattr(Experiment, "train", reached)
    monkeypatch.setattr("artclip.comparison.compare.run", reached)
    monkeypatch.setattr(AttackRunner, "attack", reached)
    monkeypatch.setattr(Search, "screen", reached)


def outcome(words):
    """Exit code, or Reached."""
    try:
        return main.main(words)
    except SystemExit as exit_:
        return exit_.code
    except Reached:
        return Reached


WORDS = st.sampled_from(NASTY) | st.text(max_size=12).filter(lambda text: "\0" not in text and text[:1] != "-")


@given(data=st.data())
@settings(max_examples=NB_TRIES, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_words_end_with_code_two_and_one_line(data, model, places, work, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = data.draw(st.sampled_from(sorted(COMMANDS)))
    taking, flags = COMMANDS[command]
    words = [model if word == "MODEL" else word for word in FIRST[command]]
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.integers(0, 9))
        value = data.draw(WORDS)
        value = places.get(value, value)
        if kind == 0 and flags:
            words.append(data.draw(st.sampled_from(flags)))
        elif kind == 1:
            words.append(value)
        elif kind == 2 and words:
            words[data.draw(st.integers(0, len(words) - 1))] = value
        elif taking:
            words.append(f"{data.draw(st.sampled_from(taking))}={value}")
    code = outcome([command, *words])
    err = capsys.readouterr().err
    if code is Reached or (code == 0 and command in ("attacks", "leaderboard")):
        return
    if code == 1:  # a framework or a package that is not there
        assert "install" in err, (words, err)
    else:
        assert code == 2, (words, err)
    assert err.count("\n") == 1, (words, err)
    assert len(err) < 5000
    assert "Traceback" not in err
