// The Python module of one instruction set.
#include "bindings/bind.h"

namespace py = pybind11;

namespace {

// The instruction sets, of those that modules are built for, that this CPU and its operating system run; the best one last.
py::list supported_instruction_sets() {
  py::list sets;
  sets.append("baseline");
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.append("avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      sets.append("avx512");
  }
#endif
  return sets;
}

}  // namespace

PYBIND11_MODULE(B4R_MODULE, m) {
  m.def("supported_instruction_sets", &supported_instruction_sets);
  bind_attention(m);
  bind_gelu_ffn(m);
  bind_machine_limits(m);
  bind_rank(m);
  bind_residual_layer_norm(m);
  bind_topk(m);
}
