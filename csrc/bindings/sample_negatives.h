#pragma once

#include "bindings/bind.h"
#include "cpu/sample_negatives.h"

inline void bind_sample_negatives(pybind11::module_& m) {
  m.def(
      "sample_uniform",
      [](Address rows, int64_t count, int64_t num_items, int64_t seed, int threads) {
        b4r::sample_uniform(rows, count, num_items, static_cast<uint64_t>(seed), threads);
      },
      without_gil());
  m.def(
      "sample_popularity",
      [](Address rows, int64_t count, Address cumulative, int64_t num_items, int64_t seed,
         int threads) {
        b4r::sample_popularity(rows, count, cumulative, num_items, static_cast<uint64_t>(seed),
                               threads);
      },
      without_gil());
  m.def(
      "sample_log_uniform",
      [](Address rows, int64_t count, int64_t num_items, double log2_size, Address exp2,
         int64_t seed, int threads) {
        b4r::sample_log_uniform(rows, count, num_items, log2_size, exp2,
                                static_cast<uint64_t>(seed), threads);
      },
      without_gil());
}
