"""Ways of doing the same thing, timed in turn."""

import statistics
from collections.abc import Callable, Mapping


def in_turn(
    ways: Mapping[str, Callable[[], object]], rounds: int, warm_ups: int, clock: Callable[[], float]
) -> dict[str, float]:
    """
    Median milliseconds of each way. Each has one call in every round, so that a busy machine slows all of them.

    :param rounds: that count
    :param warm_ups: rounds before them
    :param clock: seconds, such as ``time.process_time``
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(warm_ups + rounds):
        for name, way in ways.items():
            began = clock()
            way()
            times[name].append(1_000 * (clock() - began))
    return {name: statistics.median(values[warm_ups:]) for name, values in times.items()}
