"""AdamW on the rows that a step names, against torch's own optimizers."""

from collections import Counter

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from b4r_fast import BERT4Rec, BERT4RecConfig, RowwiseAdamW, ops

SETTINGS = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}


def sparse(rows: list[int], values: torch.Tensor, count: int) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows], device=values.device),
        values,
        (count, *values.shape[1:]),
        check_invariants=True,
    )


@pytest.mark.parametrize(
    "shape", [(6, 37), (6, 8), (6,)], ids=["a vector and a rest", "less than a vector", "numbers"]
)
def test_steps_that_name_all_rows_are_adamws(shape, device):
    start = torch.linspace(-1, 1, 6 * 37)[: torch.Size(shape).numel()].reshape(shape)
    ours, theirs = (torch.nn.Parameter(start.clone().to(device)) for _ in range(2))
    optimizers = RowwiseAdamW([ours], **SETTINGS), torch.optim.AdamW([theirs], **SETTINGS)
    for _ in range(5):
        gradient = torch.randn(shape).to(device)
        ours.grad, theirs.grad = (
            sparse([3, 1, 0, 2, 5, 4], gradient[[3, 1, 0, 2, 5, 4]], 6),
            gradient,
        )
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_rows_that_are_not_named_stay_as_they_are(device):
    table = torch.nn.Parameter(torch.randn(10, 8).to(device))
    before = table.detach().clone()
    optimizer = RowwiseAdamW([table], **SETTINGS)
    for _ in range(3):
        table.grad = sparse([7, 2], torch.randn(2, 8).to(device), 10)
        optimizer.step()
    same = (table == before).all(1)
    assert same.nonzero().flatten().tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert (optimizer.state[table]["exp_avg"][same] == 0).all()


def test_sparse_gradients_that_torch_cannot_add_are_refused_before_the_step():
    config = BERT4RecConfig(
        num_items=9, hidden_size=8, num_heads=2, loss="sampled", sparse_gradients=True
    )
    model, labels = BERT4Rec(config).half(), torch.tensor([[3, -100]])
    with pytest.raises(ValueError, match="use bfloat16 or float32, or tie_embeddings=False"):
        model(torch.tensor([[10, 2]]), labels)
    model.bfloat16()(torch.tensor([[10, 2]]), labels).loss.backward()


def test_a_row_that_is_named_twice_gets_the_sum():
    """As where the embedding and the loss name the same item: autograd only appends their
    gradients.
    """
    tables = [torch.nn.Parameter(torch.ones(4, 8)) for _ in range(2)]
    once, twice = torch.randn(2, 8)
    tables[0].grad = sparse([1, 1], torch.stack([once, twice]), 4)
    tables[1].grad = sparse([1], (once + twice)[None], 4)
    for table in tables:
        RowwiseAdamW([table], **SETTINGS).step()
    assert torch.equal(*tables)


def test_dense_and_sparse_gradients_go_together_and_state_survives_saving():
    def run(interrupted: bool) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(5)
        parameters = [torch.nn.Parameter(torch.ones(4, 8)), torch.nn.Parameter(torch.ones(8))]
        optimizer = RowwiseAdamW(parameters, **SETTINGS, fused=True)
        for step in range(4):
            if interrupted and step == 2:
                saved = optimizer.state_dict()
                optimizer = RowwiseAdamW(parameters, **SETTINGS, fused=True)
                optimizer.load_state_dict(saved)
            parameters[0].grad = sparse([step % 3], torch.randn(1, 8, generator=generator), 4)
            parameters[1].grad = torch.randn(8, generator=generator)
            optimizer.step()
            assert parameters[0].grad.is_sparse
        return parameters

    assert all(torch.equal(a, b) for a, b in zip(run(False), run(True)))


def test_hooks_run_once_a_step_where_adamw_has_been_used_before():
    """They ran twice: torch puts them around the step of each class that an optimizer was made of,
    and ours called its parent's.
    """
    torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))]).step()
    table, bias = torch.nn.Parameter(torch.ones(4, 8)), torch.nn.Parameter(torch.ones(8))
    optimizer, calls = RowwiseAdamW([table, bias], **SETTINGS), Counter()

    def counting(name):
        return lambda *_: calls.update([name])

    hooks = [
        register_optimizer_step_pre_hook(counting("every optimizer's, before")),
        register_optimizer_step_post_hook(counting("every optimizer's, after")),
        optimizer.register_step_pre_hook(counting("its own, before")),
        optimizer.register_step_post_hook(counting("its own, after")),
    ]
    try:
        for _ in range(3):
            table.grad, bias.grad = sparse([1], torch.ones(1, 8), 4), torch.ones(8)
            optimizer.step()
    finally:
        for hook in hooks:
            hook.remove()
    assert len(calls) == 4
    assert set(calls.values()) == {3}, calls


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaled_gradient_gives_the_step_of_the_gradient_and_an_overflow_none(fused):
    """With fused=True the scale was left on the rows, and infinities went into the table."""
    tables = [[torch.nn.Parameter(torch.ones(4, 8)) for _ in range(2)] for _ in range(2)]
    values = torch.randn(1, 8)
    plain, scaled = (RowwiseAdamW(pair, **SETTINGS, fused=fused) for pair in tables)
    tables[0][0].grad, tables[0][1].grad = sparse([1], values, 4), torch.ones(4, 8)
    plain.step()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.zeros(1))  # as of the loss
    for largest in (torch.inf, 1.0):
        scale = scaler.get_scale()
        tables[1][0].grad = sparse([1], values * scale * largest, 4)
        tables[1][1].grad = torch.full((4, 8), scale)
        scaler.step(scaled)
        scaler.update()
    torch.testing.assert_close(tables[1], tables[0])


def test_a_closure_gives_gradients_and_loss():
    table, calls = torch.nn.Parameter(torch.ones(4, 8)), []
    optimizer = RowwiseAdamW([table], **SETTINGS)

    def closure():
        calls.append(torch.is_grad_enabled())
        table.grad = sparse([1], torch.ones(1, 8), 4)
        return 0.5

    assert optimizer.step(closure) == 0.5
    assert calls == [True]
    assert (table != 1).any(1).tolist() == [False, True, False, False]


def test_what_it_cannot_do_is_an_error():
    table = torch.nn.Parameter(torch.ones(4, 8))
    table.grad = sparse([1], torch.ones(1, 8), 4)
    with pytest.raises(ValueError, match="amsgrad and maximize are for dense gradients"):
        RowwiseAdamW([table], amsgrad=True).step()
    assert table.grad is not None
    with pytest.raises(ValueError, match="table must be contiguous"):
        ops.adamw_rows(
            *[torch.ones(8, 4).T] * 3, torch.tensor([0]), torch.ones(1, 8), **SETTINGS, step=1
        )
    with pytest.raises(ValueError, match="rows must be rows of table, 0 to 3; got 4"):
        ops.adamw_rows(
            *[torch.ones(4, 8)] * 3, torch.tensor([4]), torch.ones(1, 8), **SETTINGS, step=1
        )
    with pytest.raises(ValueError, match="step must be at least 1"):
        ops.adamw_rows(
            *[torch.ones(4, 8)] * 3, torch.tensor([0]), torch.ones(1, 8), **SETTINGS, step=0
        )
    with pytest.raises(ValueError, match='sparse_gradients needs loss="sampled"'):
        BERT4RecConfig(num_items=5, sparse_gradients=True)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embedding_norm", [True, False])
def test_a_model_has_the_same_gradients_sparse_and_dense(tied, embedding_norm):
    gradients = []
    for sparse_gradients in (False, True):
        torch.manual_seed(0)
        model = BERT4Rec(
            BERT4RecConfig(
                num_items=50,
                max_length=8,
                hidden_size=16,
                num_layers=1,
                loss="sampled",
                num_negatives=7,
                tie_embeddings=tied,
                embedding_norm=embedding_norm,
                sparse_gradients=sparse_gradients,
            )
        )
        ids = torch.tensor([[5, 51, 7, 0], [51, 2, 3, 9]])
        model(
            ids,
            labels=torch.tensor([[-100, 6, -100, -100], [1, -100, -100, -100]]),
            seed=torch.tensor(3),
        ).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    dense, sparse = gradients
    tables = {name for name, gradient in sparse.items() if gradient.is_sparse}
    assert tables == {"item_embedding.weight", "output_bias"} | (
        set() if tied else {"output_embedding.weight"}
    )
    for name, gradient in sparse.items():
        torch.testing.assert_close(gradient.to_dense(), dense[name], rtol=0, atol=1e-7)
