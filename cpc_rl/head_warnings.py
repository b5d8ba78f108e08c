"""What a head's figures warn of: that it trains nothing, or that some of its steps were left out."""

import math
import warnings
from collections.abc import Mapping

from cpc_rl.objectives import Objective
from cpc_rl.sampling import Windows

LEAST_STEPS = 20  # of a head, to say that they trained nothing


class HeadWarnings:
    """
    Of one objective. That it trains nothing is said once, whatever the reason, and that steps were left out is said once.

    :param name: of the objective, as in the tags
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._told: set[str] = set()

    def of_equal_scores(self, means: Mapping[str, float]) -> None:
        """:param means: of the metrics since the last look"""
        ceiling = means.get("mi_ceiling", 0.0)
        if "mi_lower_bound" not in means or ceiling == 0:  # no anchor counted, which another warning tells
            return
        same_scores = abs(means["mi_lower_bound"]) < 1e-6 * max(1.0, ceiling)
        if same_scores and means.get("accuracy", 0.0) < math.exp(-ceiling) * 1.001:
            self._say(
                "trains nothing",
                f"the loss is exactly that of {math.exp(ceiling):.0f} equal guesses, so every observation looks the same to "
                "the head. The buffer may be empty, or the features have collapsed.",
            )

    def of_nothing_to_learn(self, means: Mapping[str, float], steps: int, objective: Objective, windows: Windows) -> None:
        """
        Of a loss that is 0 for want of pairs, and not as every pair is found. A queue is empty for a step or some.

        :param means: of the metrics over so many ``steps``
        :param windows: of one of them
        """
        if steps < LEAST_STEPS or means.get("loss") != 0:
            return
        found = means["accuracy"] > 0.5 if "accuracy" in means else bool(objective.paired(windows).any())
        if found:
            return
        later = f", {objective.horizon} frames later in its episode," if objective.horizon else ""
        self._say(
            "trains nothing",
            f"nothing was trained in {steps} head steps, for no anchor had a positive{later} or none had a negative. Episodes "
            "may be too short for the horizon, or the choice of negatives leaves none.",
        )

    def of_no_use_for_augment(self) -> None:
        """Of an augmentation that was asked for and changes nothing."""
        self._say(
            "augment",
            "augment was given and has no use: the head takes the features that the agent computes of its images as they are, "
            "its anchors' and those of the next frames. With share_passes=False it makes passes of its own, of augmented "
            "images.",
        )

    def of_detached(self, share: float) -> None:
        """:param share: of the steps whose loss did not depend on the encoder"""
        if share == 1:
            self._say(
                "trains nothing",
                "the loss does not depend on what the encoder gave out, so it trains nothing of the agent: features come from "
                "encoder(observations), encoder.views() or encoder.with_maps(), undetached.",
            )

    def of_left_out(self, share: float, steps: int) -> None:
        """:param share: of so many ``steps`` whose gradient was not finite"""
        if share > 0:
            self._say(
                "left out",
                f"the gradient of {round(share * steps)} of the last {steps} head steps was not finite, and they were left "
                "out.",
            )

    def _say(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(f"{self.name}: {text}", stacklevel=4)
