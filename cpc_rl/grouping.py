"""Batches in which several windows come from one trajectory, for objectives that contrast a trajectory with itself."""

import numpy as np
import torch

from cpc_rl.trajectories import Draw, Ints, TrajectoryRing


def draw_groups(
    ring: TrajectoryRing,
    batch_size: int,
    horizon: int,
    per_trajectory: int,
    lag: int,
    oldest: int,
    n_slots: int,
    generator: torch.Generator,
) -> Draw | None:
    """
    Draw distinct starts in groups that share a trajectory. Time grows with the logarithm of the ring's size.

    Starts are drawn as by :meth:`TrajectoryRing.draw`, and each names the trajectory of one group: ``per_trajectory`` valid
    starts of it, or those that are left, uniformly. So long trajectories come up more often, in proportion to their valid
    starts, and one that comes up twice has two groups. The batch lies trajectory by trajectory; its last group may be cut.

    :param per_trajectory: Size of a group. 1: exactly :meth:`TrajectoryRing.draw`.
    :param lag: See :meth:`TrajectoryRing.mask`; for the other arguments see :meth:`TrajectoryRing.draw`.
    :return: None if there are fewer valid starts than ``batch_size``.
    """
    drawn = ring.draw(batch_size, horizon, lag, oldest, n_slots, generator)
    if drawn is None or per_trajectory == 1:
        return drawn
    # Distinct starts add at least one window each, so these are always enough. Mostly a few are
    n_groups = -(-batch_size // per_trajectory)
    while True:
        start, env = drawn.start[:n_groups], drawn.env[:n_groups]
        before, after = find_extent(ring, start, env, horizon, lag, oldest, n_slots)
        counts = _share_out(ring.episode[start, env], before + after + 1, batch_size, per_trajectory)
        if counts.sum() == batch_size:
            break
        assert n_groups < batch_size, "A trajectory's valid starts must lie in one piece."
        n_groups = min(2 * n_groups, batch_size)
    chosen = counts > 0
    start, env, before, after, counts = (array[chosen] for array in (start, env, before, after, counts))
    places = draw_subsets(before + after + 1, counts, generator)
    start = (np.repeat(start - before, counts) + places) % len(ring.episode)
    return Draw(ring, start, np.repeat(env, counts), horizon, lag)


def find_extent(
    ring: TrajectoryRing, start: Ints, env: Ints, horizon: int, lag: int, oldest: int, n_slots: int
) -> tuple[Ints, Ints]:
    """
    How many valid starts of the same trajectory lie before and after each of these, by binary search: a trajectory's valid
    starts lie in one piece.

    :param start: ``(G,)`` slots of valid starts.
    :param env: ``(G,)`` their environments.
    :return: Two arrays ``(G,)``.
    """
    size, n = len(ring.episode), len(start)
    direction: Ints = np.repeat(np.array([-1, 1]), n)
    start, env = np.tile(start, 2), np.tile(env, 2)
    episode, step = ring.episode[start, env], ring.step[start, env]
    low = np.zeros(2 * n, dtype=np.int64)  # certainly belongs
    high = np.where(direction < 0, np.minimum(step, size - 1), size - 1)  # the farthest that might
    while (low < high).any():
        middle = (low + high + 1) // 2
        slot = (start + direction * middle) % size
        belongs = (ring.episode[slot, env] == episode) & (ring.step[slot, env] == step + direction * middle)
        belongs &= ((slot - oldest) % size < n_slots) & ring.is_start(slot, env, horizon, lag)
        low, high = np.where(belongs, middle, low), np.where(belongs, high, middle - 1)
    return low[:n], low[n:]


def _share_out(episode: Ints, length: Ints, batch_size: int, per_trajectory: int) -> Ints:
    """
    :param episode: ``(G,)`` the trajectory that each group was drawn from.
    :param length: ``(G,)`` its valid starts.
    :return: ``(G,)`` windows to take of it in all its groups, noted at the first of them.
    """
    counts = np.zeros(len(episode), dtype=np.int64)
    first_group: dict[int, int] = {}
    missing = batch_size
    for group, trajectory in enumerate(episode.tolist()):
        first = first_group.setdefault(trajectory, group)
        taken = min(per_trajectory, int(length[first] - counts[first]), missing)
        counts[first] += taken
        missing -= taken
    return counts


def draw_subsets(sizes: Ints, counts: Ints, generator: torch.Generator) -> Ints:
    """
    For each row draw ``counts`` distinct numbers out of ``range(sizes)``, uniformly, without listing the range (Bentley and
    Floyd, "A sample of brilliance", 1987).

    :param sizes: ``(G,)``.
    :param counts: ``(G,)``, at most ``sizes``.
    :return: ``(counts.sum(),)`` int64, row after row. Within a row their order is not random.
    """
    n_columns = int(counts.max())
    randoms = torch.randint(1 << 62, (n_columns, len(sizes)), generator=generator, device="cpu").numpy()
    numbers = np.full((len(sizes), n_columns), -1, dtype=np.int64)
    for column in range(n_columns):
        largest = np.maximum(sizes - counts + column, 0)
        number = randoms[column] % (largest + 1)  # the remainder's bias is below sizes / 2^62
        taken = (numbers[:, :column] == number[:, None]).any(axis=1)
        numbers[:, column] = np.where(taken, largest, number)
    return numbers[np.arange(n_columns) < counts[:, None]]
