"""The lanes: what proves the kernels for GPUs without a GPU, what each lane takes, and what its
outcome depends on.

`make test` is for users and holds none of this but a small part of each kernel; tests marked
`kernels` run here alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """Tests that prove one thing.

    on: what Triton's kernels run on, as in tests/conftest.py. sources: what is tested, as globs
    from the root; the tests themselves, and all of tests/ that they import, go without saying.
    with_imports: sources too, each with all of the package that it imports. tools: what else the
    outcome depends on, by version. seconds: of a tenth, about; the longest begin first.
    """

    name: str
    proves: str
    tests: tuple[str, ...]
    sources: tuple[str, ...]
    tools: tuple[str, ...]
    on: str = "interpreter"
    with_imports: tuple[str, ...] = ()
    seconds: int = 5


OPS = ("b4r_fast/ops/*.py", "b4r_fast/backends/*.py", "b4r_fast/backends/reference/*.py")
TRITON = (*OPS, "b4r_fast/backends/triton/*.py")
CUDA = (
    *OPS,
    "b4r_fast/backends/cuda/*.py",
    "csrc/cuda/*",
    "csrc/bindings/cuda.cpp",
    "csrc/bindings/address.h",
)
FIBERS = (
    *CUDA,
    "tests/cuda_on_cpu/*",
    "tests/cuda_on_cpu/include/*",
    "tests/cuda_on_cpu/include/cuda/*",
)

# Of every backend.
SHARED_TESTS = (
    "tests/backends/test_gpu_kernels.py",
    "tests/ops/test_registration.py",
    "tests/ops/test_residual_layer_norm.py",
)


def compiles(part: str, launches: str, *modules: str, seconds: int) -> Lane:
    """Ahead of time, in one of the parts that change apart from each other. launches: pytest's -k.
    modules: of the Triton backend, which launch them; without any they depend on all.
    """
    return Lane(
        f"triton-compile-{part}",
        f"{part}: every form of every kernel compiles for every target, keeps in registers, fits,"
        " uses tensor cores",
        ("tests/backends/test_triton_compiles.py", "-k", launches),
        () if modules else TRITON,
        ("torch", "triton"),
        on="compiler",
        with_imports=tuple(f"b4r_fast/backends/triton/{module}.py" for module in modules),
        seconds=seconds,
    )


LANES = {
    lane.name: lane
    for lane in (
        Lane(
            "triton-interpreter",
            "every op in all sizes, in Triton's interpreter, hardened",
            (*SHARED_TESTS, "tests/backends/test_tuning.py", "-k", "triton or tuning"),
            TRITON,
            ("torch", "triton"),
            seconds=75,
        ),
        Lane(
            "triton-faults",
            "each fault planted into a Triton kernel is seen",
            ("tests/backends/test_triton_mutations.py",),
            TRITON,
            ("torch", "triton"),
        ),
        Lane(
            "triton-ttsem",
            "what Triton's compiler makes of every launch, executed: bounds, races, overflows",
            (
                *SHARED_TESTS,
                "tests/backends/test_triton_mutations.py",
                "tests/backends/test_ttsem.py",
                "-k",
                "triton or ttsem",
            ),
            TRITON,
            ("torch", "triton", "ttsem"),
            on="ttsem",
            seconds=100,
        ),
        compiles("attention", "attention", "attention", seconds=100),
        compiles(
            "feed-forward",
            "gelu_ffn or linear or layer_norm or residual_ffn",
            "gelu_ffn",
            "linear",
            "linear_gelu_layer_norm",
            "residual_ffn_layer_norm",
            "residual_linear_layer_norm",
            seconds=160,
        ),
        compiles(
            "scores",
            "softmax_loss or rank or topk",
            "softmax_loss",
            "rank",
            "topk",
            seconds=100,
        ),
        compiles("ops", "paper or norms or private_negatives", seconds=75),
        Lane(
            "cuda-fibers",
            "every op in all sizes, CUDA's threads as fibers of the CPU; and the fibers themselves",
            (
                *SHARED_TESTS,
                "tests/backends/test_cuda.py",
                "tests/cuda_on_cpu/test_runtime.py",
                "-k",
                "cuda",
            ),
            FIBERS,
            ("torch", "c++"),
        ),
        Lane(
            "cuda-sanitizers",
            "the same in other orders, under AddressSanitizer and ThreadSanitizer",
            ("tests/backends/test_cuda_sanitizers.py",),
            (*FIBERS, "tests/backends/test_gpu_kernels.py", "tests/backends/test_cuda.py"),
            ("torch", "c++"),
            seconds=30,
        ),
        Lane(
            "cuda-faults",
            "each fault planted into a CUDA kernel is seen",
            ("tests/backends/test_cuda_mutations.py",),
            (*FIBERS, "tests/backends/test_cuda.py"),
            ("torch", "c++"),
            seconds=30,
        ),
        Lane(
            "cuda-resources",
            "what nvcc makes of the CUDA kernels: registers, shared memory, tensor cores, no spill",
            ("tests/backends/test_cuda_resources.py",),
            (*FIBERS, "CMakeLists.txt"),
            ("torch", "nvcc"),
        ),
        Lane(
            "stand-in",
            "the tests for GPUs leave nothing on the CPU: they pass on a device that is not there",
            (
                "tests/test_stand_in_gpu.py",
                "tests/benchmarks/test_gpu.py::test_contenders_keep_what_they_make_on_the_device",
            ),
            (
                *TRITON,
                *FIBERS,
                "benchmarks/*.py",
                "benchmarks/*/*.py",
                "tests/backends/test_gpu_kernels.py",
                "tests/backends/test_cuda.py",
                "tests/ops/test_registration.py",
                "tests/ops/test_losses.py",
                "tests/ops/test_attention.py",
            ),
            ("torch", "triton", "c++"),
            seconds=80,
        ),
    )
}
