"""The digits, and what a linear probe reads off features of them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

SIDE = 32  # pixels: 16 patches for the transformer
DRAWS = 5  # of which images have the few labels


@dataclass(frozen=True)
class Digits:
    """Images ``(N, 32, 32, 1)`` uint8 and classes ``(N,)``, to train on and to test on."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def digits(validation: bool) -> Digits:
    """
    A third of the images is for testing, the same for all seeds, every class by its share.

    :param validation: a quarter of the training images takes the place of the test images, which settings were chosen by
    """
    data = load_digits()
    small = (data.images * (255 / 16)).round().astype(np.uint8)
    images = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for image in small])[..., None]
    train, test = train_test_split(np.arange(len(images)), test_size=597, stratify=data.target, random_state=0)
    if validation:
        train, test = train_test_split(train, test_size=0.25, stratify=data.target[train], random_state=0)
    return Digits(images[train], data.target[train], images[test], data.target[test])


def probe(data: Digits, train: NDArray, test: NDArray, labels: int) -> float:
    """
    Accuracy on the test images of a logistic regression, the mean over draws of the labelled images.

    :param train: features of the training images, ``(N, D)``; all of them standardise, which takes no label
    :param labels: of each class that are known; 0: all. Folds of these choose the regularisation
    """
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    accuracies = []
    for draw in range(DRAWS if labels else 1):
        rng = np.random.default_rng(draw)
        classes = [np.flatnonzero(data.train_labels == label) for label in range(10)]
        rows = np.concatenate([rng.permutation(c)[: labels or None] for c in classes])
        folds = StratifiedKFold(5, shuffle=True, random_state=draw)
        grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
        search = GridSearchCV(LogisticRegression(max_iter=2000), grid, cv=folds).fit(train[rows], data.train_labels[rows])
        accuracies.append(search.score(test, data.test_labels))
    return float(np.mean(accuracies))
