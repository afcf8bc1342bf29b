// What rank and topk score.
#pragma once

#include "cuda/tensors.h"

namespace b4r::cuda {

// hidden: (N, d). items: (V, d). bias: (V,) or null. Elements of dtype. splits: parts of the
// catalogue, each walked over by blocks of its own.
struct ScoredItems {
  Dtype dtype;
  const void *hidden, *items, *bias;
  int64_t rows, num_items, d;
  int64_t splits;
};

// The most columns that the kernels take.
constexpr int64_t kMostColumns = 512;

// Items that a block scores at a time: splits are multiples of it.
constexpr int kItems = 128;

}  // namespace b4r::cuda
