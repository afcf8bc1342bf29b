"""AdamW that leaves the rows of a table alone that a step does not name."""

from __future__ import annotations

import torch

from . import ops


class RowwiseAdamW(torch.optim.AdamW):
    """AdamW for parameters with dense gradients, and for the named rows of those with sparse ones.

    A table whose gradient is sparse (BERT4RecConfig.sparse_gradients,
    torch.nn.Embedding(sparse=True)) costs what its named rows cost: the others keep their weights
    and their moments, as in torch.optim.SparseAdam. So momentum and weight decay act on a row only
    in the steps that name it, and results are not those of a dense AdamW; the correction of both
    moments counts all steps. Arguments and state are torch.optim.AdamW's; step raises ValueError
    for a sparse gradient with amsgrad or maximize.
    """

    def _init_group(self, group, *lists):
        """Where torch gathers a group's gradients: it gets the dense ones, the others are stepped
        here.

        step itself stays torch's. Around that of every class torch puts the hooks, so one that
        calls another class's runs them twice.
        """
        tables = [(p, p.grad) for p in group["params"] if p.grad is not None and p.grad.is_sparse]
        try:
            for table, gradient in tables:
                self._step_rows(group, table, gradient.coalesce())
                table.grad = None  # torch refuses it
            return super()._init_group(group, *lists)
        finally:
            for table, gradient in tables:
                table.grad = gradient

    @torch.no_grad()
    def _step_rows(self, group: dict, table: torch.Tensor, gradient: torch.Tensor) -> None:
        if group["amsgrad"] or group["maximize"]:
            raise ValueError(
                "amsgrad and maximize are for dense gradients; this parameter's is sparse"
            )
        if getattr(self, "found_inf", None):
            return
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        ops.adamw_rows(
            table,
            state["exp_avg"],
            state["exp_avg_sq"],
            gradient.indices()[0],
            self._unscaled(gradient.values()),
            lr=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            step=int(state["step"]),
        )

    def _unscaled(self, gradient: torch.Tensor) -> torch.Tensor:
        """With fused=True a GradScaler leaves it to the optimizer to take off the scale, and to
        take no step where there are infinities: it says so in grad_scale and found_inf.
        """
        scale = getattr(self, "grad_scale", None)
        return gradient if scale is None else gradient / scale.to(gradient.dtype)
