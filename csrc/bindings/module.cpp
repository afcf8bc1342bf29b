// The Python module of one instruction set. One translation unit, since pybind11 costs each of them
// seconds.
#include "bindings/adamw_rows.h"
#include "bindings/attention.h"
#include "bindings/cloze_mask.h"
#include "bindings/dropout.h"
#include "bindings/embedding_layer_norm.h"
#include "bindings/gelu_ffn.h"
#include "bindings/linear.h"
#include "bindings/linear_gelu_layer_norm.h"
#include "bindings/machine_limits.h"
#include "bindings/rank.h"
#include "bindings/residual_layer_norm.h"
#include "bindings/sample_negatives.h"
#include "bindings/sampled_softmax_loss.h"
#include "bindings/softmax_loss.h"
#include "bindings/topk.h"

namespace py = pybind11;

namespace {

// The instruction sets, of those that modules are built for, that this CPU and its operating system
// run; the best one last.
py::list supported_instruction_sets() {
  py::list sets;
  sets.append("baseline");
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.append("avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      sets.append("avx512");
  }
#endif
  return sets;
}

}  // namespace

PYBIND11_MODULE(B4R_MODULE, m) {
  m.def("supported_instruction_sets", &supported_instruction_sets);
  bind_adamw_rows(m);
  bind_attention(m);
  bind_cloze_mask(m);
  bind_dropout(m);
  bind_embedding_layer_norm(m);
  bind_gelu_ffn(m);
  bind_linear(m);
  bind_linear_gelu_layer_norm(m);
  bind_machine_limits(m);
  bind_rank(m);
  bind_residual_layer_norm(m);
  bind_sample_negatives(m);
  bind_sampled_softmax_loss(m);
  bind_softmax_loss(m);
  bind_topk(m);
}
