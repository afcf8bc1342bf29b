"""Triton kernels: for GPUs, and under Triton's interpreter (TRITON_INTERPRET=1) for CPU tensors, which is how they are tested."""

from __future__ import annotations

import importlib.util
import os

import torch

from ..devices import on_its_device

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ("cpu", "cuda") if INTERPRETED else ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
AUTOTUNE = os.environ.get("B4R_FAST_AUTOTUNE") == "1"
OPERATORS: dict = {}


def _why_not() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return 'triton is not installed; `pip install "b4r-fast[triton]"`'
    if not INTERPRETED and not torch.cuda.is_available():
        return "torch finds no GPU; TRITON_INTERPRET=1 runs the kernels, slowly, on the CPU"
    return None


UNAVAILABLE = _why_not()

if UNAVAILABLE is None:
    from . import (
        adamw_rows,
        attention,
        cloze_mask,
        dropout,
        embedding_layer_norm,
        gelu_ffn,
        linear,
        linear_gelu_layer_norm,
        rank,
        residual_ffn_layer_norm,
        residual_layer_norm,
        residual_linear_layer_norm,
        sample_negatives,
        sampled_softmax_loss,
        select_labelled,
        selected_projection,
        softmax_loss,
        token_positions,
        topk,
        tuning,
    )

    OPERATORS = {
        operator.__name__: on_its_device(tuning.tuned(operator) if AUTOTUNE else operator)
        for operator in (
            adamw_rows.adamw_rows,
            attention.attention,
            attention.attention_backward,
            attention.joint_attention,
            attention.joint_attention_backward,
            cloze_mask.cloze_mask,
            dropout.dropout,
            embedding_layer_norm.embedding_layer_norm,
            embedding_layer_norm.embedding_layer_norm_backward,
            gelu_ffn.gelu_ffn,
            gelu_ffn.gelu_ffn_backward,
            linear.linear_backward,
            linear_gelu_layer_norm.linear_gelu_layer_norm,
            linear_gelu_layer_norm.linear_gelu_layer_norm_backward,
            rank.rank,
            residual_ffn_layer_norm.residual_ffn_layer_norm,
            residual_ffn_layer_norm.residual_ffn_layer_norm_backward,
            residual_layer_norm.residual_layer_norm,
            residual_layer_norm.residual_layer_norm_backward,
            residual_linear_layer_norm.residual_linear_layer_norm,
            residual_linear_layer_norm.residual_linear_layer_norm_backward,
            sample_negatives.sample_negatives,
            sampled_softmax_loss.sampled_softmax_loss,
            sampled_softmax_loss.sampled_softmax_loss_backward,
            select_labelled.select_labelled,
            selected_projection.selected_projection_backward,
            softmax_loss.reduced_softmax_loss,
            softmax_loss.softmax_loss,
            softmax_loss.softmax_loss_backward,
            token_positions.token_positions,
            topk.topk,
            softmax_loss.total_loss,
        )
    }
