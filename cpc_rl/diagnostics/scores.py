"""How well a probe predicts: F1 and R2, as scikit-learn defines them."""

import numpy as np
from numpy.typing import NDArray


def f1_scores(labels: NDArray, predictions: NDArray) -> tuple[float, float]:
    """
    F1 of each class against the rest, averaged.

    A class that is neither predicted rightly nor present, has F1 0. Anand et al. 2019 report the weighted one.

    :param labels: shape ``(N,)``, int
    :param predictions: shape ``(N,)``, int; a class that no label has counts as one of F1 0
    :return: the average weighted by how often each class is the label, and the plain one over all classes that occur in
        either (macro)
    :raises ValueError: if there is nothing to score
    """
    if len(labels) == 0 or labels.shape != predictions.shape:
        raise ValueError(f"F1 needs labels and as many predictions, not {labels.shape} and {predictions.shape}.")
    classes, codes = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    truth, guess = codes[: len(labels)], codes[len(labels) :]
    support = np.bincount(truth, minlength=len(classes))
    guessed = np.bincount(guess, minlength=len(classes))
    right = np.bincount(truth[truth == guess], minlength=len(classes))
    f1 = 2 * right / (support + guessed)  # every class occurs in one of the two
    return float((f1 * support).sum() / support.sum()), float(f1.mean())


def uninformed_f1(train: NDArray, test: NDArray) -> tuple[float, float]:
    """
    Weighted F1 of guesses that know how often each class occurs in training, and nothing else.

    Always the commonest class is the most accurate of them, and far from the best by F1, which gives the other classes 0.

    :param train: labels, shape ``(N,)``, int
    :param test: labels that are guessed, shape ``(M,)``, int
    :return: that of the commonest class, always; and that of draws in the shares of training (of the counts that are expected)
    :raises ValueError: if there is nothing to score
    """
    classes, counts = np.unique(train, return_counts=True)
    commonest = f1_scores(test, np.full_like(test, classes[counts.argmax()]))[0]
    guessed, support = counts / len(train), (test[:, None] == classes).mean(axis=0)  # shares, (C,) each
    return commonest, float((support * 2 * support * guessed / (support + guessed)).sum())


def r2_score(labels: NDArray, predictions: NDArray) -> float:
    """
    Share of the labels' variance that the predictions explain: 1 is perfect, 0 no better than their mean.

    :param labels: shape ``(N,)``, float
    :param predictions: shape ``(N,)``, float
    :raises ValueError: if the labels do not vary
    """
    spread = float(np.square(labels - labels.mean()).sum()) if len(labels) else 0.0
    if spread == 0:
        raise ValueError("R2 compares with the labels' variance, but these labels are all the same.")
    return 1.0 - float(np.square(labels - predictions).sum()) / spread
