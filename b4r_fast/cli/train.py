"""b4r-fast train"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from signal import SIGINT
from typing import Annotated, Any

import typer
from rich.console import Console

from ..data import DATASETS, PreparedData, leave_one_out, prepare_dataset
from ..data.datasets import cache_folder
from ..errors import InputError
from ..training import AUTO, PRESETS, RunFile, TrainSettings, auto_settings
from ..training.auto import BY_THE_DATA
from ..training.settings import BEST, CHECKPOINT_EVERY, NEIGHBOURS, shape_of
from . import print_error
from .terminal import loading, working
from .verbatim import say

MODEL, TASK, OPTIMISER, RUNNING = "Model", "Cloze task and batches", "Optimiser", "Run"
VARIANT = "Variants of the model"
RANDOM = "random"  # of init_items
NONE_AT_0 = ("patience", "max_minutes", "validation_users", "shortest_window")
STRIDED, DRAWN = "With --windows strided", "With --windows drawn"
OF_WINDOWS = {
    "strided": ("last_only", "window_stride", "max_tokens"),
    "drawn": (
        "mask_prob_to",
        "random_ends",
        "shortest_window",
        "grow_epochs",
        "last_items",
        "last_item_weight",
        "last_items_from",
    ),
}


def option(field: str, panel: str, text: str, *names: str) -> Any:
    """An option that overrides a field of the preset; its help shows what the preset auto has."""
    value = getattr(BEST, field)
    shown = "none" if value is None else value
    return typer.Option(
        *names,
        help=text,
        show_default=f"{AUTO}: {'by the data' if field in BY_THE_DATA else shown}",
        rich_help_panel=panel,
    )


def data_folder(data: str) -> Path:
    """The prepared folder: the one that is named, or that of a known data set, prepared into the
    cache at first use.
    """
    if data not in DATASETS or Path(data).exists():
        return Path(data)
    folder = cache_folder() / data / "prepared"
    if PreparedData.read_statistics(folder) is None:
        with working(f"preparing {data}") as progress:
            prepare_dataset(data, folder, progress=progress)
    return folder


def of_preset(preset: str, folder: Path, given: dict[str, Any]) -> TrainSettings:
    if preset != AUTO:
        return PRESETS[preset]
    train = leave_one_out(PreparedData.open(folder).sequences).train
    settled = {name: given[name] for name in ("max_length", "epochs", "loss") if name in given}
    return auto_settings(train, **settled)


def starting_from(given: dict[str, Any]) -> dict[str, Any]:
    """What is given, with the shape of the model that --init-from names."""
    if "init_from" not in given:
        return given
    if "init_items" in given:
        raise InputError("--init-from takes the items too; leave out --init-items")
    if given.get("init_values", RANDOM) != RANDOM:
        raise InputError("--init-from takes all weights; leave out --init-values")
    run = Path(given["init_from"]).resolve()
    RunFile.read(run)
    return (
        shape_of(run)
        | {"init_items": RANDOM, "init_values": RANDOM}
        | given
        | {"init_from": str(run)}
    )


def with_windows(preset: TrainSettings, given: dict[str, Any]) -> TrainSettings:
    """The preset with what is given; where that has other windows, without what is of the preset's.
    Raises InputError for an option of the windows that are not trained on.
    """
    windows = given.get("windows", preset.windows)
    defaults: dict[str, Any] = {field.name: field.default for field in fields(TrainSettings)}
    without: dict[str, Any] = {}
    for kind, names in OF_WINDOWS.items():
        if kind == windows:
            continue
        if unused := [name for name in names if given.get(name) is not None]:
            raise InputError(f"`{unused[0]}` is for `windows` {kind}; these are {windows}")
        without |= {name: defaults[name] for name in names}
    if "max_tokens" in given:  # instead of the preset's
        without["batch_size"] = None
    return replace(preset, **without | given)


def train(
    data: Annotated[
        str,
        typer.Argument(
            help=f"A prepared folder, or a known data set: {', '.join(DATASETS)}.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The run folder to write.", show_default=False)
    ],
    preset: Annotated[
        str,
        typer.Option(
            help=f"Where all settings start: {', '.join(PRESETS)}; or {AUTO}, by the size of the"
            " data.",
            rich_help_panel=RUNNING,
        ),
    ] = AUTO,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue at the last checkpoint, bit for bit; with --epochs or --max-minutes, for"
            " more of them.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run that is there.", rich_help_panel=RUNNING),
    ] = False,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            min=1,
            help="Steps between checkpoints; every epoch ends with one too.",
            rich_help_panel=RUNNING,
        ),
    ] = CHECKPOINT_EVERY,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads.", show_default="all cores", rich_help_panel=RUNNING),
    ] = None,
    seed: Annotated[
        int | None, option("seed", RUNNING, "Of weights, order, masks and dropout.")
    ] = None,
    epochs: Annotated[int | None, option("epochs", RUNNING, "At most.")] = None,
    max_minutes: Annotated[
        float | None,
        option(
            "max_minutes",
            RUNNING,
            "At most, validation included; the learning rate reaches 0 at the end of them; 0: no"
            " limit.",
        ),
    ] = None,
    eval_every: Annotated[
        int | None, option("eval_every", RUNNING, "Epochs from one validation to the next.")
    ] = None,
    validation_users: Annotated[
        int | None,
        option("validation_users", RUNNING, "Users that are ranked at validation; 0: all."),
    ] = None,
    patience: Annotated[
        int | None,
        option(
            "patience",
            RUNNING,
            "Stop after so many validations without a better NDCG@10; 0: never.",
        ),
    ] = None,
    exclude_seen: Annotated[
        bool | None,
        option(
            "exclude_seen",
            RUNNING,
            "Leave items of the history out where validation items are ranked, as evaluate and"
            " recommend do.",
            "--exclude-seen/--include-seen",
        ),
    ] = None,
    max_length: Annotated[
        int | None, option("max_length", MODEL, "Items of a sequence (the paper's N).")
    ] = None,
    hidden_size: Annotated[
        int | None, option("hidden_size", MODEL, "Width (the paper's d).")
    ] = None,
    num_layers: Annotated[int | None, option("num_layers", MODEL, "Transformer layers.")] = None,
    num_heads: Annotated[int | None, option("num_heads", MODEL, "Attention heads.")] = None,
    intermediate_size: Annotated[
        int | None,
        option("intermediate_size", MODEL, "Width of the feed-forward network; none: 4 d."),
    ] = None,
    hidden_dropout: Annotated[
        float | None, option("hidden_dropout", MODEL, "Dropout of embeddings and sublayers.")
    ] = None,
    attention_dropout: Annotated[
        float | None, option("attention_dropout", MODEL, "Dropout of attention probabilities.")
    ] = None,
    activation_dropout: Annotated[
        float | None,
        option("activation_dropout", VARIANT, "Dropout inside the feed-forward network."),
    ] = None,
    output_dropout: Annotated[
        float | None, option("output_dropout", VARIANT, "Dropout behind each layer.")
    ] = None,
    loss: Annotated[
        str | None, option("loss", MODEL, "full, or sampled for large catalogues.")
    ] = None,
    num_negatives: Annotated[
        int | None, option("num_negatives", MODEL, "Negatives of a batch, with --loss sampled.")
    ] = None,
    sampler: Annotated[
        str | None,
        option("sampler", MODEL, "uniform, log_uniform or popularity, with --loss sampled."),
    ] = None,
    logq_correction: Annotated[
        bool | None,
        option(
            "logq_correction",
            MODEL,
            "Correct the logits of negatives for how often each is drawn, with --loss sampled.",
        ),
    ] = None,
    sparse_gradients: Annotated[
        bool | None,
        option(
            "sparse_gradients",
            MODEL,
            "Update only the items that a step names: for millions of items, with --loss sampled.",
        ),
    ] = None,
    norm: Annotated[
        str | None,
        option("norm", VARIANT, "post: of what leaves a sublayer, as the paper; pre: what enters."),
    ] = None,
    final_norm: Annotated[
        bool | None, option("final_norm", VARIANT, "A norm behind the last layer.")
    ] = None,
    embedding_norm: Annotated[
        bool | None, option("embedding_norm", VARIANT, "A norm behind the embeddings.")
    ] = None,
    projection_head: Annotated[
        bool | None,
        option("projection_head", VARIANT, "Linear, GELU and norm before the item table."),
    ] = None,
    activation: Annotated[str | None, option("activation", VARIANT, "gelu or gelu_tanh.")] = None,
    layer_norm_eps: Annotated[
        float | None, option("layer_norm_eps", VARIANT, "What norms add to the variance.")
    ] = None,
    positions_from: Annotated[
        str | None,
        option("positions_from", VARIANT, "Count positions from the start or the end of a window."),
    ] = None,
    tie_embeddings: Annotated[
        bool | None,
        option("tie_embeddings", VARIANT, "One item table for what goes in and what comes out."),
    ] = None,
    output_bias: Annotated[
        bool | None, option("output_bias", VARIANT, "A bias for each item.")
    ] = None,
    init_items: Annotated[
        str | None,
        option(
            "init_items",
            MODEL,
            "Where items start: random; neighbours, knowing which of them stand near each other; a"
            " run folder; or a Parquet file with the columns item and vector, as of texts.",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        option(
            "init_from",
            MODEL,
            "A run folder, of train or of convert, with whose weights the model starts.",
        ),
    ] = None,
    init_values: Annotated[
        str | None,
        option(
            "init_values",
            MODEL,
            "The values of the first layer's attention: random; identity, so that the mask begins"
            " with the mean of the history.",
        ),
    ] = None,
    mask_prob: Annotated[
        float | None, option("mask_prob", TASK, "Share of hidden items (the paper's rho).")
    ] = None,
    mask_prob_to: Annotated[
        float | None,
        option("mask_prob_to", TASK, "Each batch draws its share between --mask-prob and this."),
    ] = None,
    windows: Annotated[
        str | None,
        option("windows", TASK, "strided: the same ones in every epoch; drawn: other ones."),
    ] = None,
    last_only: Annotated[
        float | None,
        option("last_only", STRIDED, "Share of samples that hide the last item alone."),
    ] = None,
    window_stride: Annotated[
        int | None,
        option(
            "window_stride",
            STRIDED,
            "Distance of windows over histories longer than --max-length.",
        ),
    ] = None,
    random_ends: Annotated[
        float | None,
        option("random_ends", DRAWN, "Share of windows that end anywhere in a history."),
    ] = None,
    shortest_window: Annotated[
        int | None,
        option(
            "shortest_window",
            DRAWN,
            "Windows have from so many items to --max-length; 0: all that there are.",
        ),
    ] = None,
    grow_epochs: Annotated[
        int | None,
        option(
            "grow_epochs", DRAWN, "Epochs over which full windows take the place of shorter ones."
        ),
    ] = None,
    last_items: Annotated[
        int | None,
        option(
            "last_items",
            DRAWN,
            "Samples of a batch that hide their last item alone, as at test time.",
        ),
    ] = None,
    last_item_weight: Annotated[
        float | None,
        option(
            "last_item_weight", DRAWN, "What they count in the loss; the other samples count 1."
        ),
    ] = None,
    last_items_from: Annotated[
        int | None, option("last_items_from", DRAWN, "Epochs before they begin.")
    ] = None,
    batch_size: Annotated[int | None, option("batch_size", TASK, "Sequences of a batch.")] = None,
    max_tokens: Annotated[
        int | None, option("max_tokens", TASK, "Tokens of a batch at most.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        option(
            "learning_rate",
            OPTIMISER,
            "Highest rate, after the warm-up.",
            "--learning-rate",
            "--lr",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None, option("weight_decay", OPTIMISER, "AdamW's; norms and biases have none.")
    ] = None,
    warmup_steps: Annotated[
        int | None, option("warmup_steps", OPTIMISER, "Steps of linear warm-up.")
    ] = None,
    schedule: Annotated[
        str | None,
        option(
            "schedule",
            OPTIMISER,
            "How the rate falls to 0: linear, cosine, or constant for two thirds of the run.",
        ),
    ] = None,
    ema: Annotated[
        float | None,
        option(
            "ema", OPTIMISER, "Decay of the running mean of the weights, which is kept; 0: none."
        ),
    ] = None,
    clip: Annotated[
        float | None, option("clip", OPTIMISER, "Largest norm of the gradient; 0: no limit.")
    ] = None,
) -> None:
    """Train a BERT4Rec, and keep the model with the best validation NDCG@10 over all items.

    The run folder gets the best model, the last checkpoint, logs for CSV and TensorBoard, and a
    plot of the curves.

    Ctrl-C, SIGTERM and SIGHUP stop after the running step and keep a checkpoint; --resume continues
    from it.
    """
    arguments = locals()
    given = {
        field.name: arguments[field.name]
        for field in fields(TrainSettings)
        if arguments[field.name] is not None
    }
    if preset not in (AUTO, *PRESETS):
        known = ", ".join((AUTO, *PRESETS))
        raise InputError(f"--preset must be one of {known}, got {preset!r}")
    if resume:
        longer = {name: given.pop(name, None) for name in ("epochs", "max_minutes")}
        if given or preset != AUTO or overwrite or threads:
            names = [*given] or [
                name for name in ("overwrite", "threads", "preset") if arguments[name]
            ]
            raise InputError(
                f"--resume takes all settings but --epochs and --max-minutes from"
                f" {out / RunFile.NAME}; leave out --{names[0].replace('_', '-')}"
            )
    else:
        given |= {name: None for name in NONE_AT_0 if given.get(name) == 0}
        given = starting_from(given)
        if given.get("init_items") == RANDOM:
            given["init_items"] = None
        elif given.get("init_items", NEIGHBOURS) != NEIGHBOURS:
            given["init_items"] = str(Path(given["init_items"]).resolve())
        with_windows(PRESETS.get(preset, BEST), given)  # before data is fetched
    folder = data_folder(data).resolve()
    if not resume:
        settings = with_windows(of_preset(preset, folder, given), given)
    with loading("PyTorch and Lightning"):
        import torch

        from ..training.train import Diverged, Interrupted
        from ..training.train import train as run_training
    console = Console(stderr=True)
    try:
        best = run_training(
            out,
            None
            if resume
            else RunFile(str(folder), preset, threads or torch.get_num_threads(), settings),
            data=folder if resume else None,
            **(longer if resume else {}),
            overwrite=overwrite,
            checkpoint_every=checkpoint_every,
            console=console,
        )
    except KeyboardInterrupt:
        say(
            console,
            f"stopped at once; `b4r-fast train {quote(data)} --out {quote(str(out))} --resume` goes"
            " on at the last checkpoint",
        )
        raise typer.Exit(128 + SIGINT) from None
    except Diverged as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    except Interrupted as interrupted:
        model = (
            "best of the epochs so far"
            if interrupted.validated
            else "last step's, no epoch being validated yet"
        )
        with suppress(OSError):  # the terminal may be what has gone
            say(
                console,
                f"stopped, nothing is lost: `b4r-fast train {quote(data)} --out {quote(str(out))}"
                f" --resume` continues;"
                f" until then the model in {out} is the {model}",
            )
        raise typer.Exit(128 + interrupted.number) from None
    say(
        console,
        f"best validation NDCG@10 {best:.4f}; the model and curves.png are in {out}; `b4r-fast"
        f" evaluate {quote(str(out))}` tests it",
    )
