#pragma once

#include "bindings/bind.h"
#include "cpu/residual_layer_norm.h"

inline void bind_residual_layer_norm(pybind11::module_& m) {
  m.def(
      "residual_layer_norm",
      [](Address x, Address sublayer, Address weight, Address bias, Address y, Address mean,
         Address rstd, int64_t rows, int64_t d, float eps, int64_t seed, int32_t threshold,
         int threads) {
        b4r::residual_layer_norm(x, sublayer, weight, bias, y, mean, rstd, rows, d, eps,
                                 dropout(seed, threshold), threads);
      },
      without_gil());
  m.def(
      "residual_layer_norm_backward",
      [](Address dy, Address x, Address sublayer, Address weight, Address mean, Address rstd,
         Address dx, Address dsublayer, Address dweight, Address dbias, int64_t rows, int64_t d,
         int64_t seed, int32_t threshold, int threads) {
        b4r::residual_layer_norm_backward(dy, x, sublayer, weight, mean, rstd, dx, dsublayer,
                                          dweight, dbias, rows, d, dropout(seed, threshold),
                                          threads);
      },
      without_gil());
}
