"""What prepared data says in the log's own ids, and the slow, plain definition of what
it must say.
"""

from collections import Counter

import numpy as np

from b4r_fast.data import PreparedData, Preprocessing, Sequences


def raw_histories(data: PreparedData) -> dict[str, list[str]]:
    """Each user's items, oldest first."""
    return {
        user: data.item_ids.to_raw(data.sequences[i]) for i, user in enumerate(data.user_ids.raw)
    }


def naive_histories(
    actions: list[tuple[str, str, float, float]], options: Preprocessing
) -> dict[str, list[str]]:
    """The same from (user, item, time, rating) in file order, in plain Python."""
    kept = [
        (*action, row)
        for row, action in enumerate(actions)
        if options.min_rating is None or action[3] >= options.min_rating
    ]
    if options.deduplicate:
        winners: dict[tuple, tuple] = {}
        for action in sorted(kept, key=lambda action: action[2]):
            if options.deduplicate == "last" or action[:2] not in winners:
                winners[action[:2]] = action
        kept = sorted(winners.values(), key=lambda action: action[4])
    while True:
        users, items = Counter(action[0] for action in kept), Counter(action[1] for action in kept)
        left = [
            a
            for a in kept
            if users[a[0]] >= options.min_user_actions and items[a[1]] >= options.min_item_actions
        ]
        if len(left) == len(kept):
            break
        kept = left
    histories: dict[str, list[tuple[float, str]]] = {}
    for user, item, time, *_ in kept:
        histories.setdefault(user, []).append((time, item))
    return {
        user: [item for _, item in sorted(history, key=lambda action: action[0])]
        for user, history in histories.items()
    }


def sequences_of(*histories: list[int], num_items: int = 100) -> Sequences:
    """Sequences in memory."""
    offsets = np.cumsum([0, *map(len, histories)])
    values = np.array([item for history in histories for item in history], np.int32)
    return Sequences(values, offsets[:-1], offsets[1:], num_items)
