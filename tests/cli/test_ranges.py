"""Units of the inputs and their scaling on the command line, and data that do not fit, each in one line."""

import json

import numpy as np
import pytest

from artclip import load_model
from artclip.cli.main import main
from tests.nets import FRAMEWORKS

MEAN, STD = [0.3, 0.5, 0.7], [0.2, 0.25, 0.3]
FAST = ["--nb-epochs", "1", "--attack-samples", "5", "--attacks", "noise", "--lamda", "0"]


def write(path, framework=FRAMEWORKS[0], change=None):
    """Small images of three channels, as the framework wants them, in a file; and its path."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 3, 6, 6)).astype(np.float32)
    y = x.mean((2, 3)).argmax(1)
    x = x if framework == "torch" else np.moveaxis(x, 1, -1)
    if change is not None:
        x, y = change(x, y)
    np.savez(path, x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return str(path), x


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_folder_of_train_remembers_mean_std_and_clip_values(framework, capsys, tmp_path):
    data, x = write(tmp_path / "d.npz", framework, lambda x, y: (np.round(x * 255).astype(np.uint8), y))
    folder = str(tmp_path / "out")
    scaled = [",".join(str(255 * v) for v in values) for values in (MEAN, STD)]
    ranges = ["--mean", scaled[0], "--std", scaled[1], "--clip-values", "0,255"]
    assert main(["train", "--data", data, *FAST, *ranges, "--framework", framework, "-o", folder, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)["rows"][0]
    loaded, x = load_model(folder), x.astype(np.float32)  # ART, in TensorFlow, subtracts a mean from bytes as bytes
    assert [float(np.max(v)) for v in loaded.clip_values] == [0.0, 255.0]
    mean, std = (np.reshape(v, (3, 1, 1) if framework == "torch" else (1, 1, 3)) for v in (MEAN, STD))
    plain = load_model(folder)
    plain.set_params(preprocessing=(0.0, 1.0))
    standardised = ((x / 255 - mean) / std).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(x), plain.predict(standardised), rtol=1e-3, atol=1e-4)
    assert main(["evaluate", folder, "--data", data, "--attacks", "noise", "--no-lipschitz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["clean"] == pytest.approx(trained["test"]["mean"], abs=1e-6)


WORDS = np.array(["ape", "bat", "cat"])
BAD = {
    "it holds words, as 'ape'": lambda x, y: (x, np.sort(WORDS[y])),
    "write x / 255 for values of 0 to 255": lambda x, y: (np.round(x * 255).astype(np.uint8), y),
    "its channels come|their channels come": lambda x, y: (
        np.moveaxis(x, 1, -1) if len(x[0]) == 3 else np.moveaxis(x, -1, 1),
        y,
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_data_that_do_not_fit_are_one_line_before_any_training(message, capsys, tmp_path):
    data, _ = write(tmp_path / "d.npz", change=BAD[message])
    assert main(["train", "--data", data, *FAST, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert any(part in said.err for part in message.split("|"))
    assert not (tmp_path / "out" / "training.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "lipschitz"])
def test_bytes_for_a_model_of_values_up_to_one_are_one_line(command, capsys, tmp_path):
    data, _ = write(tmp_path / "d.npz")
    assert main(["train", "--data", data, *FAST, "-o", str(tmp_path / "out")]) == 0
    bad, _ = write(tmp_path / "b.npz", change=lambda x, y: (np.round(x * 255).astype(np.uint8), y))
    capsys.readouterr()
    assert main([command, str(tmp_path / "out"), "--data", bad]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "x_train lies in [0, 255], outside the clip_values 0 to 1; write x / 255" in said.err
    assert main([command, str(tmp_path / "out"), "--data", bad, "--clip-values", "0,255"]) == 2
    assert "holds the clip_values, mean and std" in capsys.readouterr().err
