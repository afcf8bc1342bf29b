"""attention whose operands lie in one tensor: q, k and v are joint (T, 3, H, D); or k and v are
joint (T, 2, H, D), and q stands apart.

Its gradients are written where they belong in that of joint, and put together by nobody.
"""

from __future__ import annotations

from torch import Tensor

from .. import implementation


def _split(q: Tensor | None, joint: Tensor) -> tuple[Tensor, ...]:
    """q, k and v."""
    return joint.unbind(1) if q is None else (q, *joint.unbind(1))


def joint_attention(q: Tensor | None, joint: Tensor, *packing) -> tuple[Tensor, Tensor]:
    return implementation("attention", joint)(*_split(q, joint), *packing)


def joint_attention_backward(
    dout: Tensor, q: Tensor | None, joint: Tensor, out: Tensor, lse: Tensor, *packing
) -> tuple[Tensor | None, Tensor]:
    djoint, dq = joint.new_empty(joint.shape), None if q is None else q.new_empty(q.shape)
    write = implementation("attention_gradients", joint)
    write(dout, *_split(q, joint), out, lse, *_split(dq, djoint), *packing)
    return dq, djoint


OPERATORS = (joint_attention, joint_attention_backward)
