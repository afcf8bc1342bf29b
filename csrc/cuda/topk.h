// The best items of each user; topk.cu says how.
#pragma once

#include "cuda/scores.h"

namespace b4r::cuda {

constexpr int64_t kMostKept = 1024;  // of k

// How many users a block serves: what `splits` is chosen by.
int64_t users_of_block(int64_t users, int64_t k);

// exclude: sorted within the lists, of which user i has those from offsets[i] to offsets[i + 1] - 1; null for none. best:
// workspace, (N, splits, k). scores: (N, k) of dtype. rows: (N, k).
void topk(const ScoredItems& in, int64_t k, const int64_t* exclude, const int32_t* offsets, int64_t* best, void* scores,
          int64_t* rows, Stream stream);

}  // namespace b4r::cuda
