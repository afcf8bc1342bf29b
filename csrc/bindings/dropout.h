#pragma once

#include "bindings/bind.h"
#include "cpu/dropout.h"

inline void bind_dropout(pybind11::module_& m) {
  m.def(
      "dropout",
      [](Address x, Address y, int64_t rows, int64_t d, int64_t seed, int32_t threshold,
         int threads) { b4r::dropout(x, y, rows, d, dropout(seed, threshold), threads); },
      without_gil());
}
