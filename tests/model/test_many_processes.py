"""Training under DistributedDataParallel, in two processes on this machine."""

import socket

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from b4r_fast import BERT4Rec, BERT4RecConfig, RowwiseAdamW

MASK, WORLD, STEPS = 51, 2, 3


def new_model(tied):
    torch.manual_seed(0)
    return BERT4Rec(
        BERT4RecConfig(
            num_items=MASK - 1,
            max_length=8,
            hidden_size=16,
            num_layers=1,
            loss="sampled",
            num_negatives=7,
            tie_embeddings=tied,
            sparse_gradients=True,
        )
    )


def batch_of(rank):
    return torch.tensor([[3 + rank, MASK, 9]]), torch.tensor([[-100, 4 + rank, -100]])


def step(model, optimizer, batches):
    """Of the mean of the batches' losses; negatives and dropout of all of them from one seed."""
    optimizer.zero_grad()
    for ids, labels in batches:
        (model(ids, labels, seed=torch.tensor(1)).loss / len(batches)).backward()
    optimizer.step()


def work(rank, address, tied, path):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=WORLD)
    model = DistributedDataParallel(new_model(tied))
    optimizer = RowwiseAdamW(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        step(model, optimizer, [batch_of(rank)])
    gradients = {name: p.grad.is_sparse for name, p in model.module.named_parameters()}
    torch.save((model.module.state_dict(), gradients), path / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.long
@pytest.mark.parametrize("tied", [True, False])
def test_two_processes_with_sparse_gradients_train_as_one_with_both_batches(tied, tmp_path):
    """ "Cannot access storage of SparseTensorImpl": it asks the embedding whether its gradient will
    be sparse, and we had not told it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    multiprocessing.spawn(work, (address, tied, tmp_path), nprocs=WORLD)
    model = new_model(tied)
    # One process has a sparse gradient of the bias, two a dense one: the difference is momentum.
    optimizer = RowwiseAdamW(model.parameters(), lr=0.01)
    tables = {"item_embedding.weight", "output_embedding.weight"}
    model.output_bias.register_post_accumulate_grad_hook(densify)
    for _ in range(STEPS):
        step(model, optimizer, [batch_of(rank) for rank in range(WORLD)])
    for rank in range(WORLD):
        weights, is_sparse = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert {name for name in is_sparse if is_sparse[name]} == tables & is_sparse.keys()
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-6)


def densify(parameter):
    parameter.grad = parameter.grad.to_dense()
