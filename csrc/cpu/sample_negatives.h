// Item rows drawn with replacement; sample_negatives.cpp has the samplers.
#pragma once

#include <cstdint>

namespace b4r {

void sample_uniform(int64_t* rows, int64_t count, int64_t num_items, uint64_t seed, int threads);

// cumulative: (num_items,), the sums of the counts up to each row.
void sample_popularity(int64_t* rows, int64_t count, const int64_t* cumulative, int64_t num_items,
                       uint64_t seed, int threads);

constexpr int kExp2Terms = 14;

// log2_size = log2(num_items + 1). exp2: the kExp2Terms coefficients of the Taylor polynomial of
// 2^f, from the constant on.
void sample_log_uniform(int64_t* rows, int64_t count, int64_t num_items, double log2_size,
                        const double* exp2, uint64_t seed, int threads);

}  // namespace b4r
