"""Folders of images and of videos: episodes without actions and rewards."""

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.pretraining.episodes import DamagedError, Episodes, Segment

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v")


class ImageEpisodes(Episodes):
    """
    Every folder with images is an episode, its files sorted by name (numbers in names by their value); every video is one.

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
        for place, folders, names in os.walk(folder):
            folders.sort(key=_natural)
            files = [Path(place) / name for name in sorted(names, key=_natural)]
            images = [file for file in files if file.suffix.lower() in IMAGES]
            if images:
                self.sources.append(images)
                lengths.append(len(images))
            for video in (file for file in files if file.suffix.lower() in VIDEOS):
                frames = int(cv2.VideoCapture(os.fspath(video)).get(cv2.CAP_PROP_FRAME_COUNT))
                if frames < 1:
                    self.skipped.append(f"{video}: no video that can be read")
                    continue
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
        for source in self.sources:
            for file in source if isinstance(source, list) else [source]:
                image = (
                    cv2.imread(os.fspath(file)) if isinstance(source, list) else cv2.VideoCapture(os.fspath(file)).read()[1]
                )
                if image is not None:
                    return image.shape[0], image.shape[1]
        raise ValueError(
            f"{folder} has no image and no video that can be read; known endings are {', '.join(IMAGES + VIDEOS)}."
        )

    def _image(self, file: Path) -> NDArray[np.uint8]:
        image = cv2.imread(os.fspath(file), cv2.IMREAD_GRAYSCALE if self.grayscale else cv2.IMREAD_COLOR)
        if image is None:
            raise DamagedError(f"{file}: no image that can be read")
        return self._prepared(np.asarray(image), file)

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


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts ``frame_2`` before ``frame_10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
