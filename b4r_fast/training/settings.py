"""What a training run is made of, and the presets: one table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ..data.fingerprint import PARTS
from ..errors import InputError
from ..model import BERT4RecConfig
from ..model.config import CONFIG

SIZES, SEEDS = 2**31, 2**64  # kernels count in 32 bits; a generator is seeded with 64
CHECKPOINT_EVERY = 200  # steps
THREADS = 1024  # with many more OpenMP dies of the system's limits
NEIGHBOURS = "neighbours"  # of init_items
CHOICES: dict[str, tuple] = {
    "init_values": ("random", "identity"),
    "windows": ("strided", "drawn"),
    "schedule": ("linear", "cosine", "constant"),
}
KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "None": type(None),
}


# What two models must have in common to have the same weights and to mean the same by them.
SHAPE = (
    "max_length",
    "hidden_size",
    "num_layers",
    "num_heads",
    "intermediate_size",
    "activation",
    "norm",
    "final_norm",
    "embedding_norm",
    "projection_head",
    "tie_embeddings",
    "output_bias",
    "positions_from",
    "layer_norm_eps",
)
OF_ITEMS = ("item_embedding.weight", "output_embedding.weight", "output_bias", "item_counts")


def check_types(values: Any) -> None:
    """Of a dataclass that JSON may have filled. Raises InputError that names a field of another
    type than it is declared with.
    """
    for field in fields(values):
        value, declared = getattr(values, field.name), str(field.type).split(" | ")
        if not any(_is(value, kind) for kind in declared):
            raise InputError(f"`{field.name}` must be {' or '.join(declared)}, got {value!r}")


def _is(value: object, kind: str) -> bool:
    if kind == "dict[str, str]":
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    if isinstance(value, bool) and kind != "bool":
        return False  # to Python it is an int
    return isinstance(value, KINDS.get(kind, TrainSettings))


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Every number of a run. Defaults: today's practice; the paper's stand in PRESETS. What is no
    matter of practice is as BERT4RecConfig has it.

    max_length: items of a sequence. windows: "strided", the same ones in every epoch (ClozeBatches)
    window_stride apart, None being half of max_length, of which the share last_only hides the last
    item alone; or "drawn", other ones in every epoch (DrawnBatches), with random_ends to
    last_items_from as there. mask_prob: share of hidden items (the paper's rho), with mask_prob_to
    the least of it. init_items: where the rows of the item table start (init_items.py), None at
    random: "neighbours", knowing which items stand near each other (item_vectors.py), a run's
    folder, or a Parquet file of vectors. init_from: a run's folder, all of whose weights the model
    starts with (init_model.py). init_values: "identity", an attention that begins by handing on
    what it reads (init_values.py). sparse_gradients, with loss "sampled": the item table's rows
    that a step does not name keep their weights and moments (RowwiseAdamW).

    epochs, max_minutes: at most, the time of validation included; the first that is reached ends
    the run, and the schedule with it. schedule: of the rate, behind warmup_steps of linear warm-up:
    "linear" falls to 0 at the end of the run, "cosine" along a cosine, "constant" from two thirds
    of the run on. ema: decay of the running mean of all weights, which then is what is validated
    and kept; 0: none. weight_decay: AdamW's, not on norms and biases. clip: of the gradient norm.

    eval_every: epochs from a validation to the next. validation_users: how many of them are ranked,
    None is all. patience: validations without a better NDCG@10 before training stops, None never
    stops early. exclude_seen: of the ranking of the validation items, as in rank_held_out; None in
    a run of a version that had no choice.
    """

    max_length: int = 50
    hidden_size: int = BERT4RecConfig.hidden_size
    num_layers: int = BERT4RecConfig.num_layers
    num_heads: int = BERT4RecConfig.num_heads
    intermediate_size: int | None = BERT4RecConfig.intermediate_size
    activation: str = BERT4RecConfig.activation
    layer_norm_eps: float = BERT4RecConfig.layer_norm_eps
    norm: str = BERT4RecConfig.norm
    final_norm: bool = BERT4RecConfig.final_norm
    embedding_norm: bool = BERT4RecConfig.embedding_norm
    projection_head: bool = BERT4RecConfig.projection_head
    positions_from: str = BERT4RecConfig.positions_from
    tie_embeddings: bool = BERT4RecConfig.tie_embeddings
    output_bias: bool = BERT4RecConfig.output_bias
    hidden_dropout: float = 0.4
    attention_dropout: float = 0.3
    activation_dropout: float = BERT4RecConfig.activation_dropout
    output_dropout: float = BERT4RecConfig.output_dropout
    loss: str = BERT4RecConfig.loss
    num_negatives: int = BERT4RecConfig.num_negatives
    sampler: str = BERT4RecConfig.sampler
    logq_correction: bool = BERT4RecConfig.logq_correction
    sparse_gradients: bool = BERT4RecConfig.sparse_gradients
    init_items: str | None = None
    init_from: str | None = None
    init_values: str = "random"
    mask_prob: float = 0.2
    mask_prob_to: float | None = None
    windows: str = "strided"
    last_only: float = 0.5
    window_stride: int | None = 10
    random_ends: float = 0.5
    shortest_window: int | None = None
    grow_epochs: int = 0
    last_items: int = 0
    last_item_weight: float = 1.0
    last_items_from: int = 0
    batch_size: int | None = 64
    max_tokens: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    schedule: str = "linear"
    ema: float = 0.0
    clip: float = 5.0
    epochs: int = 40
    max_minutes: float | None = None
    eval_every: int = 1
    validation_users: int | None = None
    patience: int | None = 10
    exclude_seen: bool | None = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        at_least = {
            "epochs": 1,
            "batch_size": 1,
            "warmup_steps": 0,
            "learning_rate": 0.0,
            "weight_decay": 0.0,
            "clip": 0.0,
            "patience": 1,
            "eval_every": 1,
            "validation_users": 1,
            "shortest_window": 1,
            "grow_epochs": 0,
            "last_items": 0,
            "last_item_weight": 0.0,
            "last_items_from": 0,
            "max_minutes": 0.0,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise InputError(f"`{name}` must be a number of at least {least}, got {value}")
        for field in fields(self):
            value = getattr(self, field.name)
            limit = SEEDS if field.name == "seed" else SIZES
            if isinstance(value, int) and not value < limit:
                raise InputError(f"`{field.name}` must be below {limit}, got {value}")
        if self.seed < 0:
            raise InputError(f"`seed` must be at least 0, got {self.seed}")
        for name in ("mask_prob", "mask_prob_to", "last_only", "random_ends"):
            if not 0.0 <= (getattr(self, name) or 0.0) <= 1.0:
                raise InputError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.ema < 1.0:
            raise InputError(f"`ema` must lie in [0, 1), got {self.ema}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"`{name}` must be {' or '.join(map(str, choices))}, got {getattr(self, name)}"
                )
        self._check_windows()

    def _check_windows(self) -> None:
        """What is of one kind of windows is of no use with the other."""
        if self.windows == "drawn":
            if self.max_tokens is not None:
                raise InputError("`max_tokens` is for `windows` strided; give `batch_size`")
            if self.batch_size is None:
                raise InputError("`windows` drawn takes a `batch_size`")
        elif self.last_items or self.mask_prob_to is not None:
            name = "last_items" if self.last_items else "mask_prob_to"
            raise InputError(f"`{name}` is for `windows` drawn")

    def model_config(self, num_items: int) -> BERT4RecConfig:
        """Raises InputError for sizes that make no model."""
        shared = {field.name for field in fields(BERT4RecConfig)} & {
            field.name for field in fields(self)
        }
        try:
            return BERT4RecConfig(
                num_items=num_items, **{name: getattr(self, name) for name in shared}
            )
        except ValueError as error:
            field, _, rest = str(error).partition(" ")
            raise InputError(f"`{field}` {rest}") from None


# Sun et al. 2019, section 4.3, and the authors' scripts where the paper is silent: warm-up, steps,
# dropout, window strides. Adam with decoupled decay at 1e-4, batches of 256, heads of 32. The
# epochs bound the scripts' 400,000 steps (Steam: 800,000) at each data set's number of windows; d
# is 64, for Steam 256, as in the scripts.
PAPER = TrainSettings(
    learning_rate=1e-4,
    weight_decay=0.01,
    warmup_steps=100,
    clip=5.0,
    batch_size=256,
    hidden_dropout=0.2,
    attention_dropout=0.2,
    last_only=0.1,
    patience=None,
)
# What reached the published tables and passed them on two CPU cores: docs/accuracy.md.
BEST = TrainSettings(
    norm="pre",
    final_norm=True,
    embedding_norm=False,
    projection_head=False,
    positions_from="end",
    hidden_dropout=0.1,
    attention_dropout=0.1,
    init_items=NEIGHBOURS,
    windows="drawn",
    max_length=200,
    mask_prob=0.2,
    mask_prob_to=0.6,
    shortest_window=20,
    batch_size=16,
    grow_epochs=10,
    last_items=128,
    last_items_from=3,
    ema=0.998,
    warmup_steps=200,
    validation_users=10_000,
    patience=None,
)
PRESETS = {
    "fast": TrainSettings(),
    "best-ml-1m": replace(
        BEST,
        hidden_size=128,
        num_heads=4,
        epochs=1000,
        max_minutes=30.0,
        eval_every=5,
    ),
    # Few actions an item: what is learned of an item is learned of its neighbours in histories, so
    # short windows, whose last item is what counts most.
    "best-beauty": replace(
        BEST,
        hidden_size=128,
        num_heads=4,
        hidden_dropout=0.35,
        attention_dropout=0.35,
        init_values="identity",
        max_length=5,
        shortest_window=2,
        batch_size=128,
        grow_epochs=0,
        last_items=512,
        last_items_from=0,
        last_item_weight=4.0,
        epochs=1000,
        max_minutes=10.0,
    ),
    "paper-ml-1m": replace(PAPER, max_length=200, mask_prob=0.2, window_stride=100, epochs=9400),
    "paper-ml-20m": replace(
        PAPER,
        max_length=200,
        mask_prob=0.2,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        window_stride=100,
        epochs=480,
    ),
    "paper-beauty": replace(
        PAPER, max_length=50, mask_prob=0.6, hidden_dropout=0.5, window_stride=5, epochs=2500
    ),
    "paper-steam": replace(
        PAPER,
        max_length=50,
        hidden_size=256,
        num_heads=8,
        mask_prob=0.4,
        window_stride=25,
        epochs=720,
    ),
}


@dataclass(frozen=True)
class RunFile:
    """run.json: what a run folder was made from, so that it can be resumed, evaluated and served.

    data: the prepared folder, absolute; None of a model that was trained elsewhere and converted,
    of which preset says from what. threads: of the CPU; torch's own products give other bits
    for another number. fingerprint: of the data (data/fingerprint.py), which `train` fills in; None
    in a run of a version that kept none.
    """

    data: str | None
    preset: str
    threads: int
    settings: TrainSettings
    fingerprint: dict[str, str] | None = None

    NAME: ClassVar = "run.json"

    def __post_init__(self) -> None:
        check_types(self)
        if not 1 <= self.threads <= THREADS:
            raise InputError(f"`threads` must lie in [1, {THREADS}], got {self.threads}")
        if self.fingerprint is not None and set(self.fingerprint) != set(PARTS):
            raise InputError(f"`fingerprint` must be of {', '.join(PARTS)}")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, run: Path) -> RunFile:
        """Raises InputError where the folder is not a training run."""
        try:
            content = json.loads((run / cls.NAME).read_text())
            settings = {"exclude_seen": None} | content["settings"]
            return cls(**content | {"settings": TrainSettings(**settings)})
        except FileNotFoundError:
            raise InputError(
                f"{run}: not a training run (no {cls.NAME}); `train` makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{run / cls.NAME}: not readable as a run's settings: {error}"
            ) from None


def shape_of(run: str | Path) -> dict[str, Any]:
    """The settings of the run's model that one which starts with its weights must have."""
    config = BERT4RecConfig.from_json_file(Path(run) / CONFIG)
    return {name: getattr(config, name) for name in SHAPE}
