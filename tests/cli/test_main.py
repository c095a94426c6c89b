"""The command line as its user meets it: output, exit codes, errors of one line."""

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from artclip import load_data
from artclip.cli.lipschitz import _layers
from artclip.cli.main import MEASURING, TRAINING, _parsed, _parser, main
from tests.nets import FRAMEWORKS
from tests.nets import default as nets

FAST = ["--data", "digits", "--nb-epochs", "1", "--attack-samples", "20"]


def run(capsys, *words):
    try:
        code = main([*words])
    except SystemExit as exit_:  # argparse ends this way
        code = exit_.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_compare_prints_a_table(capsys):
    code, out, err = run(capsys, "compare", *FAST, "--seeds", "1", "--defences", "standard,clip")
    assert code == 0
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table] == ["defence", "---", "standard", "clip"]
    assert "The worst case is an upper bound" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "All columns: --full-table, --html FILE." in out
    assert err == ""  # no progress bar where stderr is no terminal


def test_errors_name_the_help_of_their_command(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--data"])
    assert capsys.readouterr().err.endswith("(see artclip train --help)\n")


def test_compare_exits_with_1_where_every_training_failed(capsys):
    fast = ["compare", *FAST, "--seeds", "2", "--noise", "0.1"]
    fast += ["--ema-decay", "0.5"]  # which a training that holds an accuracy refuses
    code, out, err = run(capsys, *fast, "--defences", "clip@0.9")
    assert code == 1
    assert "2 of 2 trainings failed." in out
    assert err.startswith("artclip: 2 of 2 trainings failed: ValueError: target_accuracy ends with the weights")
    code, out, err = run(capsys, *fast, "--defences", "standard,clip@0.9", "--intervals")
    assert code == 0
    assert "2 of 4 trainings failed." in out
    assert err.startswith("artclip: 2 of 4 trainings failed: ")
    assert " [" in next(line for line in out.splitlines() if line.startswith("| standard"))


def test_data_that_do_not_fit_are_one_line_before_any_training(capsys, tmp_path):
    (x, y), (x_test, y_test) = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    path = str(tmp_path / "d.npz")
    for change, message in (
        ({"x_train": (255 * x).astype(np.uint8)}, "write x / 255"),
        ({"y_train": np.array([f"digit {i}" for i in y]), "y_test": np.array([f"digit {i}" for i in y_test])}, "words"),
        ({"x_train": x[:, :, :4], "x_test": x_test}, "inputs of shape"),
    ):
        np.savez(path, **{"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test, **change})
        for words in (["compare", *FAST[2:], "--data", path], ["train", *FAST[2:], "--data", path]):
            code, _, err = run(capsys, *words)
            assert (code, err.count("\n")) == (2, 1)
            assert message in err


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_framework_is_the_users_choice(capsys, framework):
    code, out, err = run(capsys, "train", *FAST, "--framework", framework, "--json")
    assert (code, err) == (0, "")
    settings = json.loads(out)["settings"]
    assert settings["framework"] == framework
    assert framework in settings["versions"]


def test_compare_json_is_alone_on_stdout_and_in_the_file(capsys, tmp_path):
    path = tmp_path / "c.json"
    words = [*FAST, "--seeds", "1", "--defences", "standard", "--json", "-o", str(path), "--eps", "8/255"]
    code, out, _ = run(capsys, "compare", *words)
    assert code == 0
    assert json.loads(out) == json.loads(path.read_text())
    assert json.loads(out)["settings"]["eps"] == pytest.approx(8 / 255)


def test_train_writes_weights_and_history(capsys, tmp_path):
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "train", *FAST, "--defence", "clip", "--target-accuracy", "0.9", "-o", str(folder))
    assert code == 0
    assert "| clip" in out
    assert sorted(path.name for path in folder.iterdir()) == sorted([nets.WEIGHTS_FILE, "training.json"])
    record = json.loads((folder / "training.json").read_text())
    assert record["settings"]["target_accuracy"] == 0.9
    assert len(record["history"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "--data", "nowhere"], "data 'nowhere' is not known"),
        (["compare", "--data", "none.npz"], "none.npz does not exist"),
        (["compare", *FAST, "--defences", "clop"], "defence 'clop' is not known"),
        (["compare", *FAST, "--defences", ","], "defences is empty"),
        (["compare", *FAST, "--defences", "clip@95"], "must lie in (0, 1]"),
        (["compare", *FAST, "--seeds", "0"], "nb_seeds=0"),
        (["compare", *FAST, "--norm", "3"], "norm='3'"),
        (["compare", *FAST, "--eps", "-1"], "eps=-1.0"),
        (["compare", *FAST, "--model", "vgg"], "model='vgg'"),
        (["compare", *FAST, "-o", "no/such/folder/c.json"], "cannot write to no/such/folder/c.json"),
        (["compare", *FAST, "--defences", "smoothing:sigma=0"], "sigma=0"),
        (["evaluate", __file__, "--data", "digits", "--fixed", "0,a"], "'a' is no index of a feature"),
        (["train", *FAST, "--lamda", "-1"], "lamda=-1.0"),
        (["train", *FAST, "--defence", "standard", "--lamda", "1"], "defence standard takes no lamda"),
        (["train", *FAST, "--target-accuracy", "2"], "target_accuracy=2.0"),
        (["train", *FAST, "--learning-rate", "0"], "learning_rate=0.0"),
        (["train", *FAST, "--seed", "-1"], "seed=-1"),
        (["train", *FAST, "-o", __file__], "it is a file; give a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("artclip: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["train"], ["compare", *FAST, "--eps", "x"], ["train", *FAST, "--nb-epochs", "many"]]
)
def test_bad_usage_is_exit_code_2(capsys, words):
    assert run(capsys, *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluat", "x"], "no command 'evaluat'; did you mean evaluate? (see artclip --help)"),
        (["fly"], "no command 'fly'; use one of train, compare, "),
        (["train", *FAST, "--target-acuracy", "0.9"], "no option --target-acuracy; did you mean --target-accuracy?"),
        (["evaluate", __file__, "--data", "digits", "--norms=inf"], "no option --norms; did you mean --norm? (see art"),
        (["train", *FAST, "--xyz", "3"], "no option --xyz (see artclip train --help)"),
        (["train", *FAST, "digits"], "'digits' belongs to no option (see artclip train --help)"),
    ],
)
def test_a_slip_is_told_with_what_is_near_to_it(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_options_of_other_tools_are_read_as_ours():
    words = ["--data", "digits", "--epochs=3", "--lr", "0.01"]
    read = _parsed(["train", *words, "--lambda", "0.2", "--defense", "weight"])
    assert (read.nb_epochs, read.learning_rate, read.lamda, read.defence) == (3, 0.01, 0.2, "weight")
    read = _parsed(["compare", *words, "--defenses=standard", "--n-jobs", "2", "--nb-seeds", "5"])
    assert (read.defences, read.jobs, read.seeds) == ("standard", 2, 5)


def test_help_and_version(capsys):
    assert run(capsys, "--version")[1].startswith("artclip 0.")
    code, out, _ = run(capsys, "compare", "--help")
    assert code == 0
    assert "8/255" in out


@pytest.mark.parametrize("command", ["", *TRAINING, *MEASURING])
def test_help_fits_a_screen_and_shows_examples_that_parse(capsys, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    examples = [line.split()[1:] for line in lines if line.strip().startswith("artclip ") and "COMMAND" not in line]
    assert examples
    for words in examples:
        assert _parser().parse_args(words).command == words[0]


def test_a_report_says_what_was_typed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["compare", *FAST, "--seeds", "1", "--defences", "standard,clip", "--attacks", "noise+fgsm"]
    code, out, _ = run(capsys, *words, "--html", "r.html", "--full-table")
    assert code == 0
    assert "| signs of masking" in out
    typed = "artclip compare --data digits --nb-epochs 1 --attack-samples 20 --seeds 1 --defences standard,clip"
    assert f"<code>{typed}" in (tmp_path / "r.html").read_text()


def test_the_installed_command_runs():
    result = subprocess.run([sys.executable, "-m", "artclip", "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith("artclip ")


@pytest.mark.parametrize("words", [[], ["--help"], ["compare", "--help"], ["attacks"], ["attacks", "--json"]])
def test_a_pipe_that_nobody_reads_ends_it_quietly(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "artclip", *words]
    # Unbuffered, argparse would pass over the error of its own printing.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=env)
    os.close(write)
    # Without a command it prints to stderr alone.
    assert result.returncode == (141 if words else 2)
    assert result.stderr.count("\n") == (not words)


def test_a_command_whose_pipe_nobody_reads_ends_quietly(capsys, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert main(["train", *FAST, "--attacks", "fgsm"]) == 141
    assert capsys.readouterr().err == ""


def test_evaluate_prints_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "digits", "--nb-epochs", "3", "--attack-samples", "10", "-o", "out"]) == 0
    capsys.readouterr()
    command = ["evaluate", "out", "--data", "digits", "--eps", "0.3", "--attacks", "fgsm+pgd:max_iter=5,nb_restarts=1"]
    command += ["--samples", "50", "--no-lipschitz"]
    assert main([*command, "--html", "r.html", "-o", "e.json", "--cache", "kept"]) == 0
    text = capsys.readouterr().out
    assert "clean accuracy" in text
    assert "| out |" in text
    assert "written: r.html" in text
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert list((tmp_path / "kept").glob("*.npz"))
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "e.json").read_text())
    assert record["accuracy"] == written["accuracy"]
    assert record["preflight"]["accuracy"] == record["accuracy"]["clean"]
    assert record["remarks"] == []
    (x, y), (x_test, y_test) = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    order = np.argsort(y_test)
    np.savez("sorted.npz", x_train=x, y_train=y, x_test=x_test[order], y_test=y_test[order])
    assert main([*command, "--data", "sorted.npz", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (remark,) = record["remarks"]
    assert remark.startswith("The first 50 of 360 samples do not stand for all (2 of 10 classes")
    assert 0 < record["accuracy"]["clean"] <= 1


def test_clip_values_of_other_units_are_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "data fill 1 of a range of 255; give the clip_values of the data"
    with pytest.warns(RuntimeWarning, match=f"^likely mistake: {words}$"):
        assert main(["train", *FAST, "--clip-values", "0,255", "-o", "out"]) == 0
    capsys.readouterr()
    _, out, err = run(capsys, "evaluate", "out", "--data", "digits", "--attacks", "fgsm", "--html", "r.html")
    assert f"likely mistake  {words}\n" in out
    assert err == ""
    page = (tmp_path / "r.html").read_text()
    assert f"<h3>Likely mistake</h3><p>{words}.</p>" in page
    assert '<th scope="row">clip_values at work</th><td>0 to 255</td>' in page


def test_a_warning_is_one_line_without_code(monkeypatch):
    said, before = [], warnings.formatwarning
    made = ("one\n  line", UserWarning, "file.py", 7, "code()")
    monkeypatch.setattr("artclip.cli.attacks._run", lambda _: said.append(warnings.formatwarning(*made)))
    assert main(["attacks"]) == 0
    assert said == ["artclip: warning: one line\n"]
    assert warnings.formatwarning is before


def test_layers_of_a_bound_are_listed_with_their_branches():
    layers = [("a", 2.0), ("b", 15.0), ("add", 8.5), ("c", 1.0), ("cat", math.sqrt(2))]
    upper = SimpleNamespace(layers=layers, branches={2: [1.0, 7.5], 4: [1.0, 1.0]}, inside=[1, 3])
    lines = [line.split() for line in _layers(upper)]
    assert lines[:3] == [["2", "a"], ["15", "b"], ["8.5", "add:", "1", "+", "7.5"]]
    assert lines[4] == ["1.414", "cat:", "1", "beside", "1"]
    starts = [len(line) - len(line.lstrip()) for line in _layers(upper)]
    assert starts[1] > starts[0]
    assert _layers(SimpleNamespace(layers=None)) == []


def test_attacks_are_listed(capsys):
    assert main(["attacks"]) == 0
    text = capsys.readouterr().out
    from artclip.evaluation.attacks import ATTACKS

    assert all(f"\n{name} " in text for name in ATTACKS)
    assert all(f" {attack.paper}\n" in text for attack in ATTACKS.values())
    assert max(map(len, text.splitlines())) <= 100
    assert main(["attacks", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["attacks"]) == len(ATTACKS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", "--data", "digits"], "model 'nothing' is not known"),
        (["m.pt2", "--data", "digits"], "model file m.pt2 does not exist"),
        (["/nope/run", "--data", "digits"], "model /nope/run does not exist; expected a folder"),
        (["there.pt2", "--data", "/nope"], "/nope does not exist; use one of digits"),
        (["json:loads", "--data", "digits", "--weights", "w.pt"], "weights w.pt do not exist"),
        (["there.pt2", "--data", "digits", "--class-names", "names"], "file of class names names does not exist"),
        (["there.pt2", "--data", "nowhere"], "data 'nowhere' is not known"),
        (["there.pt2", "--data", "digits", "--attacks", "pgdd"], "attack 'pgdd' is not known"),
        (["there.pt2", "--data", "digits", "--samples", "0"], "samples=0"),
        (["there.pt2", "--data", "digits", "--mean", "0.5"], "give both --mean and --std"),
        (["there.pt2", "--data", "digits", "--html", "no/such/folder.html"], "cannot write to"),
        (["json:loads", "--data", "digits"], "json:loads failed"),
        (["there.pt2", "--data", "json:loads"], "json:loads failed"),
    ],
)
def test_evaluate_says_what_is_wrong(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there.pt2").touch()
    assert main(["evaluate", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "m.keras", "--data", "digits"],
        ["lipschitz", "json:loads", "--data", "/nope"],
        ["train", "--data", "nope.npz"],
        ["compare", "--data", "/nope/images"],
    ],
)
def test_a_missing_file_is_said_before_a_framework_is_loaded(words, capsys, monkeypatch):
    monkeypatch.setattr("artclip.cli.main._start", lambda arguments: pytest.fail("a framework would be loaded"))
    assert main(words) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.skipif("tensorflow" not in FRAMEWORKS, reason="needs TensorFlow")
def test_a_defence_that_a_framework_lacks_is_one_line(capsys):
    words = ["--data", "digits", "--nb-epochs", "1", "--framework", "tensorflow", "--defence", "awp"]
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert "ART has this trainer for torch only, not for tensorflow" in said
    assert "Traceback" not in said


def test_a_wide_bracket_is_said_to_be_one(capsys, monkeypatch):
    from artclip.lipschitz.estimate import LipschitzEstimate

    def bound(kind, value):
        return lambda *args, **kwargs: LipschitzEstimate(value, kind, 2, 2, "free", "a method", 0.1, layers=[])

    pair = np.zeros((2, 1, 8, 8))
    monkeypatch.setattr("artclip.lipschitz.lower.lipschitz_lower_bound", bound("lower", 1.0))
    monkeypatch.setattr(LipschitzEstimate, "distance", 0.5)
    monkeypatch.setattr("artclip.cli.lipschitz.load", lambda arguments: (None, ((pair, None), None), None))
    for value, said in ((9.0, False), (11.0, True)):
        monkeypatch.setattr("artclip.lipschitz.upper.lipschitz_upper_bound", bound("upper", value))
        code, out, _ = run(capsys, "lipschitz", "json:loads", "--data", "digits")
        assert code == 0
        assert ("The bracket is wide" in out) is said
        assert f"upper / lower  {value:g}" in out


@pytest.mark.parametrize("factory", ["made", "made_for"])
def test_a_function_that_makes_a_net_may_ask_for_shape_and_classes_or_not(capsys, tmp_path, monkeypatch, factory):
    pytest.importorskip("torch")
    (tmp_path / "own_factories.py").write_text(
        "from torch import nn\n"
        "def made():\n    return made_for((1, 8, 8), 10)\n"
        "def made_for(input_shape, nb_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[1] * input_shape[2], nb_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    model = f"own_factories:{factory}"
    code, out, _ = run(capsys, "train", *FAST, "--model", model, "--framework", "torch", "--json")
    assert (code, json.loads(out)["settings"]["model"]) == (0, model)
    words = ["--data", "digits", "--samples", "20", "--attacks", "quick", "--no-masking", "--json"]
    code, out, _ = run(capsys, "evaluate", model, *words)
    assert code == 0
    assert json.loads(out)["preflight"]
