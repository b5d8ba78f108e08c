"""
Neighbouring slices of one scan as two views: `multiview` learns to find a slice's neighbour among all others.

    pip install -e . nibabel    # in a checkout
    python docs/examples/scan_slices.py

The scan is `anatomical.nii` of nibabel's test data, a T1-weighted brain at 2 mm: 33 x 41 x 25 voxels. A view is a slice, its
positive the next slice, and each is moved, brightened and darkened by itself, as if another scanner had taken it. A stretch
in the middle of the axial and of the coronal slices is held out: no view of these trains the encoder.
"""

import time
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.nn import functional as F

from cpc_rl import Multiview, NatureExtractor
from cpc_rl.encoder import Encoder
from cpc_rl.sampling import Windows

SIDE, UPDATES = 48, 800
AUGMENT = {"random_shift": {"pad": 6}, "intensity": None}
ORIENTATIONS = ("sagittal", "coronal", "axial")
VIEWS = {"slice": 0, "next": 1}  # and how many slices further on
HELD_OUT = {"sagittal": range(0), "coronal": range(14, 27), "axial": range(9, 17)}


def slices_of_scan() -> list[Tensor]:
    """The slices of each orientation in their order, ``(n, 1, SIDE, SIDE)``, uint8."""
    scan = nibabel.load(Path(nibabel.__file__).parent / "tests/data/anatomical.nii")
    voxels = np.asarray(scan.dataobj, dtype=np.float32)
    voxels = np.clip(voxels / np.percentile(voxels, 99.5), 0, 1) * 255
    orientations = []
    for axis in range(3):
        slices = np.moveaxis(voxels, axis, 0)
        missing = [SIDE - n for n in slices.shape[1:]]
        padded = np.pad(slices, [(0, 0), *((n // 2, n - n // 2) for n in missing)])
        orientations.append(torch.from_numpy(padded.astype(np.uint8))[:, None])
    return orientations


def windows(slices: list[Tensor], pairs: list[tuple[int, int]]) -> Windows:
    """Slices and the next ones: windows of a single moment with two views."""
    views = {name: torch.stack([slices[o][place + step] for o, place in pairs])[:, None] for name, step in VIEWS.items()}
    return Windows(
        observations=views,  # (B, 1, 1, SIDE, SIDE) each
        actions=torch.zeros(len(pairs), 0, 0),
        rewards=torch.zeros(len(pairs), 0),
        mask=torch.ones(len(pairs), 1, dtype=torch.bool),
        episode=torch.tensor([o for o, _ in pairs]),
        step=torch.tensor([place for _, place in pairs]),
    )


@torch.no_grad()
def found(objective: Multiview, encoder: Encoder, slices: Tensor, queries: list[int]) -> tuple[float, float]:
    """
    Share of slices whose next one is the most similar of all others: by the objective's cosines, and by the raw pixels'.

    :param slices: of one orientation, in their order; each of 50 trials augments all of them anew
    :param queries: places of the slices that are asked about
    """
    learnt, raw = [], []
    for _ in range(50):
        views = {key: objective.augmented(slices) for key in VIEWS}
        vectors = {key: objective.projections[key](z) for key, z in encoder.views(views).items()}
        pixels = {key: image.flatten(1).float() - image.float().mean((1, 2, 3))[:, None] for key, image in views.items()}
        for result, sides in ((learnt, vectors), (raw, pixels)):
            similarity = F.normalize(sides["slice"], dim=1) @ F.normalize(sides["next"], dim=1).T
            similarity.fill_diagonal_(-torch.inf)  # all others: a slice is not its own neighbour
            right = similarity[queries].argmax(dim=1) == torch.tensor(queries) + 1
            result.append(float(right.float().mean()))
    return float(np.mean(learnt)), float(np.mean(raw))


def main() -> None:
    """Train and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    slices = slices_of_scan()
    image = spaces.Box(0, 255, (1, SIDE, SIDE), np.uint8)
    extractor = NatureExtractor(image, 128).apply(partial(ActorCriticPolicy.init_weights, gain=2**0.5))
    encoder = Encoder(dict.fromkeys(VIEWS, extractor), spaces.Dict(dict.fromkeys(VIEWS, image)))
    objective = Multiview(encoder, latent_dim=64, temperature=0.1, augment=AUGMENT)
    objective.generator = torch.Generator().manual_seed(0)
    training, tests = [], {}
    for o, name in enumerate(ORIENTATIONS):
        places = range(len(slices[o]) - 1)
        known = [place for place in places if not {place, place + 1} & set(HELD_OUT[name])]
        unknown = [place for place in places if {place, place + 1} <= set(HELD_OUT[name])]
        training += [(o, place) for place in known]
        tests |= {f"{name}, {kind}": (o, part) for kind, part in (("trained on", known), ("held out", unknown)) if part}
    untrained = {name: found(objective, encoder, slices[o], part)[0] for name, (o, part) in tests.items()}
    optimizer = torch.optim.Adam([*extractor.parameters(), *objective.parameters()], lr=1e-3)
    everything, began = windows(slices, training), time.perf_counter()  # so few that all of them make one batch
    for update in range(1, UPDATES + 1):
        loss, metrics = objective(encoder, everything)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(encoder)
        if update % 200 == 0:
            print(
                f"update {update}: loss {metrics['loss']:.2f} nats, accuracy among {len(training)} {metrics['accuracy']:.2f}"
            )
    print(f"{time.perf_counter() - began:.0f} s on one core\n")
    print("| slices | asked about | among | chance | raw pixels | untrained encoder | trained |")
    print("|---|---|---|---|---|---|---|")
    for name, (o, part) in tests.items():
        learnt, raw = found(objective, encoder, slices[o], part)
        others = len(slices[o]) - 1
        print(f"| {name} | {len(part)} | {others} | {1 / others:.2f} | {raw:.2f} | {untrained[name]:.2f} | {learnt:.2f} |")


if __name__ == "__main__":
    main()
