#pragma once

#include "bindings/bind.h"
#include "cpu/rank.h"

inline void bind_rank(pybind11::module_& m) {
  m.def(
      "rank",
      [](Address hidden, Address items, Address bias, Address targets, Address exclude,
         Address exclude_offsets, Address ranks, int64_t rows, int64_t num_items, int64_t d,
         int threads) {
        b4r::rank({hidden, items, bias, rows, num_items, d}, targets,
                  item_lists(exclude, exclude_offsets, rows, threads), ranks, threads);
      },
      without_gil());
}
