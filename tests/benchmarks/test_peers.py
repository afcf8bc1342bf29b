"""A benchmark of models that do not compute the same is worth nothing: the peers in our process
give our loss and our gradients.
"""

from functools import partial

import pytest
import torch

from b4r_fast.convert import from_huggingface
from benchmarks import peers
from benchmarks.peers import huggingface, ours
from benchmarks.processes import PeerFailed, Worker

from .tiny import tiny_batch, tiny_work

pytestmark = pytest.mark.long

PYTORCH = ("eager", "eager-unpadded", "compile", "compile-unpadded")


def loss_and_gradients(step, batch):
    step.load(batch)
    loss = step.forward()
    step.backward(loss)
    return loss.detach(), {
        name: parameter.grad for name, parameter in step.model.named_parameters()
    }


@pytest.mark.parametrize("name", PYTORCH)
def test_pytorch_gives_our_loss_and_our_gradients_with_our_weights(name, monkeypatch):
    """As torch.compile traces it; what comes of that in C++ takes most of a minute, and the test of
    recommendations has some.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    work = tiny_work()
    batch, us, them = (
        tiny_batch(work),
        peers.build_training("b4r_fast", work),
        peers.build_training(name, work),
    )
    them.model.load_state_dict(us.model.state_dict())
    (our_loss, our_gradients), (their_loss, their_gradients) = (
        loss_and_gradients(us, batch),
        loss_and_gradients(them, batch),
    )
    torch.testing.assert_close(their_loss, our_loss)
    for parameter, gradient in our_gradients.items():
        torch.testing.assert_close(
            their_gradients[parameter],
            gradient,
            msg=lambda text, parameter=parameter: f"{parameter}: {text}",
        )


def test_pytorch_has_our_parameters_and_no_other():
    work = tiny_work()
    shapes = [
        {n: p.shape for n, p in peers.build_training(name, work).model.named_parameters()}
        for name in ("b4r_fast", "eager")
    ]
    assert shapes[0] == shapes[1]


def test_hugging_face_gives_our_loss_with_our_weights():
    work = tiny_work()
    batch, them, us = tiny_batch(work), huggingface.build(work), ours.build(work)
    # its softmax is over padding and [MASK] too: out with them, so that the losses are comparable
    with torch.no_grad():
        them.model.cls.predictions.bias[[0, -1]] = -1e9
        them.model.cls.predictions.decoder.bias[[0, -1]] = -1e9
    us.model.load_state_dict(from_huggingface(them.model).state_dict())
    torch.testing.assert_close(loss_and_gradients(them, batch)[0], loss_and_gradients(us, batch)[0])


def test_the_full_softmax_is_on_request_where_the_work_is_sampled():
    work = tiny_work("beauty-sampled", num_negatives=5)
    batch, us, full = (
        tiny_batch(work),
        peers.build_training("eager", work),
        peers.build_training("eager-full", work),
    )
    full.model.load_state_dict(us.model.state_dict())
    us.model.full_loss = None  # the sampled loss must not come here
    assert loss_and_gradients(us, batch)[0].isfinite()
    _, gradients = loss_and_gradients(full, batch)
    assert (gradients["output_bias"] != 0).all()


@pytest.mark.parametrize("name", ["eager", "compile"])
def test_pytorch_recommends_what_we_recommend(name):
    work = tiny_work()
    us, them = peers.build_recommendation("b4r_fast", work), peers.build_recommendation(name, work)
    them.model.load_state_dict(us.model.state_dict())
    batch = tiny_batch(work)
    us.load(batch)
    them.load(batch)
    ids, scores = us.forward()
    their_scores, their_rows = them.forward()
    torch.testing.assert_close(their_scores, scores)
    assert torch.equal(their_rows + 1, ids)


@pytest.mark.parametrize(
    "name", [name for name, peer in peers.TRAINING.items() if peer.environment]
)
def test_a_peer_with_an_environment_of_its_own_runs_where_it_is_installed(name, tmp_path):
    work = tiny_work()
    tiny_batch(work).save(tmp_path / "batch.pt")
    try:
        worker = Worker(threads=1, environment=peers.TRAINING[name].environment)
    except PeerFailed as error:
        pytest.skip(str(error))
    with worker:
        spec = {
            "kind": "training",
            "case": "",
            "work": vars(work),
            "batch": str(tmp_path / "batch.pt"),
        }
        built = worker.ask("build", name=name, **spec)
        assert built["versions"]
        assert set(worker.ask("run", name=name)) == {"forward", "backward", "optimizer"}
