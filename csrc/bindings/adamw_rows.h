#pragma once

#include "bindings/bind.h"
#include "cpu/adamw_rows.h"

inline void bind_adamw_rows(pybind11::module_& m) {
  m.def(
      "adamw_rows",
      [](Address table, Address exp_avg, Address exp_avg_sq, Address rows, Address gradient,
         int64_t count, int64_t d, double rate, double beta1, double beta2, double eps,
         double weight_decay, int64_t step, int threads) {
        b4r::adamw_rows(table, exp_avg, exp_avg_sq, rows, gradient, count, d,
                        {rate, beta1, beta2, eps, weight_decay, step}, threads);
      },
      without_gil());
}
