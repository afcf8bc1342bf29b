"""CUDA C++: not part of this release. Triton serves GPUs."""

DEVICES = ("cuda",)
DTYPES = ()
OPERATORS: dict = {}
UNAVAILABLE = "this release has no CUDA C++ kernels; GPU tensors are served by triton and reference"
