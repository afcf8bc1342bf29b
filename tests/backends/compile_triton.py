"""Compiles every Triton kernel ahead of time for real GPUs, which needs none; prints one JSON object a kernel, dtype and target.

Run in a process without TRITON_INTERPRET: python -m tests.backends.compile_triton
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from b4r_fast.backends.triton import residual_layer_norm

# A100, H100, B200, MI300: warp sizes are NVIDIA's and AMD's.
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"

# Kernel, constants, and the names of its arguments that are not of the tensors' dtype and not int32.
FP32 = {"p_mean", "p_rstd", "p_dweight_partials", "p_dbias_partials", "eps", "scale"}
KERNELS = [
    (kernel, residual_layer_norm._blocks(d, elements) | {"DROPOUT": True})
    for kernel, elements in (
        (residual_layer_norm._forward_kernel, residual_layer_norm.FORWARD_ELEMENTS),
        (residual_layer_norm._backward_kernel, residual_layer_norm.BACKWARD_ELEMENTS),
    )
    for d in (64, 1024)
]


def type_of(name: str, dtype: str) -> str:
    base = "i64" if name == "p_seed" else "fp32" if name in FP32 else dtype if name.startswith("p_") else "i32"
    return f"*{base}" if name.startswith("p_") else base


def spills(compiled) -> int:
    """Bytes of stack and local memory a thread (NVIDIA) or spilled vector registers (AMD)."""
    if "cubin" not in compiled.asm:
        return int(re.search(r"\.vgpr_spill_count:\s+(\d+)", compiled.asm["amdgcn"])[1])
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", usage))


def compile_kernel(kernel, constants: dict, dtype: str, target: GPUTarget):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else type_of(name, dtype) for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name.startswith("p_")}
    values = {(names.index(name),): value for name, value in constants.items()}
    return triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=aligned), target=target)


if __name__ == "__main__":
    for kernel, constants in KERNELS:
        for dtype in ("fp32", "bf16"):
            for target in TARGETS:
                compiled = compile_kernel(kernel, constants, dtype, TARGETS[target])
                row = {"kernel": kernel.__name__, **constants, "dtype": dtype, "target": target}
                print(json.dumps(row | {"shared": compiled.metadata.shared, "spills": spills(compiled)}), flush=True)
