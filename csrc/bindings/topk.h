#pragma once

#include "bindings/bind.h"
#include "cpu/topk.h"

inline void bind_topk(pybind11::module_& m) {
  m.def(
      "topk",
      [](Address hidden, Address items, Address bias, Address exclude, Address exclude_offsets, Address candidates,
         int64_t candidate_lists, int64_t candidates_of_list, Address scores, Address rows, int64_t users, int64_t num_rows,
         int64_t d, int64_t k, int threads) {
        const b4r::RowLists chosen(candidates, candidate_lists, [=](int64_t i) { return i * candidates_of_list; }, threads);
        b4r::topk({hidden, items, bias, users, num_rows, d}, k, row_lists(exclude, exclude_offsets, users, threads), chosen, scores,
                  rows, threads);
      },
      without_gil());
}
