#pragma once

#include "bindings/bind.h"
#include "cpu/machine_limits.h"

inline void bind_machine_limits(pybind11::module_& m) {
  m.def("fma_rate", &b4r::fma_rate, without_gil());
  m.def(
      "read_bandwidth",
      [](Address numbers, int64_t count, int threads) {
        return b4r::read_bandwidth(numbers, count, threads);
      },
      without_gil());
}
