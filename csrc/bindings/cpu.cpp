// The Python module of one instruction set: addresses and sizes in, nothing else. Python checks shapes, dtypes and contiguity.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpu/residual_layer_norm.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;

float* to(Address address) { return reinterpret_cast<float*>(address); }

b4r::Dropout dropout(int64_t seed, int32_t threshold) {
  return {static_cast<uint64_t>(seed), threshold, 65536.0f / static_cast<float>(65536 - threshold)};
}

void residual_layer_norm(Address x, Address sublayer, Address weight, Address bias, Address y, Address mean, Address rstd,
                         int64_t rows, int64_t d, float eps, int64_t seed, int32_t threshold, int threads) {
  b4r::residual_layer_norm(to(x), to(sublayer), to(weight), to(bias), to(y), to(mean), to(rstd), rows, d, eps,
                           dropout(seed, threshold), threads);
}

void residual_layer_norm_backward(Address dy, Address x, Address sublayer, Address weight, Address mean, Address rstd, Address dx,
                                  Address dsublayer, Address dweight, Address dbias, Address partials, int64_t rows, int64_t d,
                                  int64_t seed, int32_t threshold, int threads) {
  b4r::residual_layer_norm_backward(to(dy), to(x), to(sublayer), to(weight), to(mean), to(rstd), to(dx), to(dsublayer), to(dweight),
                                    to(dbias), to(partials), rows, d, dropout(seed, threshold), threads);
}

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
  const py::call_guard<py::gil_scoped_release> without_gil;
  m.def("residual_layer_norm", &residual_layer_norm, without_gil);
  m.def("residual_layer_norm_backward", &residual_layer_norm_backward, without_gil);
  m.def("supported_instruction_sets", &supported_instruction_sets);
  m.attr("NORM_ROWS_PER_TASK") = b4r::kNormRowsPerTask;
}
