#pragma once

#include "bindings/bind.h"
#include "cpu/sampled_softmax_loss.h"

inline void bind_sampled_softmax_loss(pybind11::module_& m) {
  m.def(
      "sampled_softmax_loss",
      [](Address hidden, Address items, Address bias, Address targets, Address negatives, Address log_q, int64_t rows, int64_t d,
         int64_t count, int64_t items_count, Address loss, Address dhidden, Address lse, int threads) {
        b4r::sampled_softmax_loss({hidden, items, bias, targets, negatives, log_q, rows, d, count, items_count}, loss, dhidden, lse,
                                  threads);
      },
      without_gil());
  m.def(
      "sampled_softmax_loss_backward",
      [](Address dloss, Address hidden, Address items, Address bias, Address targets, Address negatives, Address log_q,
         int64_t rows, int64_t d, int64_t count, int64_t items_count, Address loss, Address lse, Address ditems, Address dbias,
         int threads) {
        b4r::sampled_softmax_loss_backward(dloss, {hidden, items, bias, targets, negatives, log_q, rows, d, count, items_count},
                                           loss, lse, ditems, dbias, threads);
      },
      without_gil());
}
