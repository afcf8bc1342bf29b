#pragma once

#include "bindings/bind.h"
#include "cpu/linear.h"

inline void bind_linear(pybind11::module_& m) {
  m.def(
      "linear",
      [](Address x, Address w, Address b, Address y, int64_t rows, int64_t in, int64_t out,
         int threads) { b4r::linear(x, w, b, y, {rows, in, out}, threads); },
      without_gil());
  m.def(
      "linear_backward",
      [](Address dy, Address x, Address w, Address dx, Address dw, Address db, int64_t rows,
         int64_t in, int64_t out,
         int threads) { b4r::linear_backward(dy, x, w, dx, dw, db, {rows, in, out}, threads); },
      without_gil());
}
