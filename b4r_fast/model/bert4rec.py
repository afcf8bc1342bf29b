"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that predicts the hidden items of a
sequence. It only composes the ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import ops
from ..ops.checks import check_range, check_seed, readable
from ..packed import IGNORED_LABEL, PADDING_ID, PackedSequences
from . import pretrained
from .config import BERT4RecConfig
from .fused import only_read
from .layer import SelectedTokens, TransformerLayer
from .seeds import StepSeeds

Histories = Sequence[Sequence[int]] | Tensor | PackedSequences


class BERT4RecOutput(NamedTuple):
    """loss: scalar, None without labels.

    hidden_states: (rows, hidden) after the projection head, of the labelled tokens; of all without
    labels.
    """

    loss: Tensor | None
    hidden_states: Tensor


class Recommendations(NamedTuple):
    """ids: (batch, k) int64 item ids, best first. scores: (batch, k). Where fewer than k items
    remain: id 0 and score -inf.
    """

    ids: Tensor
    scores: Tensor


class ProjectionHead(nn.Module):
    """LN(GELU(h W + b)), as the authors' code has it before the product with the item table."""

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__()
        self.approximate = config.approximate
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        dense, norm = self.dense, self.norm
        if not only_read(dense, norm):
            return norm(nn.functional.gelu(dense(x), approximate=self.approximate))
        return ops.linear_gelu_layer_norm(
            x,
            dense.weight,
            dense.bias,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            approximate=self.approximate,
        )


class ItemRows(torch.autograd.Function):
    """The rows of the input table that are items: all but padding's and [MASK]'s. A slice whose
    gradient may be sparse.
    """

    @staticmethod
    def forward(table):
        return table[1:-1]

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        if not gradient.is_sparse:
            return nn.functional.pad(gradient, (0, 0, 1, 1))
        rows, values = gradient._indices() + 1, gradient._values()
        size = (gradient.shape[0] + 2, gradient.shape[1])
        return torch.sparse_coo_tensor(
            rows, values, size, check_invariants=False, is_coalesced=gradient.is_coalesced()
        )


class Densely(torch.autograd.Function):
    """The tensor itself, whose gradient becomes a dense one."""

    @staticmethod
    def forward(tensor):
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient.to_dense()


def trains_in_many_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class BERT4Rec(nn.Module):
    """BERT4Rec over packed sequences; padded batches are packed once, at the door.

    Raises ValueError for ids out of range, sequences longer than max_length in training, and labels
    on padding.
    """

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden_size
        # The gradients are what the tables say: DistributedDataParallel asks them what to expect.
        self.item_embedding = nn.Embedding(config.num_items + 2, d, sparse=config.sparse_gradients)
        self.position_embedding = nn.Embedding(config.max_length, d)
        self.embedding_norm = (
            nn.LayerNorm(d, eps=config.layer_norm_eps) if config.embedding_norm else None
        )
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(d, eps=config.layer_norm_eps) if config.final_norm else None
        self.head = ProjectionHead(config) if config.projection_head else None
        self.output_embedding = (
            None
            if config.tie_embeddings
            else nn.Embedding(config.num_items, d, sparse=config.sparse_gradients)
        )
        self.output_bias = (
            nn.Parameter(torch.zeros(config.num_items)) if config.output_bias else None
        )
        self.item_counts: Tensor | None
        by_popularity = config.loss == "sampled" and config.sampler == "popularity"
        self.register_buffer(
            "item_counts",
            torch.ones(config.num_items, dtype=torch.int64) if by_popularity else None,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make all of the model's state anew, as the paper does (section 4.3).

        Weights are of a truncated normal of deviation initializer_range; biases, and padding's row
        of the item table, 0; norms 1. Each item's count for the "popularity" sampler is 1 again.
        """
        deviation = self.config.initializer_range
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(
                    module.weight, std=deviation, a=-2 * deviation, b=2 * deviation
                )
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        with torch.no_grad():
            self.item_embedding.weight[PADDING_ID] = 0
            if self.output_bias is not None:
                self.output_bias.zero_()
            if self.item_counts is not None:
                self.item_counts.fill_(1)

    @property
    def item_embeddings(self) -> Tensor:
        """(num_items, hidden): the output table; row r is item r + 1."""
        if self.output_embedding is not None:
            return self.output_embedding.weight
        return ItemRows.apply(self.item_embedding.weight)

    def set_item_counts(self, counts: Tensor) -> None:
        """Tell the "popularity" sampler how often each item occurs: counts (num_items,) int64,
        entry r is item r + 1.
        """
        if self.item_counts is None:
            raise ValueError(
                'item counts are used with loss="sampled" and sampler="popularity" only'
            )
        if counts.shape != self.item_counts.shape or counts.min() < 0 or counts.sum() == 0:
            raise ValueError(
                f"counts must be ({self.config.num_items},), not negative and not all 0, got"
                f" {tuple(counts.shape)}"
            )
        self.item_counts.copy_(counts)

    def forward(
        self,
        input_ids: Tensor | PackedSequences,
        labels: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        seed: Tensor | None = None,
        rows: int | None = None,
    ) -> BERT4RecOutput:
        """Compute hidden states, and with labels the loss, the mean over the labelled tokens.

        input_ids: (batch, length) int64 with 0 as padding on either side or inside, or
        PackedSequences. labels: of the same shape as the ids (packed: (tokens,)), the hidden item
        where the loss reads the token and -100 elsewhere. weights: of the same shape, floating, not
        negative: what each label counts in the mean; None: 1. seed: int64 scalar tensor that all
        dropout and negatives of this step follow from; None draws one from torch's generator. rows:
        how many tokens the last layer computes, as in ops.select_labelled; None: as many as have a
        label, which has to be read back from a GPU.
        """
        batch, labels, weights = self._pack(input_ids, labels, weights)
        self._check_ids("input_ids", batch.values, self.config.mask_id, padded=True)
        if batch.max_seqlen > self.config.max_length:
            raise ValueError(
                f"input_ids must hold at most max_length={self.config.max_length} items a"
                f" sequence, got {batch.max_seqlen};"
                " PackedSequences.newest keeps the newest"
            )
        selected = targets = None
        if labels is not None:
            self._check_ids("labels", labels, self.config.num_items, ignored=IGNORED_LABEL)
            rows = int((labels != IGNORED_LABEL).sum()) if rows is None else rows
            index, targets, cu_seqlens = ops.select_labelled(labels, batch.cu_seqlens, rows)
            weights = None if weights is None else weights[index]
            selected = SelectedTokens(index, cu_seqlens)
        seeds = (
            StepSeeds.of(check_seed(seed, batch.values.device), self.config.num_layers)
            if self.training
            else None
        )
        hidden = self._transform(batch, selected, seeds)
        if targets is None:
            return BERT4RecOutput(None, hidden)
        seed = seed if seeds is None else seeds.negatives
        return BERT4RecOutput(self.loss(hidden, targets, weights=weights, seed=seed), hidden)

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        *,
        weights: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """The mean loss of hidden states, as forward has it.

        hidden: (rows, hidden), as in BERT4RecOutput or of encode. targets: (rows,) int64 rows of
        item_embeddings, item ids less 1; -100 gives no loss. weights: (rows,), what each counts in
        the mean. seed: int64 scalar tensor that the negatives follow from.
        """
        items, bias, config = self.item_embeddings, self.output_bias, self.config
        if config.loss == "full":
            return ops.softmax_loss(hidden, items, bias, targets, weights=weights)
        on_cpu_in_fp16 = hidden.dtype == torch.float16 and hidden.device.type == "cpu"
        if config.sparse_gradients and config.tie_embeddings and on_cpu_in_fp16:
            raise ValueError(
                "PyTorch adds no sparse gradients of float16 on the CPU, as a tied table needs; use"
                " bfloat16 or float32, or tie_embeddings=False"
            )
        negatives, log_q = ops.sample_negatives(
            config.num_negatives,
            config.num_items,
            sampler=config.sampler,
            counts=self.item_counts,
            seed=seed,
            device=hidden.device,
        )
        correction = log_q if config.logq_correction else None
        table = self.item_embedding if self.output_embedding is None else self.output_embedding
        if bias is not None and table.sparse and trains_in_many_processes():
            bias = Densely.apply(bias)  # no table: DistributedDataParallel expects a dense gradient
        return ops.sampled_softmax_loss(
            hidden,
            items,
            bias,
            targets,
            negatives,
            log_q=correction,
            weights=weights,
            sparse=table.sparse,
        )

    @torch.no_grad()
    def encode(self, histories: Histories) -> Tensor:
        """(batch, hidden): the query vector of each user's next item, computed without dropout.

        histories: lists of item ids, a padded tensor, or PackedSequences; [MASK] takes the last of
        the max_length places, longer histories keep their newest items, an empty one is [MASK]
        alone.
        """
        batch = (
            self._histories(histories)
            .newest(self.config.max_length - 1)
            .append(self.config.mask_id)
        )
        return self._transform(batch, SelectedTokens.last(batch), None)

    @torch.no_grad()
    def score(self, histories: Histories, candidates: Tensor | None = None) -> Tensor:
        """(batch, num_items + 1): column i is the score of item i as the next one, column 0 is
        -inf.

        candidates: item ids (C,) for all users or (batch, C) for each; then (batch, C), in their
        order.
        """
        query = self.encode(histories)
        items, bias = self.item_embeddings, self.output_bias
        if candidates is None:
            scores = query.new_empty(query.shape[0], self.config.num_items + 1)
            scores[:, 0] = -torch.inf
            torch.mm(query, items.T, out=scores[:, 1:]) if bias is None else torch.addmm(
                bias, query, items.T, out=scores[:, 1:]
            )
            return scores
        rows = self._candidate_rows(candidates, query)
        chosen = (
            query @ items[rows].T
            if rows.dim() == 1
            else torch.einsum("nd,ncd->nc", query, items[rows])
        )
        return chosen if bias is None else chosen + bias[rows]

    @torch.no_grad()
    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Tensor | None = None,
    ) -> Recommendations:
        """The k best next items of each user, best first, and their scores; ties: the lower id
        first.

        histories: as in encode. exclude_seen: leave out the items of the whole history, those
        beyond max_length included. candidates: item ids (C,) for all users or (batch, C) for each;
        None: all items.
        """
        seen = self._histories(histories)
        query = self.encode(seen)
        scores, rows = ops.topk(
            query,
            self.item_embeddings,
            self.output_bias,
            k,
            exclude=(seen.values - 1, seen.cu_seqlens) if exclude_seen else None,
            candidates=None if candidates is None else self._candidate_rows(candidates, query),
        )
        return Recommendations(rows + 1, scores)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, each atomically. Raises InputError where they
        cannot be written.
        """
        pretrained.save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> BERT4Rec:
        """The model that save_pretrained wrote, in evaluation mode. Raises InputError for files
        that are absent, truncated or foreign.
        """
        return pretrained.load(cls, Path(folder)).eval()

    def _pack(
        self, input_ids: Tensor | PackedSequences, labels: Tensor | None, weights: Tensor | None
    ) -> tuple[PackedSequences, Tensor | None, Tensor | None]:
        ids = input_ids.values if isinstance(input_ids, PackedSequences) else input_ids
        if weights is not None and labels is None:
            raise ValueError("weights are of labels, and there are none")
        for name, of_ids in (("labels", labels), ("weights", weights)):
            if of_ids is not None and of_ids.shape != ids.shape:
                raise ValueError(
                    f"{name} must have the shape of input_ids, {tuple(ids.shape)}, got"
                    f" {tuple(of_ids.shape)}"
                )
        if isinstance(input_ids, PackedSequences):
            return input_ids, labels, weights
        batch = PackedSequences.from_padded(input_ids)
        if labels is None:
            return batch, None, None
        real = input_ids != PADDING_ID
        if (labels[~real] != IGNORED_LABEL).any():
            raise ValueError(
                f"labels must be {IGNORED_LABEL} where input_ids is padding ({PADDING_ID})"
            )
        return batch, labels[real], None if weights is None else weights[real]

    def _histories(self, histories: Histories) -> PackedSequences:
        if isinstance(histories, Tensor):
            batch = PackedSequences.from_padded(histories)
        elif isinstance(histories, PackedSequences):
            batch = histories
        else:
            batch = PackedSequences.from_lists(histories)
        batch = batch.to(self.item_embedding.weight.device)
        self._check_ids("histories", batch.values, self.config.num_items)
        return batch

    def _check_ids(
        self,
        name: str,
        ids: Tensor,
        highest: int,
        *,
        ignored: int | None = None,
        padded: bool = False,
    ) -> None:
        # Reading values on a GPU would wait for it; there, out-of-range ids are the caller's duty
        # as in torch.nn.Embedding.
        if readable(ids):
            # Padding lies after all items, or shows as a 0 among them.
            items = ids[: int(ids.count_nonzero())] if padded else ids
            check_range(name, items, 1, highest, "item ids", ignored=ignored)

    def _candidate_rows(self, candidates: Tensor, query: Tensor) -> Tensor:
        candidates = torch.as_tensor(candidates, device=query.device)
        if candidates.dim() not in (1, 2) or (
            candidates.dim() == 2 and candidates.shape[0] != query.shape[0]
        ):
            raise ValueError(
                f"candidates must be (C,) or (batch, C) with batch={query.shape[0]}, got"
                f" {tuple(candidates.shape)}"
            )
        self._check_ids("candidates", candidates, self.config.num_items)
        return candidates.long() - 1

    def _transform(
        self, batch: PackedSequences, selected: SelectedTokens | None, seeds: StepSeeds | None
    ) -> Tensor:
        """(rows, hidden) after the projection head: of the selected tokens, or of all."""
        x = self._embed(batch, None if seeds is None else seeds.embedding)
        for i, layer in enumerate(self.layers):
            last = layer is self.layers[-1]
            x = layer(
                x, batch, selected if last else None, None if seeds is None else seeds.layers[i]
            )
        if self.final_norm is not None:
            x = self.final_norm(x)
        return x if self.head is None else self.head(x)

    def _embed(self, batch: PackedSequences, seed: Tensor | None) -> Tensor:
        positions = batch.positions()
        if self.config.positions_from == "end":
            positions = (
                positions
                + (self.config.max_length - batch.lengths.long())[batch.sequence_of_token()]
            )
        dropout_p = 0.0 if seed is None else self.config.hidden_dropout
        norm = self.embedding_norm
        if norm is None or not only_read(self.item_embedding, self.position_embedding, norm):
            x = self.item_embedding(batch.values) + self.position_embedding(positions)
            x = x if norm is None else norm(x)
            return ops.dropout(x, dropout_p=dropout_p, seed=seed)
        return ops.embedding_layer_norm(
            batch.values,
            positions,
            self.item_embedding.weight,
            self.position_embedding.weight,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=dropout_p,
            seed=seed,
            sparse=self.item_embedding.sparse,
        )
