#pragma once

#include "bindings/bind.h"
#include "cpu/gelu_ffn.h"

inline void bind_gelu_ffn(pybind11::module_& m) {
  m.def(
      "gelu_ffn",
      [](Address x, Address w1, Address b1, Address w2, Address b2, Address y, int64_t rows,
         int64_t d, int64_t f, bool tanh,
         int threads) { b4r::gelu_ffn(x, w1, b1, w2, b2, y, {rows, d, f}, tanh, threads); },
      without_gil());
  m.def(
      "gelu_ffn_backward",
      [](Address dy, Address x, Address w1, Address b1, Address w2, Address dx, Address dw1,
         Address db1, Address dw2, Address db2, int64_t rows, int64_t d, int64_t f, bool tanh,
         int threads) {
        b4r::gelu_ffn_backward(dy, x, w1, b1, w2, dx, dw1, db1, dw2, db2, {rows, d, f}, tanh,
                               threads);
      },
      without_gil());
}
