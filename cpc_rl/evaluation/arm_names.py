"""What the name of an arm says: what it trains, what it starts from, and what it should be held against."""

PLAIN_ARMS = ("none", "aug", "compute")


def split_encoder(arm: str) -> tuple[str, str]:
    """``("aug+cpc", "@atc")`` of ``aug+cpc@atc``: what is trained, and what encoder it starts from, or an empty text."""
    trained, at, encoder = arm.partition("@")
    return trained, at + encoder


def head_of(arm: str) -> str:
    """The objectives in an arm's name, such as ``cpc`` of ``aug+cpc@atc``; empty if it trains none."""
    words = split_encoder(arm)[0].split("+")
    return "" if "compute" in words or words[-1] in PLAIN_ARMS else words[-1]


def arm_order(arm: str) -> tuple[int, str]:
    """Sorts arms as a reader compares them: plain, augmented, more training, the objectives, wrong positives last."""
    if arm in PLAIN_ARMS:
        return PLAIN_ARMS.index(arm), arm
    words = split_encoder(arm)[0].split("+")
    return len(PLAIN_ARMS) + (0 if "compute" in words else 2 if "shuffled" in words else 1), arm


def controls(arm: str) -> list[str]:
    """
    The arms that one arm should be held against, whether they were run or not.

    Those that train longer come in order: the last that was run has most in common with the arm. One that makes up for the
    very objectives' time says more of them than one that makes up for that of the recipe's, and if the agent's batches are
    augmented, one whose batches are so, too.

    :param arm: a name without what it says of an encoder
    """
    words, head = arm.split("+"), head_of(arm)
    augmented = ["aug"] if "aug" in words else []
    if head:
        names = ",".join(part.partition("=")[0] for part in head.split(","))  # weights take no time
        longer = [f"compute+{names}", *(["aug+compute", f"aug+compute+{names}"] if augmented else [])]
        wrong = [] if "shuffled" in words else ["+".join([*augmented, "shuffled", head])]
        return [*PLAIN_ARMS, *longer, *wrong]
    if "compute" in words:
        return ["none", "aug", *([arm.removeprefix("aug+")] if augmented else [])]
    return list(PLAIN_ARMS[: PLAIN_ARMS.index(arm)] if arm in PLAIN_ARMS else PLAIN_ARMS)
