"""Cloze batches: windows, masks, sizes, order, resumption, and the thread that builds them."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import lightning
import numpy as np
import pytest
import torch

from b4r_fast import InputError
from b4r_fast.data import ClozeBatch, ClozeBatches
from b4r_fast.data.batches import cut_windows

from .histories import sequences_of


def histories(users: int, longest: int, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(1, 100, n).tolist() for n in draw.integers(1, longest + 1, users)]


def batches(users: int = 100, longest: int = 30, **options) -> ClozeBatches:
    settings = {
        "max_length": 12,
        "batch_size": 16,
        "mask_prob": 0.3,
        "last_only": 0.2,
        "seed": 7,
    } | options
    return ClozeBatches(sequences_of(*histories(users, longest)), **settings)


def revealed(batch: ClozeBatch) -> list[list[int]]:
    """The windows of a batch as they were before masking."""
    values = torch.where(batch.labels == -100, batch.inputs.values, batch.labels)
    return [part.tolist() for part in torch.split(values, batch.inputs.lengths.tolist())]


def contents(batch: ClozeBatch) -> tuple:
    return (
        batch.inputs.values.tolist(),
        batch.inputs.cu_seqlens.tolist(),
        batch.labels.tolist(),
        int(batch.seed),
    )


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [
        (0, 3, []),  # nothing, no window
        (1, 3, [(0, 1)]),
        (5, 3, [(0, 5)]),  # just fits
        (6, 3, [(1, 6), (0, 5)]),  # the oldest starts at the first item, so it overlaps more
        (11, 3, [(6, 11), (3, 8), (0, 5)]),
        (11, 5, [(6, 11), (1, 6), (0, 5)]),
        # A stride longer than the history leaves the newest and the oldest.
        (11, 99, [(6, 11), (0, 5)]),
    ],
)
def test_windows_run_from_the_newest_item_back_and_reach_the_oldest(length, stride, expected):
    windows = cut_windows(sequences_of(list(range(1, length + 1))), 5, stride)
    assert list(zip(windows.starts.tolist(), windows.ends.tolist())) == expected


def test_windows_are_those_of_the_authors_code():
    # gen_data_fin.py: begin at range(n - N, 0, -step), then at 0.
    for n in range(1, 60):
        for step in (1, 4, 7):
            begins = [0] if n <= 10 else [*range(n - 10, 0, -step), 0]
            assert cut_windows(sequences_of([1] * n), 10, step).starts.tolist() == begins


@pytest.mark.parametrize(
    "sizes",
    [
        {"batch_size": 16},
        {"batch_size": None, "max_tokens": 80},
        {"batch_size": 9, "max_tokens": 60},
    ],
)
def test_an_epoch_has_every_window_once_within_the_limits(sizes):
    made = batches(**sizes)
    expected = Counter(tuple(window) for window in made.windows.pack().to_lists())
    for epoch in range(5):
        parts = [revealed(batch) for batch in made]
        assert len(parts) == len(made)  # the same in every epoch
        assert Counter(tuple(window) for part in parts for window in part) == expected
        for part in parts:
            assert 0 < len(part) <= (sizes["batch_size"] or 10**9)
            assert sum(map(len, part)) <= sizes.get("max_tokens", 10**9)
        assert made.state_dict() == {"epoch": epoch + 1, "step": 0}


@pytest.mark.parametrize("users", [1, 2, 3, 17])
@pytest.mark.parametrize("max_tokens", [36, 37, 50, 10**6])
def test_few_windows_leave_no_batch_empty(users, max_tokens):
    made = batches(users, batch_size=None, max_tokens=max_tokens)
    for epoch in range(8):
        sizes = [len(made.batch(epoch, step).inputs) for step in range(len(made))]
        assert min(sizes) > 0
        assert sum(sizes) == len(made.windows)


def test_batches_by_number_are_as_even_as_can_be():
    made = batches(max_length=40)  # no windows: 100 sequences in batches of 16 at most
    assert sorted(len(batch.inputs) for batch in made) == [14] * 5 + [15] * 2


def test_a_token_budget_is_used_well():
    made = batches(3000, 12, batch_size=None, max_tokens=1000)
    tokens = [batch.inputs.values.numel() for batch in made]
    assert min(tokens) > 900


def test_sequences_of_a_batch_are_alike_in_length_and_batches_come_in_no_order_of_length():
    made = batches(4000, 12)
    means = [float(batch.inputs.lengths.float().mean()) for batch in made]
    spread = np.mean([float(batch.inputs.lengths.float().std()) for batch in made])
    assert spread < 0.5  # of lengths 1 to 12, whose own is 3.5
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_every_sequence_has_a_mask_and_masks_are_new_every_epoch():
    made = batches(mask_prob=0.15, last_only=0.3, batch_size=200, longest=12)
    (first,), (second,) = list(made), list(made)
    for batch in (first, second):
        hidden = torch.tensor(
            [
                bool((part != -100).any())
                for part in torch.split(batch.labels, batch.inputs.lengths.tolist())
            ]
        )
        assert hidden.all()
        assert torch.equal(batch.labels != -100, batch.inputs.values == made.mask_id)
    masks = [
        {tuple(w): m for w, m in zip(revealed(b), (b.labels == -100).tolist())}
        for b in (first, second)
    ]
    assert masks[0] != masks[1]
    assert revealed(first) != revealed(second)  # the order is new too


def test_last_only_samples_hide_the_last_item_alone():
    made = batches(mask_prob=0.3, last_only=1.0)
    for batch in made:
        last = batch.inputs.cu_seqlens[1:].long() - 1
        assert torch.equal(torch.nonzero(batch.labels != -100).flatten(), last)


def test_the_share_of_last_only_samples_is_the_one_asked_for():
    # At a mask probability of 1 all of a sequence is hidden, unless it is a last-item-only sample.
    made = ClozeBatches(
        sequences_of(*[[1, 2, 3]] * 4000),
        max_length=3,
        batch_size=4000,
        mask_prob=1.0,
        last_only=0.2,
        seed=1,
    )
    hidden = (made.batch(0, 0).labels != -100).view(-1, 3).sum(1)
    assert set(hidden.tolist()) == {1, 3}
    assert 0.17 < float((hidden == 1).float().mean()) < 0.23


def test_a_batch_follows_from_seed_epoch_and_step_alone():
    made = batches()
    whole = [contents(batch) for batch in made]
    fresh = batches()
    fresh.batch(3, 1)  # what was asked for before does not matter
    assert [contents(fresh.batch(0, step)) for step in reversed(range(len(fresh)))] == whole[::-1]
    assert [contents(batch) for batch in batches(prefetch=1)] == whole
    assert contents(batches(seed=8).batch(0, 0)) != whole[0]
    seeds = {int(batch.seed) for batch in made} | {seed for *_, seed in whole}
    assert len(seeds) == 2 * len(made)  # dropout is new each step


def test_iterating_goes_on_where_the_state_says():
    whole = batches()
    expected = [[contents(batch) for batch in whole] for _ in range(2)]
    for stop in (1, 3, len(whole) - 1):
        first = batches()
        for step, _ in enumerate(first, 1):
            if step == stop:
                break
        # What the consumer got, not what was built ahead.
        assert first.state_dict() == {"epoch": 0, "step": stop}
        second = batches()
        second.load_state_dict(first.state_dict())
        assert len(second) == len(whole)
        assert [contents(batch) for batch in second] == expected[0][stop:]
        assert [contents(batch) for batch in second] == expected[1]


def test_set_epoch_keeps_the_step_of_the_epoch_under_way():
    made = batches()
    made.load_state_dict({"epoch": 2, "step": 3})
    made.set_epoch(2)
    assert made.state_dict() == {"epoch": 2, "step": 3}
    made.set_epoch(5)
    assert made.state_dict() == {"epoch": 5, "step": 0}


def test_a_state_of_other_data_is_refused():
    made = batches()
    with pytest.raises(
        InputError,
        match=(
            rf"stops at step {len(made)} of an epoch, which here has {len(made)}: it is of other"
            r" data"
        ),
    ):
        made.load_state_dict({"epoch": 0, "step": len(made)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": None}, "one of batch_size and max_tokens must be given"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"window_stride": 0}, "window_stride must be at least 1, got 0"),
        ({"max_tokens": 35}, "max_tokens must be at least 3 times max_length, 36, got 35"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_sizes_that_make_no_batch_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="there is no sequence to train on"):
        ClozeBatches(sequences_of([], []), max_length=5, mask_prob=0.2)


def running() -> list[str]:
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith("cloze-batches")
    ]


def test_no_thread_is_left_when_the_consumer_stops_early_or_fails():
    iterator = iter(batches())
    next(iterator)
    assert running()
    iterator.close()
    assert not running()

    def fail():
        for _ in batches():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not running()
    assert len(list(batches())) > 0
    assert not running()


def test_the_thread_computes_alone_and_leaves_every_other_thread_its_number(monkeypatch):
    """Two OpenMP teams on two cores once made training half as fast with two threads as
    with one.
    """
    before, build, seen = torch.get_num_threads(), ClozeBatches.batch, []

    def watched(self, epoch, step):
        seen.append(torch.get_num_threads())
        return build(self, epoch, step)

    monkeypatch.setattr(ClozeBatches, "batch", watched)
    torch.set_num_threads(3)
    try:
        for _ in batches():
            assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_asked_for(monkeypatch):
    made, build = batches(), ClozeBatches.batch

    def failing(self, epoch, step):
        if step == 3:
            raise OSError("the disk is gone")
        return build(self, epoch, step)

    monkeypatch.setattr(ClozeBatches, "batch", failing)
    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(contents(batch) for batch in made)
    assert made.state_dict() == {"epoch": 0, "step": 3}
    assert not running()


def test_only_so_many_batches_are_built_ahead(monkeypatch):
    made, build, steps = batches(prefetch=2), ClozeBatches.batch, []

    def counting(self, epoch, step):
        steps.append(step)
        return build(self, epoch, step)

    monkeypatch.setattr(ClozeBatches, "batch", counting)
    iterator = iter(made)
    next(iterator)
    deadline = time.monotonic() + 5
    while len(steps) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert steps == [0, 1, 2]  # the one handed over and two more
    iterator.close()


class Recorder(lightning.LightningModule):
    """Notes what Lightning hands to a training step."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.weight, self.seen, self.stop_after = torch.nn.Parameter(torch.zeros(1)), [], stop_after

    def training_step(self, batch, _):
        self.seen.append(contents(batch))
        return self.weight.sum()

    def on_train_batch_end(self, *_):
        if len(self.seen) == self.stop_after:
            self.trainer.save_checkpoint(self.trainer.default_root_dir + "/here.ckpt")
            self.trainer.should_stop = True

    def transfer_batch_to_device(self, batch, *_):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, stop_after=None, resume=None, **options) -> list:
    module = Recorder(stop_after)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    trainer.fit(module, batches(**options), ckpt_path=resume, weights_only=True)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [{"batch_size": 40}, {"batch_size": None, "max_tokens": 400}],
    ids=["by number", "by tokens"],
)
def test_lightning_resumes_with_the_next_batch_wherever_it_stopped(tmp_path, options):
    whole = fit(tmp_path, **options)
    steps = len(batches(**options))
    assert len(whole) == 3 * steps
    assert len(set(map(str, whole))) == len(whole)
    for stop in (1, steps - 1, steps, steps + 1, 2 * steps):  # inside an epoch, and at its end
        before = fit(tmp_path, stop_after=stop, **options)[:stop]
        assert before + fit(tmp_path, resume=tmp_path / "here.ckpt", **options) == whole
