#pragma once

#include "bindings/bind.h"
#include "cpu/rank.h"

inline void bind_rank(pybind11::module_& m) {
  m.def(
      "rank",
      [](Address hidden, Address items, Address bias, Address targets, Address exclude, Address exclude_offsets, Address ranks,
         int64_t users, int64_t num_rows, int64_t d, int threads) {
        b4r::rank({hidden, items, bias, users, num_rows, d}, targets, row_lists(exclude, exclude_offsets, users, threads), ranks,
                  threads);
      },
      without_gil());
}
