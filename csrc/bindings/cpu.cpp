// The Python module of one instruction set: addresses and sizes in, nothing else. Python checks shapes, dtypes and contiguity.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpu/attention.h"
#include "cpu/gelu_ffn.h"
#include "cpu/residual_layer_norm.h"

namespace py = pybind11;

namespace {

// What Python hands over: the address of a tensor's first element, 0 where there is none.
struct Address {
  std::uintptr_t value;
  template <class T>
  operator T*() const {
    return reinterpret_cast<T*>(value);
  }
};

b4r::Dropout dropout(int64_t seed, int32_t threshold) {
  return {static_cast<uint64_t>(seed), threshold, 65536.0f / static_cast<float>(65536 - threshold)};
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

namespace pybind11::detail {
template <>
struct type_caster<Address> {
  PYBIND11_TYPE_CASTER(Address, const_name("int"));
  bool load(handle source, bool) {
    value.value = PyLong_AsSize_t(source.ptr());
    return !PyErr_Occurred();
  }
};
}  // namespace pybind11::detail

PYBIND11_MODULE(B4R_MODULE, m) {
  const py::call_guard<py::gil_scoped_release> without_gil;
  m.def("supported_instruction_sets", &supported_instruction_sets);

  m.def(
      "attention",
      [](Address q, int64_t q_token, Address k, int64_t k_token, Address v, int64_t v_token, Address out, Address lse, Address cu_q,
         Address cu_k, int64_t sequences, int64_t heads, int64_t d, float scale, int64_t seed, int32_t threshold, int threads) {
        b4r::attention({q, q_token}, {k, k_token}, {v, v_token}, {out, heads * d}, lse, {cu_q, cu_k, sequences, heads, d, scale},
                       dropout(seed, threshold), threads);
      },
      without_gil);
  m.def(
      "attention_backward",
      [](Address dout, Address q, int64_t q_token, Address k, int64_t k_token, Address v, int64_t v_token, Address out, Address lse,
         Address dq, Address dk, Address dv, Address cu_q, Address cu_k, int64_t sequences, int64_t heads, int64_t d, float scale,
         int64_t seed, int32_t threshold, int threads) {
        const int64_t token = heads * d;
        b4r::attention_backward({dout, token}, {q, q_token}, {k, k_token}, {v, v_token}, {out, token}, lse, {dq, token}, {dk, token},
                                {dv, token}, {cu_q, cu_k, sequences, heads, d, scale}, dropout(seed, threshold), threads);
      },
      without_gil);

  m.attr("NORM_ROWS_PER_TASK") = b4r::kNormRowsPerTask;
  m.def(
      "residual_layer_norm",
      [](Address x, Address sublayer, Address weight, Address bias, Address y, Address mean, Address rstd, int64_t rows, int64_t d,
         float eps, int64_t seed, int32_t threshold, int threads) {
        b4r::residual_layer_norm(x, sublayer, weight, bias, y, mean, rstd, rows, d, eps, dropout(seed, threshold), threads);
      },
      without_gil);
  m.def(
      "residual_layer_norm_backward",
      [](Address dy, Address x, Address sublayer, Address weight, Address mean, Address rstd, Address dx, Address dsublayer,
         Address dweight, Address dbias, Address partials, int64_t rows, int64_t d, int64_t seed, int32_t threshold, int threads) {
        b4r::residual_layer_norm_backward(dy, x, sublayer, weight, mean, rstd, dx, dsublayer, dweight, dbias, partials, rows, d,
                                          dropout(seed, threshold), threads);
      },
      without_gil);

  m.def(
      "gelu_ffn",
      [](Address x, Address w1, Address b1, Address w2, Address b2, Address y, int64_t rows, int64_t d, int64_t f, bool tanh,
         int threads) { b4r::gelu_ffn(x, w1, b1, w2, b2, y, {rows, d, f}, tanh, threads); },
      without_gil);
  m.def(
      "gelu_ffn_backward",
      [](Address dy, Address x, Address w1, Address b1, Address w2, Address dx, Address dw1, Address db1, Address dw2, Address db2,
         int64_t rows, int64_t d, int64_t f, bool tanh, int threads) {
        b4r::gelu_ffn_backward(dy, x, w1, b1, w2, dx, dw1, db1, dw2, db2, {rows, d, f}, tanh, threads);
      },
      without_gil);
}
