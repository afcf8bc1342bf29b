#pragma once

#include "bindings/bind.h"
#include "cpu/linear_gelu_layer_norm.h"

inline void bind_linear_gelu_layer_norm(pybind11::module_& m) {
  m.def(
      "gelu_layer_norm",
      [](Address u, Address weight, Address bias, Address y, Address mean, Address rstd,
         int64_t rows, int64_t d, float eps, bool tanh, int threads) {
        b4r::gelu_layer_norm(u, weight, bias, y, mean, rstd, rows, d, eps, tanh, threads);
      },
      without_gil());
  m.def(
      "gelu_layer_norm_backward",
      [](Address dy, Address u, Address weight, Address mean, Address rstd, Address du,
         Address dweight, Address dbias, int64_t rows, int64_t d, bool tanh, int threads) {
        b4r::gelu_layer_norm_backward(dy, u, weight, mean, rstd, du, dweight, dbias, rows, d, tanh,
                                      threads);
      },
      without_gil());
}
