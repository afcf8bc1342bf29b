"""The same model in PyTorch's own ops, as well as we know how: SDPA, one product for Q, K and V,
the head on hidden tokens alone.

Its parameters have the names of b4r_fast's, so that one state dict fits both and the tests can hold
their losses against each other. Option "unpadded": everything but the attention runs on real tokens
alone, and the last layer for hidden tokens alone, as in b4r_fast. Option "compiled": under
torch.compile. Option "loss": instead of the work's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import IGNORED, Batch
from .recommendation import K, Recommendation
from .training_step import TrainingStep


class Layer(nn.Module):
    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(d, 3 * d)
        self.attention_output = nn.Linear(d, d)
        self.attention_norm = nn.LayerNorm(d, eps=1e-12)
        self.ffn_in = nn.Linear(d, 4 * d)
        self.ffn_out = nn.Linear(4 * d, d)
        self.ffn_norm = nn.LayerNorm(d, eps=1e-12)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor) -> Tensor:
        """(batch, queries, d), (batch, keys, d) twice, (batch, 1, 1, keys) -> (batch,
        queries, d)
        """
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=real, dropout_p=self.dropout if self.training else 0.0
        )
        return out.transpose(1, 2).flatten(2)

    def after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.attention_norm(x + self.drop(self.attention_output(attended)))
        return self.ffn_norm(x + self.drop(self.ffn_out(F.gelu(self.ffn_in(x)))))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: (batch, length, d)."""
        return self.after_attention(x, self.attend(*self.qkv(x).chunk(3, dim=2), real))

    def forward_unpadded(
        self, x: Tensor, tokens: Places, asking: Places | None, rows: Tensor | None
    ) -> Tensor:
        """x: (tokens, d) -> (tokens, d), or (rows, d) of the rows alone, whose places in the padded
        queries are asking.
        """
        d = x.shape[1]
        if rows is None or asking is None:
            q, k, v = tokens.pad(self.qkv(x)).chunk(3, dim=2)
            return self.after_attention(x, tokens.unpad(self.attend(q, k, v, tokens.real)))
        x_rows = x[rows]
        q = asking.pad(F.linear(x_rows, self.qkv.weight[:d], self.qkv.bias[:d]))
        k, v = tokens.pad(F.linear(x, self.qkv.weight[d:], self.qkv.bias[d:])).chunk(2, dim=2)
        return self.after_attention(x_rows, asking.unpad(self.attend(q, k, v, tokens.real)))


class Places:
    """Where packed rows lie in a padded batch: index into (batch x length)."""

    def __init__(self, sequence: Tensor, position: Tensor, batch: int, length: int) -> None:
        self.batch, self.length, self.index = batch, length, sequence * length + position
        self.real = (
            torch.zeros(batch * length, dtype=torch.bool)
            .index_fill(0, self.index, True)
            .view(batch, 1, 1, length)
        )

    def pad(self, x: Tensor) -> Tensor:
        return (
            x.new_zeros(self.batch * self.length, x.shape[1])
            .index_copy(0, self.index, x)
            .view(self.batch, self.length, -1)
        )

    def unpad(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)[self.index]


class Head(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d, d)
        self.norm = nn.LayerNorm(d, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(x)))


class PyTorchBERT4Rec(nn.Module):
    def __init__(
        self, num_items: int, max_length: int, d: int, num_layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_items, self.dropout = num_items, dropout
        self.item_embedding = nn.Embedding(num_items + 2, d)
        self.position_embedding = nn.Embedding(max_length, d)
        self.embedding_norm = nn.LayerNorm(d, eps=1e-12)
        self.layers = nn.ModuleList(Layer(d, heads, dropout) for _ in range(num_layers))
        self.head = Head(d)
        self.output_bias = nn.Parameter(torch.zeros(num_items))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)

    @property
    def items(self) -> Tensor:
        return self.item_embedding.weight[1 : self.num_items + 1]

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        x = self.embedding_norm(self.item_embedding(ids) + self.position_embedding(positions))
        return F.dropout(x, self.dropout, self.training)

    def rows(self, ids: Tensor, real: Tensor, rows: Tensor) -> Tensor:
        """ids: (batch, length), padded on the right; rows: which of the batch x length tokens are
        asked for -> (rows, d)
        """
        x = self.embed(ids, torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x, real)
        return self.head(x.flatten(0, 1)[rows])

    def rows_unpadded(
        self, ids: Tensor, positions: Tensor, tokens: Places, asking: Places, rows: Tensor
    ) -> Tensor:
        """ids, positions: (tokens,) -> (rows, d)"""
        x = self.embed(ids, positions)
        for layer in self.layers:
            last = layer is self.layers[-1]
            x = layer.forward_unpadded(x, tokens, asking if last else None, rows if last else None)
        return self.head(x)

    def recommend(self, ids: Tensor, real: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and rows of the best items for the tokens that ask."""
        return torch.topk(F.linear(self.rows(ids, real, rows), self.items, self.output_bias), K)

    def full_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """targets: (rows,), from 0."""
        return F.cross_entropy(F.linear(hidden, self.items, self.output_bias), targets)


def sampled_loss(
    hidden: Tensor, items: Tensor, bias: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor
) -> Tensor:
    """negatives, log_q: (K,), shared by the batch."""
    logits = F.linear(hidden, items[negatives], bias[negatives] - log_q)
    logits = logits.masked_fill(negatives == targets[:, None], -torch.inf)
    positive = (hidden * items[targets]).sum(1) + bias[targets]
    return F.cross_entropy(torch.cat((positive[:, None], logits), 1), torch.zeros_like(targets))


def log_uniform_negatives(
    count: int, num_items: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Rows by Zipf's law and the log of how often each is expected among them."""
    rows = (
        (torch.rand(count, device=device) * math.log(num_items + 1))
        .exp()
        .long()
        .sub_(1)
        .clamp_(0, num_items - 1)
    )
    return rows, (torch.log1p(1 / (rows + 1.0)) * (count / math.log(num_items + 1))).log()


def padded_inputs(batch: Batch) -> tuple[Tensor, ...]:
    ids, labels = batch.pad(batch.values, 0), batch.pad(batch.labels, IGNORED)
    rows = (labels.flatten() != IGNORED).nonzero().squeeze(1)
    return ids, (ids != 0)[:, None, None, :], rows


def unpadded_inputs(batch: Batch) -> tuple[Tensor | Places, ...]:
    sequence, positions = batch.sequence_of_token(), batch.positions()
    rows = (batch.labels != IGNORED).nonzero().squeeze(1)
    hidden = batch.hidden_of_sequence()
    place = torch.arange(rows.numel()) - (hidden.cumsum(0) - hidden)[sequence[rows]]
    tokens = Places(sequence, positions, len(batch), batch.longest)
    return (
        batch.values,
        positions,
        tokens,
        Places(sequence[rows], place, len(batch), int(hidden.max())),
        rows,
    )


def build(
    work, *, unpadded: bool = False, compiled: bool = False, loss: str | None = None
) -> TrainingStep:
    model = PyTorchBERT4Rec(
        work.num_items,
        work.max_length,
        work.hidden_size,
        work.num_layers,
        work.num_heads,
        work.dropout,
    )
    transform = model.rows_unpadded if unpadded else model.rows

    def compute_loss(inputs, targets):
        hidden = transform(*inputs)
        if (loss or work.loss) == "full":
            return model.full_loss(hidden, targets)
        negatives = log_uniform_negatives(work.num_negatives, work.num_items, targets.device)
        return sampled_loss(hidden, model.items, model.output_bias, targets, *negatives)

    if compiled:
        compute_loss = torch.compile(compute_loss)

    def prepare(batch: Batch):
        inputs = unpadded_inputs(batch) if unpadded else padded_inputs(batch)
        targets = batch.labels[batch.labels != IGNORED] - 1
        return lambda: compute_loss(inputs, targets)

    return TrainingStep(model, prepare, f"torch {torch.__version__}", static_shapes=compiled)


def build_recommendation(work, *, compiled: bool = False) -> Recommendation:
    model = PyTorchBERT4Rec(
        work.num_items,
        work.max_length,
        work.hidden_size,
        work.num_layers,
        work.num_heads,
        work.dropout,
    ).eval()
    recommend = torch.compile(model.recommend) if compiled else model.recommend

    def prepare(batch: Batch):
        inputs = padded_inputs(batch)
        return lambda: recommend(*inputs)

    return Recommendation(model, prepare, f"torch {torch.__version__}", static_shapes=compiled)
