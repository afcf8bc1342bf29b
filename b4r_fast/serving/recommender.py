"""Recommendations in raw ids from a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..data import PreparedData, Sequences
from ..data.fingerprint import PARTS
from ..errors import InputError
from ..model import BERT4Rec
from ..packed import PackedSequences
from ..training import RunFile
from ..training.origin import items_of, open_data, open_item_ids

USERS_AT_A_TIME = 256


@dataclass(frozen=True)
class Recommendation:
    """items: raw ids, best first, and their scores. skipped: raw ids of the history that the model
    does not know.
    """

    items: list[str]
    scores: list[float]
    skipped: list[str]


class Recommender:
    """The best model of a training run, with the map of its raw item ids.

    data: the prepared folder that users' histories come from, when not the one that run.json says;
    it may have other users, actions and items. Raises InputError where the folder is no run.
    """

    def __init__(self, run: str | Path, data: str | Path | None = None) -> None:
        self.run, self._data = Path(run), data
        self.file = RunFile.read(self.run)
        self.model = BERT4Rec.from_pretrained(self.run)
        if not all(torch.isfinite(weight).all() for weight in self.model.parameters()):
            raise self._not_finite("weights")
        self.item_ids = open_item_ids(self.run, self.file)
        if len(self.item_ids) != self.model.config.num_items:
            raise InputError(
                f"{self.run}: items.parquet has {len(self.item_ids)} items, the model"
                f" {self.model.config.num_items}"
            )

    def _in_reach(self, history: np.ndarray, allowed: np.ndarray | None) -> int:
        """How many items can be recommended. history: those that are left out; allowed: candidates,
        each once, or None for all.
        """
        seen = np.unique(history)
        if allowed is None:
            return self.model.config.num_items - len(seen)
        return len(allowed) - int(np.isin(seen, allowed).sum())

    def _not_finite(self, what: str) -> InputError:
        return InputError(
            f"{self.run}: its model has {what} that are not finite numbers: its training diverged;"
            " `train` anew with a lower `learning_rate`"
        )

    @cached_property
    def data(self) -> PreparedData:
        """Where histories come from. Raises InputError where other data lies where the run's own
        was.
        """
        return open_data(self.run, self.file, self._data, PARTS if self._data is None else ())

    def history_of(self, raw_user: str) -> list[str]:
        """All items of a user of the training data, oldest first. Raises InputError for an unknown
        user.
        """
        user = int(self.data.user_ids.to_internal([raw_user])[0])
        return self.data.item_ids.to_raw(self.data.sequences[user])

    @property
    def histories(self) -> Sequences:
        """Those of all users of the training data, in the model's numbers of items; items that it
        does not know are left out.
        """
        data = self.data
        numbers = items_of(self.run, self.file, data)
        return data.sequences if numbers is None else data.sequences.renumbered(numbers)

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
    ) -> Iterator[Recommendation]:
        """The k best next items for each history of raw ids, oldest first; the users need not be
        known.

        Items of a history that the model does not know are left out and reported. exclude_seen:
        recommend no item of the history, as in rank_held_out. candidates: recommend among these raw
        ids only. Raises InputError for an unknown candidate, or k below 1.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"`k` must be an integer of at least 1, got {k!r}")
        for history in histories if not isinstance(histories, str) else [histories]:
            _check_history(history)
        allowed = None if candidates is None else np.unique(self.item_ids.to_internal(candidates))
        if allowed is not None and not len(allowed):
            raise InputError("the list of candidates is empty")
        chosen = None if allowed is None else torch.from_numpy(allowed)
        k = min(k, self.model.config.num_items)
        for start in range(0, len(histories), USERS_AT_A_TIME):
            part = histories[start : start + USERS_AT_A_TIME]
            known = [self.item_ids.known(history) for history in part]
            internal = [self.item_ids.to_internal(history) for history in known]
            packed = PackedSequences.from_lists([history.tolist() for history in internal])
            ids, scores = self.model.recommend(packed, k, exclude_seen, chosen)
            for history, seen, left_out, row, row_scores in zip(part, known, internal, ids, scores):
                found = row > 0
                in_reach = self._in_reach(left_out if exclude_seen else left_out[:0], allowed)
                if found.sum() < min(k, in_reach) or not row_scores[found].isfinite().all():
                    raise self._not_finite("scores")
                skipped = sorted(set(map(str, history)) - set(map(str, seen)))
                yield Recommendation(
                    self.item_ids.to_raw(row[found].numpy()), row_scores[found].tolist(), skipped
                )


def _check_history(history: Sequence[str]) -> None:
    """A text is no list of its characters, and a list of lists no item."""
    listed = not isinstance(history, str | bytes) and isinstance(history, Iterable)
    if not listed or any(
        isinstance(item, bool) or not isinstance(item, str | int | np.integer) for item in history
    ):
        raise InputError(
            f"`histories` must be a list of raw item ids for each user, as [['i1', 'i2'], ['i7']];"
            f" one of them is {history!r}"
        )
