"""Defences side by side: each is trained from the same seeds, then attacked and measured in the same way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from artclip import checks
from artclip.arguments import taken
from artclip.comparison.defences import parse, split
from artclip.comparison.experiment import Data, Experiment
from artclip.comparison.input_checks import checked_data, named_nets, try_nets
from artclip.comparison.parallel import Job, nb_workers, run
from artclip.comparison.result import Comparison
from artclip.comparison.run_result import RunResult
from artclip.hashing.digests import digest


def compare(
    data: str | Data = "digits",
    model: Any = "mlp",
    defences: str | Sequence[str] = ("standard", "weight@0.95", "clip@0.95"),
    nb_seeds: int = 3,
    norm: float | str = 2,
    eps: float = 1.0,
    noise: float = 0.5,
    nb_epochs: int = 20,
    batch_size: int = 128,
    activation: str | None = None,
    learning_rate: float = 2e-3,
    attack_samples: int = 1000,
    verbose: bool = True,
    framework: str | None = None,
    attacks: Any = None,
    n_jobs: int = 1,
    nb_threads: int = 1,
    cache: str | os.PathLike[str] | None = None,
    curve_samples: int = 200,
    lipschitz: bool = True,
    masking: bool = True,
    augmentation: Any = None,
    ema_decay: float = 0.0,
) -> Comparison:
    """Train nets with each defence and compare what comes out.

    Args:
        data: a name or path for :func:`artclip.load_data`, or ``(x_train, y_train), (x_test, y_test)`` with inputs
            in [0, 1] (or in the ``clip_values`` of your ART classifiers) and class indices.
        model: net by name (``mlp``, ``mlp-200-80``, ``cnn``, ``convnet``, ``resnet``, ``resnet18``,
            ``lipconvnet``, ``lipresnet``), ``package.module:factory``, or a function of (input_shape, nb_classes) or
            nothing that makes an ``nn.Module`` or Keras model with logits, or an ART classifier; or a list of those.
        defences: names as ``standard``, ``weight@0.95``, ``clip@0.95``, ``clip:lamda=0.03``, ``adversarial:eps=1``; or
            one text of them with commas. :data:`artclip.comparison.defences.DEFENCES` lists them.
        nb_seeds: trainings per defence, >= 1, with seeds 0, 1, ...
        norm, eps: budget of the attack, eps > 0 in units of the inputs; the Lipschitz bound is in the same norm. CLIP
            itself trains in L2 whatever the attack.
        noise: standard deviation of the Gaussian noise, >= 0, in units of the inputs.
        nb_epochs: passes over the data, >= 1, with Adam under a cosine schedule.
        batch_size: samples a step, >= 1.
        activation: ``relu``, ``sigmoid``, ``softplus``, ``gelu``, ``maxmin``, of nets by name; ``None`` for each net's
            own: ``maxmin`` of ``lipconvnet`` and ``lipresnet``, ``relu`` of the others.
        learning_rate: of Adam, > 0.
        attack_samples: how many test samples are attacked, >= 1: the first ones, or, of data sorted by class, as many
            spread evenly. Noise meets all of them.
        verbose: show progress, on a terminal or in a notebook.
        framework: ``"torch"`` or ``"tensorflow"``; ``None`` for the one installed, PyTorch where both are. Images have
            their channels first for PyTorch, last for TensorFlow.
        attacks: names as for :func:`artclip.evaluate`; ``None`` for noise, PGD and PGD on the margin, of 100 steps and
            5 restarts.
        n_jobs: trainings at a time, each in a process; -1 for one a core. With 1, a ``joblib.parallel_config`` around
            the call decides, so that they run on a Dask or Ray cluster. Figures do not depend on it, seconds do.
        nb_threads: of each training, >= 1.
        cache: folder for finished trainings. A comparison that was interrupted goes on where it was; a change of data,
            settings, code or versions is a new training. Your functions count by code, closure, arguments and all
            that they name; one that holds what Python does not show is not kept, and a note says so.
        curve_samples: how many test samples the security curve is of, >= 0.
        lipschitz: whether to bound the Lipschitz constant, and to certify in L2.
        masking: whether to look for signs of gradient masking.
        augmentation: of the training images, the same for all defences: ``"crop-flip"`` (random crops of images padded
            by 4, and flips), ``"crop-flip:padding=2,flip=0"``, or a function of (batch, generator) as for
            :meth:`artclip.CLIPTrainer.fit`. ART's trainers get the whole data augmented anew before each epoch;
            ``fbf``, which runs all epochs as one, is refused. ``None`` for none.
        ema_decay: decay in [0, 1) of exponential moving averages of the weights, with which every training ends, as
            for :class:`artclip.CLIPTrainer`; 0 for none. Refused for defences that hold an accuracy (``clip@0.95``),
            and for ``awp``.

    Returns:
        The :class:`Comparison`. A training that fails is a row that says why.

    Raises:
        ValueError, TypeError: bad input, before any training.
        ImportError: the framework is not installed.
    """
    experiment = taken(Experiment, locals())
    checks.positive_integer("nb_seeds", nb_seeds)
    checks.positive_integer("nb_threads", nb_threads)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
        raise ValueError(f"n_jobs={n_jobs!r} must be an integer >= 1, or -1 for one a core")
    chosen = [parse(d) for d in (split(defences) if isinstance(defences, str) else defences)]
    if not chosen:
        raise ValueError("defences is empty; give at least one, as 'standard'")
    nets = named_nets(model if isinstance(model, (list, tuple)) else [model], experiment)
    if not nets:
        raise ValueError("model is empty; give at least one, as 'mlp'")
    loaded, described = experiment.load(data) if isinstance(data, str) else (data, "arrays")
    splits = checked_data(loaded)
    try_nets(nets, chosen, experiment, splits, nb_threads)
    jobs = [
        Job(experiment, net, name, named, seed)
        for name, net in nets.items()
        for named in {n.name: n for n in chosen}.values()
        for seed in range(nb_seeds)
    ]
    cells: dict[int, RunResult] = {}
    content = digest(*(a for part in splits for a in part))
    keys = [job.key(content, nb_threads) if cache is not None else ("", "") for job in jobs]
    with tqdm(total=len(jobs), disable=None if verbose else True, desc="compare", unit="training") as progress:
        for index, cell in run(jobs, splits, n_jobs, nb_threads, cache, [key for key, _ in keys]):
            cells[index] = cell
            progress.set_postfix_str(f"{cell.net}, {cell.defence}, seed {cell.seed}")
            progress.update()
    settings = {
        "data": data if isinstance(data, str) else "arrays",
        "data_description": described,
        "data_sha256": content,
        **experiment.samples(splits[1][1]),
        "models": list(nets),
        "defences": [named.name for named in chosen],
        "seeds": list(range(nb_seeds)),
        "n_jobs": nb_workers(n_jobs),
        "nb_threads": nb_threads,
        "not_cached": list(dict.fromkeys(why for _, why in keys if why)),
    }
    return Comparison({**settings, **experiment.describe()}, experiment, [cells[i] for i in range(len(jobs))])
