"""CLIP in an ART workflow: train the same net plainly and with CLIP, attack both with ART's PGD, compare.

Run: ``python examples/quickstart_pytorch.py``. Half a minute on a CPU, on scikit-learn's digits.
"""

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier

import artclip


def make_classifier(seed: int) -> PyTorchClassifier:
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),  # logits: a sigmoid or softmax here would hide gradients from attacks
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    return PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, clip_values=(0.0, 1.0)
    )


def accuracy(classifier: PyTorchClassifier, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(classifier.predict(x).argmax(1) == y))


def main() -> None:
    (x_train, y_train), (x_test, y_test) = artclip.load_data("digits")

    plain = make_classifier(seed=0)
    plain.fit(x_train, y_train, batch_size=128, nb_epochs=60)

    # λ adapts so that 98 % of the training data stay right.
    trainer = artclip.CLIPTrainer(make_classifier(seed=0), target_accuracy=0.98, seed=0)
    trainer.fit(x_train, y_train, batch_size=128, nb_epochs=60)

    print(f"{'':8}{'test':>8}{'PGD L2 0.5':>12}{'Lipschitz':>12}")
    for name, classifier in (("plain", plain), ("CLIP", trainer.get_classifier())):
        attack = ProjectedGradientDescent(
            classifier, norm=2, eps=0.5, eps_step=0.03, max_iter=40, num_random_init=1, verbose=False
        )
        adversarial = attack.generate(x_test, y_test)
        lower = artclip.lipschitz_lower_bound(classifier, x_train, seed=0)
        print(
            f"{name:8}{accuracy(classifier, x_test, y_test):8.1%}{accuracy(classifier, adversarial, y_test):12.1%}"
            f"{'>= ' + format(lower.value, '.2f'):>12}"
        )
    print(f"λ at the end: {trainer.lamda:.4f}")


if __name__ == "__main__":
    main()
