// AdamW on some rows of a table; adamw_rows.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

// step: how many there were, this one included.
struct AdamW {
  double rate, beta1, beta2, eps, weight_decay;
  int64_t step;
};

// table, exp_avg, exp_avg_sq: (V, d). rows: (count,) of them, each once. gradient: (count, d).
void adamw_rows(float* table, float* exp_avg, float* exp_avg_sq, const int64_t* rows,
                const float* gradient, int64_t count, int64_t d, const AdamW& adamw, int threads);

}  // namespace b4r
