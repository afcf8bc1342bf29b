#pragma once

#include "bindings/bind.h"
#include "cpu/softmax_loss.h"

inline void bind_softmax_loss(pybind11::module_& m) {
  m.def(
      "softmax_loss",
      [](Address hidden, Address items, Address bias, Address targets, int64_t rows, int64_t d,
         int64_t columns, Address loss, Address dhidden, Address lse, int threads) {
        b4r::softmax_loss({hidden, items, bias, targets, rows, d, columns}, loss, dhidden, lse,
                          threads);
      },
      without_gil());
  m.def(
      "softmax_loss_backward",
      [](Address dloss, Address hidden, Address items, Address bias, Address targets, int64_t rows,
         int64_t d, int64_t columns, Address loss, Address lse, Address ditems, Address dbias,
         int threads) {
        b4r::softmax_loss_backward(dloss, {hidden, items, bias, targets, rows, d, columns}, loss,
                                   lse, ditems, dbias, threads);
      },
      without_gil());
  m.def(
      "softmax_loss_sum",
      [](Address hidden, Address items, Address bias, Address targets, Address weights,
         int64_t rows, int64_t d, int64_t columns, Address loss, Address dhidden, Address ditems,
         Address dbias, int threads) {
        return b4r::softmax_loss_sum({hidden, items, bias, targets, rows, d, columns}, weights,
                                     loss, dhidden, ditems, dbias, threads);
      },
      without_gil());
}
