#pragma once

#include "bindings/bind.h"
#include "cpu/sampled_softmax_loss.h"

inline void bind_sampled_softmax_loss(pybind11::module_& m) {
  m.def(
      "sampled_softmax_loss",
      [](Address hidden, Address items, Address bias, Address targets, Address negatives,
         Address log_q, int64_t rows, int64_t d, int64_t count, bool shared, Address loss,
         Address dhidden, Address lse, int threads) {
        b4r::sampled_softmax_loss(
            {hidden, items, bias, targets, negatives, log_q, rows, d, count, shared}, loss, dhidden,
            lse, threads);
      },
      without_gil());
  m.def(
      "sampled_softmax_loss_backward",
      [](Address dloss, Address hidden, Address items, Address bias, Address targets,
         Address negatives, Address log_q, Address loss, Address lse, Address target_row,
         Address negative_row, int64_t rows, int64_t d, int64_t count, bool shared,
         int64_t num_rows, Address ditems, Address dbias, int threads) {
        b4r::sampled_softmax_loss_backward(
            dloss, {hidden, items, bias, targets, negatives, log_q, rows, d, count, shared}, loss,
            lse, {target_row, negative_row, num_rows, ditems, dbias}, threads);
      },
      without_gil());
}
