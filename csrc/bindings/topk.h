#pragma once

#include "bindings/bind.h"
#include "cpu/topk.h"

inline void bind_topk(pybind11::module_& m) {
  m.def(
      "topk",
      [](Address hidden, Address items, Address bias, Address exclude, Address exclude_offsets,
         Address candidates, int64_t candidate_lists, int64_t candidates_of_list, Address scores,
         Address best, int64_t rows, int64_t num_items, int64_t d, int64_t k, int threads) {
        const b4r::ItemLists chosen(
            candidates, candidate_lists, [=](int64_t i) { return i * candidates_of_list; },
            threads);
        b4r::topk({hidden, items, bias, rows, num_items, d}, k,
                  item_lists(exclude, exclude_offsets, rows, threads), chosen, scores, best,
                  threads);
      },
      without_gil());
}
