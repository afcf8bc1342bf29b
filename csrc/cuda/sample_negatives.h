// Item rows drawn with replacement; sample_negatives.cu has the samplers.
#pragma once

#include "cuda/tensors.h"

namespace b4r::cuda {

// Where draws go. rows: (count,) item rows. log_q: (count,), the log of how often each is expected
// among `expected` draws. seed: one int64, on the device.
struct Draws {
  int64_t* rows;
  float* log_q;
  int64_t count;
  double expected;
  const int64_t* seed;
};

void sample_uniform(const Draws& draws, int64_t num_items, Stream stream);

constexpr int kExp2Terms = 14;

// log2_size = log2(num_items + 1). exp2: on the host, the coefficients of the Taylor polynomial of
// 2^f, from the constant on.
void sample_log_uniform(const Draws& draws, int64_t num_items, double log2_size, const double* exp2,
                        Stream stream);

// Of guide, how many numbers sample_popularity wants.
int64_t guide_size(int64_t count, int64_t num_items);

// counts, cumulative: (num_items,), and the sums up to each row. guide: workspace.
void sample_popularity(const Draws& draws, const int64_t* counts, const int64_t* cumulative,
                       int64_t num_items, int64_t* guide, Stream stream);

}  // namespace b4r::cuda
