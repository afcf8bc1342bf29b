"""What a training run is made of, and the presets: one table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from ..errors import InputError
from ..model import BERT4RecConfig


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Every number of a run. Defaults: today's practice; the paper's stand in PRESETS.

    max_length: items of a sequence; window_stride: distance of the windows over longer histories,
    None is half of max_length. mask_prob: share of hidden items (the paper's rho); last_only: share
    of samples that hide the last item alone. epochs: at most. sparse_gradients, with loss
    "sampled": the item table's rows that a step does not name keep their weights and moments
    (RowwiseAdamW). patience: epochs without a better validation NDCG@10 before training stops, None
    never stops early. weight_decay: AdamW's, not on norms and biases. warmup_steps: of linear
    warm-up, after which the rate falls linearly to 0 at the last step. clip: of the gradient norm.
    """

    max_length: int = 50
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    hidden_dropout: float = 0.4
    attention_dropout: float = 0.3
    loss: str = "full"
    num_negatives: int = 1024
    sampler: str = "uniform"
    sparse_gradients: bool = False
    mask_prob: float = 0.2
    last_only: float = 0.5
    window_stride: int | None = 10
    batch_size: int = 64
    max_tokens: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    clip: float = 5.0
    epochs: int = 40
    patience: int | None = 10
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {
            "epochs": 1,
            "batch_size": 1,
            "warmup_steps": 0,
            "learning_rate": 0.0,
            "weight_decay": 0.0,
            "clip": 0.0,
            "patience": 1,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise InputError(f"`{name}` must be a number of at least {least}, got {value}")
        for name in ("mask_prob", "last_only"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}")

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
            raise InputError(str(error)) from None


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
PRESETS = {
    "fast": TrainSettings(),
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

    data: the prepared folder, absolute. threads: of the CPU; torch's own products give other bits
    for another number. fingerprint: of the data (data/fingerprint.py), which `train` fills in; None
    in a run of a version that kept none.
    """

    data: str
    preset: str
    threads: int
    settings: TrainSettings
    fingerprint: dict[str, str] | None = None

    NAME = "run.json"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, run: Path) -> RunFile:
        """Raises InputError where the folder is not a training run."""
        try:
            content = json.loads((run / cls.NAME).read_text())
            return cls(**content | {"settings": TrainSettings(**content["settings"])})
        except FileNotFoundError:
            raise InputError(
                f"{run}: not a training run (no {cls.NAME}); `train` makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{run / cls.NAME}: not readable as a run's settings: {error}"
            ) from None
