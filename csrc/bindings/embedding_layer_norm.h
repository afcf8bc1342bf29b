#pragma once

#include "bindings/bind.h"
#include "cpu/embedding_layer_norm.h"

inline void bind_embedding_layer_norm(pybind11::module_& m) {
  m.def(
      "embedding_layer_norm",
      [](Address values, Address positions, Address items, Address position_table, Address weight,
         Address bias, Address y, Address mean, Address rstd, int64_t tokens, int64_t d, float eps,
         int64_t seed, int32_t threshold, int threads) {
        b4r::embedding_layer_norm({values, positions, items, position_table, tokens, d}, weight,
                                  bias, y, mean, rstd, eps, dropout(seed, threshold), threads);
      },
      without_gil());
  m.def(
      "embedding_layer_norm_backward",
      [](Address dy, Address values, Address positions, Address items, Address position_table,
         Address weight, Address mean, Address rstd, Address item_row, Address ditems,
         Address dposition_table, Address dweight, Address dbias, int64_t tokens, int64_t d,
         int64_t num_rows, int64_t num_positions, int64_t seed, int32_t threshold, int threads) {
        b4r::embedding_layer_norm_backward(
            dy, {values, positions, items, position_table, tokens, d}, item_row, num_rows,
            num_positions, weight, mean, rstd, ditems, dposition_table, dweight, dbias,
            dropout(seed, threshold), threads);
      },
      without_gil());
}
