"""What a backend computes with kernels of its own."""

from b4r_fast.backends import operators

# Ops without a kernel of their own in some backend, and what they are made of.
JOINED = {
    "joint_attention": {"attention"},
    "linear_gelu_layer_norm": {"linear"},
    "residual_ffn_layer_norm": {"gelu_ffn", "residual_layer_norm"},
    "residual_linear_layer_norm": {"linear", "residual_layer_norm"},
    "selected_projection": {"linear"},
}


def held(backend: str) -> set[str]:
    own = set(operators(backend))
    return own | {op for op, parts in JOINED.items() if parts <= own}
