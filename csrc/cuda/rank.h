// The rank of a target among all items; rank.cu says how.
#pragma once

#include "cuda/scores.h"

namespace b4r::cuda {

constexpr int kRowsOfRank = 32;  // that a block serves

// counts: (splits, N), how many items of a split are not below the target, itself among them.
// targets: (N,).
void count_not_below(const ScoredItems& in, const int64_t* targets, int64_t* counts, Stream stream);

// Takes off ranks (N,) what a row's list has that has been counted, each item once, but not the
// target. exclude: sorted within the lists, of which row i has those from offsets[i] to offsets[i +
// 1] - 1.
void subtract_excluded(const ScoredItems& in, const int64_t* targets, const int64_t* exclude,
                       const int32_t* offsets, int64_t* ranks, Stream stream);

}  // namespace b4r::cuda
