"""Checkpoints that the real packages wrote (tests/peers/write.py), and what they scored."""

import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, InputError
from b4r_fast.convert import load
from b4r_fast.convert.inert import Inert, read_checkpoint

CHECKPOINTS = Path(__file__).parent / "checkpoints"
# Of each system: the checkpoint, and the file of raw ids where it has none.
FILES = {
    "huggingface": ("huggingface", None),
    "rectools": ("rectools/rectools.ckpt", None),
    "replay": ("replay/replay.ckpt", None),
    "recbole": ("recbole/BERT4Rec.pth", "recbole/dataset.pth"),
    "vae-pytorch": ("vae_pytorch/models/best_acc_model.pth", "vae_pytorch/dataset.pkl"),
    "tensorflow": ("tensorflow/variables.npz", None),
}


def converted(name, **options):
    file, items = FILES[name]
    items = None if items is None else CHECKPOINTS / items
    return load(CHECKPOINTS / file, **{"items": items} | options)


def expected(name):
    folder = CHECKPOINTS / FILES[name][0].split("/")[0]
    return json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("name", FILES)
def test_scores_are_those_of_the_package(name):
    theirs = expected(name)
    found = converted(name)
    assert found.source == name
    # RePlay's checkpoints have no raw ids anywhere: this model's items are in their order.
    raw = found.item_ids or theirs["items"]
    number = {item: i for i, item in enumerate(raw, 1)}
    histories = [[number[item] for item in history] for history in theirs["histories"]]
    scores = found.model.score(histories)[:, [number[item] for item in theirs["items"]]]
    wanted = torch.tensor(theirs["scores"])
    if name == "tensorflow":  # log-probabilities
        scores, wanted = (values - values.mean(1, keepdim=True) for values in (scores, wanted))
    assert (scores - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert any(len(history) >= found.model.config.max_length for history in histories)


@pytest.mark.parametrize("name", FILES)
def test_a_converted_model_trains_and_can_be_asked_for_by_name(name):
    model = converted(name, source=name).model.train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    model(torch.tensor([[3, model.config.mask_id]]), torch.tensor([[-100, 5]])).loss.backward()
    assert model.item_embedding.weight.grad.abs().sum() > 0
    other = next(known for known in FILES if known != name)
    with pytest.raises(InputError, match=f"no checkpoint of {other}; it looks like one of {name}"):
        converted(name, source=other)


def test_the_prefix_of_a_tensorflow_checkpoint_needs_tensorflow():
    prefix = CHECKPOINTS / "tensorflow" / "model.ckpt"
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(InputError, match="tensorflow is not installed; `pip install"):
            load(prefix)
    else:
        assert load(prefix).item_ids == converted("tensorflow").item_ids


class Malicious:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return Path.touch, (Path(self.file),)


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_in_a_checkpoint_is_run(tmp_path, plain):
    file, touched = tmp_path / "model.ckpt", tmp_path / "touched"
    content = {"state_dict": {"x": torch.ones(2)}, "hyper_parameters": Malicious(touched)}
    if plain:
        content = {"smap": {"a": 1}, "more": Malicious(touched)}
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    found = read_checkpoint(file)
    assert not touched.exists()
    assert isinstance(found["more" if plain else "hyper_parameters"], Inert)
    with pytest.raises(InputError, match="a checkpoint of none of huggingface, rectools"):
        load(file)
    assert not touched.exists()


def test_tensors_of_every_kind_are_read_as_they_were_written(tmp_path):
    written = {
        "transposed": torch.arange(6.0).view(2, 3).T,
        "half": torch.randn(3).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "int": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "nested": {
            "numpy": np.arange(3),
            "of texts": np.array(["a", "b"]),
            "number": np.float64(2),
        },
    }
    written["shared"] = written["transposed"][0]
    torch.save(written, tmp_path / "tensors.pt")
    found = read_checkpoint(tmp_path / "tensors.pt")
    for name, value in written.items():
        if name != "nested":
            assert torch.equal(found[name], value)
            assert found[name].dtype == value.dtype
    assert found["nested"]["numpy"].tolist() == [0, 1, 2]
    assert found["nested"]["of texts"].tolist() == ["a", "b"]
    assert found["nested"]["number"] == 2


@pytest.mark.parametrize("spoil", ["truncated", "text", "absent", "folder", "empty", "other zip"])
def test_what_is_no_checkpoint_is_an_error_that_names_the_file(tmp_path, spoil):
    whole = (CHECKPOINTS / FILES["rectools"][0]).read_bytes()
    file = tmp_path / "model.ckpt"
    if spoil == "folder":
        file.mkdir()
    elif spoil == "other zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "b")
    elif spoil != "absent":
        file.write_bytes({"truncated": whole[:20_000], "text": b"hello", "empty": b""}[spoil])
    with pytest.raises(InputError, match=r"model\.ckpt"):
        load(file)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, cut off or put in between."""
    found = bytearray(content)
    for _ in range(draw.choice([1, 3, 20])):
        place = draw.randrange(len(found) + 1)
        found[place : draw.choice([place, place + 1, len(found)])] = draw.randbytes(
            draw.choice([0, 1, 5])
        )
    return bytes(found)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_an_error_of_one_line_or_reads_as_one(name, tmp_path):
    """Its tensors may have other numbers, which nothing can tell; nothing else may come of it."""
    draw = random.Random(name)
    file, items = (part and Path(part) for part in FILES[name])
    folder = CHECKPOINTS / file.parts[0]
    files = [place for place in folder.rglob("*") if place.is_file()]
    for _ in range(25):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy / file.parts[0])
        spoiled = draw.choice([place for place in files if place.name != "expected.json"])
        place = copy / file.parts[0] / spoiled.relative_to(folder)
        place.write_bytes(damaged(spoiled.read_bytes(), draw))
        said = ""
        try:
            load(copy / file, items=items and copy / items)
        except InputError as error:
            said = str(error)
        assert "\n" not in said
        shutil.rmtree(copy)


def changed(tmp_path, change):
    """RecTools' checkpoint, changed in place."""
    content = read_checkpoint(CHECKPOINTS / FILES["rectools"][0])
    content = {name: content[name] for name in ("state_dict", "hyper_parameters")}
    hyper = content["hyper_parameters"]
    content["hyper_parameters"] = {
        "model_config": {k: v for k, v in hyper["model_config"].items() if not _is_inert(v)},
        "item_external_ids": hyper["item_external_ids"],
    }
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    return tmp_path / "changed.ckpt"


def _is_inert(value):
    return isinstance(value, Inert) or (isinstance(value, type) and issubclass(value, Inert))


def test_a_model_that_is_no_bert4rec_is_refused_with_the_reason(tmp_path):
    file = changed(tmp_path, lambda c: c["hyper_parameters"]["model_config"].update(n_heads=3))
    with pytest.raises(InputError, match="hidden_size must be a multiple of num_heads"):
        load(file)

    def causal(content):
        content["hyper_parameters"]["model_config"]["use_causal_attn"] = True

    with pytest.raises(InputError, match="its attention is causal"):
        load(changed(tmp_path, causal))

    def lacking(content):
        names = [name for name in content["state_dict"] if "layer_norm_1.weight" in name]
        del content["state_dict"][names[0]]

    with pytest.raises(InputError, match="not as the versions that are known write it, or damaged"):
        load(changed(tmp_path, lacking))


def test_raw_ids_come_from_texts_json_and_parquet(tmp_path):
    theirs = expected("recbole")
    raw = converted("recbole").item_ids
    assert sorted(raw) == theirs["items"]
    from b4r_fast.data import RawIds

    files = {
        "items.txt": "\n".join(raw) + "\n",
        "items.json": json.dumps(raw),
        "numbers.json": json.dumps({item: i for i, item in enumerate(raw, 1)}),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    RawIds.write(tmp_path / "items.parquet", raw, first=1)
    for name in (*files, "items.parquet"):
        assert converted("recbole", items=tmp_path / name).item_ids == raw
    wrong = {
        "has 24 raw ids, and the model 25 items": "\n".join(raw[:-1]),
        "twice": "\n".join([*raw[:-1], raw[0]]),
    }
    for message, text in wrong.items():
        (tmp_path / "wrong.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            converted("recbole", items=tmp_path / "wrong.txt")
    (tmp_path / "wrong.json").write_text(json.dumps({item: i for i, item in enumerate(raw[1:], 2)}))
    with pytest.raises(InputError, match="has no raw id of item 1 of 25"):
        converted("recbole", items=tmp_path / "wrong.json")
    with pytest.raises(InputError, match=r"absent\.txt: no such file"):
        converted("recbole", items=tmp_path / "absent.txt")


def test_our_own_model_is_no_checkpoint_of_another_system(tmp_path):
    BERT4Rec(BERT4RecConfig(num_items=5, hidden_size=8)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"a folder without the config\.json of a BertForMaskedLM"):
        load(tmp_path)
