// The best items of each row; topk.cu says how.
#pragma once

#include "cuda/scores.h"

namespace b4r::cuda {

constexpr int64_t kMostKept = 1024;  // of k

// How many rows a block serves: what `splits` is chosen by.
int64_t rows_of_block(int64_t rows, int64_t k);

// exclude: sorted within the lists, of which row i has those from offsets[i] to offsets[i + 1] - 1;
// null for none. best: workspace, (N, splits, k). scores: (N, k) of dtype. item_rows: (N, k).
void topk(const ScoredItems& in, int64_t k, const int64_t* exclude, const int32_t* offsets,
          int64_t* best, void* scores, int64_t* item_rows, Stream stream);

}  // namespace b4r::cuda
