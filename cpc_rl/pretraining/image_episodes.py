"""Folders of images and of videos: episodes without actions and rewards."""

import os
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.pretraining.episodes import DamagedError, Episodes, Segment

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
PAGED = (".tif", ".tiff", ".webp")  # of the images, those that may hold several


class ImageEpisodes(Episodes):
    """
    Every folder with images is an episode, its files sorted by name (whole numbers in names by their value; decimal ones where
    they are all of the name, see :func:`_counted`); every video is one. Links to folders are followed. A video is decoded once
    when the set is opened: only that tells how many frames it has and whether they can be found.

    :param folder: looked through with all the folders in it
    :param image_size: height and width that all images are brought to; ``None``: that of the first that can be read, and what
        has another size is skipped
    :param grayscale: one channel instead of red, green and blue
    :raises ValueError: if there is nothing that can be read
    """

    action_space = None

    def __init__(self, folder: str | os.PathLike, image_size: tuple[int, int] | None = None, grayscale: bool = False) -> None:
        folder = Path(folder)
        self.grayscale, self.resize, self.skipped = grayscale, image_size is not None, []
        self._video: tuple[int, Path, Any] | None = None
        self.sources: list[Path | list[Path]] = []
        lengths: list[int] = []
        seen: set[str] = set()
        for place, folders, names in os.walk(folder, followlinks=True, onerror=lambda error: self.skipped.append(str(error))):
            folders.sort(key=_natural)
            if os.path.realpath(place) in seen:  # by a link, which may lead round in a circle
                folders.clear()
                continue
            seen.add(os.path.realpath(place))
            images, videos = (
                [Path(place) / name for name in _in_order([name for name in names if Path(name).suffix.lower() in kind])]
                for kind in (IMAGES, VIDEOS)
            )
            if images:
                self.sources.append(images)
                lengths.append(len(images))
            for video in videos:
                frames, wrong = _frames(video)
                if wrong:
                    self.skipped.append(f"{video}: {wrong}")
                if frames:
                    self.sources.append(video)
                    lengths.append(frames)
        self.lengths = np.array(lengths, dtype=np.int64)
        height, width = self._first_size(folder) if image_size is None else image_size
        self.image_size = height, width
        shape = (1 if grayscale else 3, height, width)
        self.observation_space: spaces.Space = spaces.Box(0, 255, shape, np.uint8)

    def read(self, episode: int, start: int, stop: int) -> Segment:
        source = self.sources[episode]
        frames = [self._image(f) for f in source[start:stop]] if isinstance(source, list) else self._clip(source, start, stop)
        count = stop - start
        return Segment(np.stack(frames), np.zeros((count - 1, 0), np.float32), np.zeros(count - 1, np.float32))

    def _first_size(self, folder: Path) -> tuple[int, int]:
        wrong = list(self.skipped)
        for source in self.sources:
            if not isinstance(source, list):
                _, image = cv2.VideoCapture(os.fspath(source)).read()
                return image.shape[0], image.shape[1]
            for file in source:
                try:
                    image = _load(file, cv2.IMREAD_GRAYSCALE)
                    return image.shape[0], image.shape[1]
                except DamagedError as error:
                    wrong.append(str(error))
        raise ValueError(
            f"{folder} has no image and no video that can be read; known endings are {', '.join(IMAGES + VIDEOS)}."
            + (f" The first that cannot be read is {wrong[0]}." if wrong else "")
        )

    def _image(self, file: Path) -> NDArray[np.uint8]:
        return self._prepared(_load(file, cv2.IMREAD_GRAYSCALE if self.grayscale else cv2.IMREAD_COLOR), file)

    def _clip(self, file: Path, start: int, stop: int) -> list[NDArray[np.uint8]]:
        if self._video is None or self._video[:2] != (os.getpid(), file):
            self._video = os.getpid(), file, cv2.VideoCapture(os.fspath(file))
        video = self._video[2]
        if int(video.get(cv2.CAP_PROP_POS_FRAMES)) != start:
            video.set(cv2.CAP_PROP_POS_FRAMES, start)
        frames = []
        for number in range(start, stop):
            read, image = video.read()
            if not read:
                raise DamagedError(f"{file}: it should have {number + 1} frames or more, but frame {number} cannot be read")
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if self.grayscale else image
            frames.append(self._prepared(np.asarray(image), file))
        return frames

    def _prepared(self, image: NDArray, file: Path) -> NDArray[np.uint8]:
        height, width = self.image_size
        if image.shape[:2] != self.image_size:
            if not self.resize:
                found = f"{image.shape[0]} x {image.shape[1]}"
                raise DamagedError(f"{file}: its size is {found}, not {height} x {width}; image_size brings all to one size")
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        return image[None] if self.grayscale else np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_video": None}


def _load(file: Path, flag: int) -> NDArray[np.uint8]:
    """
    :param flag: OpenCV's, of a grey or a coloured image
    :raises DamagedError: if it cannot be read, or not all that it holds
    """
    name = os.fspath(file)
    image = cv2.imread(name, flag | cv2.IMREAD_ANYDEPTH)  # else other depths are read as 8 bits, whatever becomes of them
    if image is None:
        raise DamagedError(f"{file}: no image that can be read")
    if image.dtype != np.uint8:
        raise DamagedError(
            f"{file}: its numbers are {image.dtype}, but images of 8 bits are read: scale what it shows to 0 .. 255, and save "
            "it anew"
        )
    pages = cv2.imcount(name) if file.suffix.lower() in PAGED else 1
    if pages > 1:
        raise DamagedError(f"{file}: it holds {pages} images, but one a file is read: save each as a file of its own")
    return np.asarray(image)


def _frames(file: Path) -> tuple[int, str]:
    """How many frames of a video can be found by their numbers, and what is wrong with it, if something is."""
    video = cv2.VideoCapture(os.fspath(file))
    told, rate = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), video.get(cv2.CAP_PROP_FPS)
    stamps = []
    while video.grab():
        stamps.append(video.get(cv2.CAP_PROP_POS_MSEC))
    count = len(stamps)
    if count == 0:
        return 0, "no video that can be read"
    times = np.array(stamps)
    # In files that tell no time of a frame (AVI) it is that of the last piece read, and 0 for what a decoder that holds frames
    # back (B-frames) gives out at the end, though these are found as well as the others.
    known = times[: int(times.nonzero()[0][-1]) + 1] if times.any() else times
    # The decoder goes to a frame by the time that it should have at the rate that the file tells
    away = np.abs((known - times[0]) * rate / 1000 - np.arange(len(known))).max()
    if count > told or away > 0.5:
        return 0, (
            f"its frames cannot be found by their numbers, for they do not come at a constant rate or are not {told}, as it "
            "says: convert it, as by ffmpeg -i IN -r 30 OUT.mp4, or write its frames out as images"
        )
    return count, "" if count == told else f"it should have {told} frames, but only the first {count} can be read"


def _in_order(names: list[str]) -> list[str]:
    """Names sorted; where all but their endings are numbers, decimal ones too, by their values."""
    stems = {name: os.path.splitext(name)[0] for name in names}
    if all(NUMBER.fullmatch(stem) for stem in stems.values()) and not _counted(list(stems.values())):
        return sorted(names, key=lambda name: (Decimal(stems[name]), name))
    return sorted(names, key=_natural)


def _counted(stems: list[str]) -> bool:
    """
    Whether what stands behind the point is a number of its own, as in ``3.8``, ``3.9``, ``3.10``, and no decimals.

    Only where it is longer behind some than behind others does it matter. Decimals of unlike lengths do not end in 0, and
    numbers of their own hardly begin with it. Where neither is seen, the frames' steps are more even as what they are.
    """
    behind: dict[str, set[str]] = {}
    for stem in stems:
        before, point, after = stem.partition(".")
        if point:
            behind.setdefault(before, set()).add(after)
    unlike = [texts for texts in behind.values() if len(set(map(len, texts))) > 1]
    long = [text for texts in unlike for text in texts if len(text) > 1]
    if any(text.endswith("0") for text in long):  # padded ones (09, 10, .., 99, 100) too
        return True
    if any(text.startswith("0") for text in long):
        return False
    return _unevenness([[Decimal(text) for text in texts] for texts in unlike]) < _unevenness(
        [[Decimal(f"0.{text}") for text in texts] for texts in unlike]
    )


def _unevenness(groups: list[list[Decimal]]) -> Decimal:
    """The largest step from a number of a group to the next one, over the median step."""
    steps = sorted(b - a for numbers in groups for a, b in pairwise(sorted(numbers)))
    return steps[-1] / steps[len(steps) // 2] if steps else Decimal(1)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts ``frame_2`` before ``frame_10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
