"""The authors' code, which is no package: PYTHONPATH has a clone of it. It is of TensorFlow 1; what
version 2 has dropped of that stands here.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow
import torch

from .log import Size, Watch

tf = tensorflow.compat.v1
tf.disable_v2_behavior()


def layer_norm(inputs, begin_norm_axis, begin_params_axis, scope):
    """That of tf.contrib.layers."""
    with tf.variable_scope(scope, default_name="LayerNorm"):
        size = inputs.shape[begin_params_axis]
        beta = tf.get_variable("beta", [size], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", [size], initializer=tf.ones_initializer())
    mean, variance = tf.nn.moments(inputs, [begin_norm_axis], keep_dims=True)
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, 1e-12)


def dense(inputs, units, activation=None, kernel_initializer=None, name=None):
    """That of tf.layers."""
    with tf.variable_scope(name, default_name="dense"):
        kernel = tf.get_variable("kernel", [inputs.shape[-1], units], None, kernel_initializer)
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
    out = tf.matmul(inputs, kernel) + bias
    return out if activation is None else activation(out)


class TensorFlow1:
    contrib = SimpleNamespace(layers=SimpleNamespace(layer_norm=layer_norm))
    layers = SimpleNamespace(dense=dense)

    def __getattr__(self, name):
        return getattr(tf, name)


sys.modules["tensorflow"] = TensorFlow1()  # type: ignore[assignment]
import modeling  # noqa: E402
from vocab import FreqVocab  # noqa: E402

sys.modules["tensorflow"] = tensorflow


class Peer:
    def __init__(self, log: list[list[str]], size: Size) -> None:
        self.length, self.watch = size.length, Watch()
        self.vocabulary = FreqVocab(dict(enumerate(log)))
        self.numbers = self.vocabulary.token_to_ids
        self.config = {
            "attention_probs_dropout_prob": 0.2,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.5,
            "hidden_size": size.hidden,
            "initializer_range": 0.2,
            "intermediate_size": 4 * size.hidden,
            "max_position_embeddings": size.length,
            "num_attention_heads": size.heads,
            "num_hidden_layers": 2,
            "type_vocab_size": 2,
            "vocab_size": self.vocabulary.get_vocab_size(),
        }
        tf.set_random_seed(0)
        config = modeling.BertConfig.from_dict(self.config)
        self.ids = tf.placeholder(tf.int32, [None, self.length])
        mask = tf.cast(self.ids > 0, tf.int32)
        model = modeling.BertModel(config, False, self.ids, mask, use_one_hot_embeddings=False)
        self.places = tf.placeholder(tf.int32, [None])
        hidden = tf.gather(model.get_sequence_output(), self.places, batch_dims=1)
        # As get_masked_lm_output of run.py, which reads its flags from the command line.
        with tf.variable_scope("cls/predictions"):
            with tf.variable_scope("transform"):
                initializer = modeling.create_initializer(config.initializer_range)
                activation = modeling.get_activation(config.hidden_act)
                hidden = dense(hidden, size.hidden, activation, initializer)
                hidden = modeling.layer_norm(hidden)
            table = model.get_embedding_table()
            bias = tf.get_variable("output_bias", [table.shape[0]], None, tf.zeros_initializer())
            logits = tf.nn.bias_add(tf.matmul(hidden, table, transpose_b=True), bias)
        self.log_probs = tf.nn.log_softmax(logits)
        self.targets = tf.placeholder(tf.int32, [None])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.targets, logits=logits)
        step = tf.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(loss))
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())
        ids, places = self.padded([history[:-1] for history in log])
        last = [self.numbers[history[-1]] for history in log]
        feed = {self.ids: ids, self.places: places, self.targets: last}
        for _ in range(5):
            self.session.run(step, feed)

    def padded(self, histories: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        """With [MASK] behind each, and its place."""
        ids = np.zeros((len(histories), self.length), np.int32)
        places = [min(len(history), self.length - 1) for history in histories]
        for row, history, place in zip(ids, histories, places):
            row[:place] = [self.numbers[item] for item in history[-self.length + 1 :]]
            row[place] = self.numbers["[MASK]"]
        return ids, np.array(places)

    def save(self, folder: Path) -> Path:
        (folder / "bert_config_tiny.json").write_text(json.dumps(self.config, indent=2))
        (folder / "log.vocab").write_bytes(pickle.dumps(self.vocabulary))
        model = list(tf.trainable_variables())
        tf.train.Saver(model).save(self.session, str(folder / "model.ckpt"), write_meta_graph=False)
        arrays = self.session.run({v.op.name: v for v in model})
        np.savez(folder / "variables.npz", **arrays)
        return folder / "variables.npz"

    def scores(self, histories: list[list[str]], items: list[str]) -> torch.Tensor:
        ids, places = self.padded(histories)
        found = self.session.run(self.log_probs, {self.ids: ids, self.places: places})
        return torch.from_numpy(found)[:, [self.numbers[item] for item in items]]
