// The softmax loss over the target and sampled negatives; sampled_softmax_loss.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

// hidden (rows, d), items (V, d), bias (V,) or null, targets (rows,). negatives: rows of items,
// (count,) that all rows share or (rows, count) private; log_q of the same shape, or null.
struct SampledInput {
  const float *hidden, *items, *bias;
  const int64_t *targets, *negatives;
  const float* log_q;
  int64_t rows, d, count;
  bool shared;
};

// ditems (rows, d) and dbias (rows,) or null: for the whole table target_row and negative_row are
// targets and negatives; for the rows alone that those name, their places among the unique ones.
struct ItemGradient {
  const int64_t *target_row, *negative_row;
  int64_t rows;
  float *ditems, *dbias;
};

// loss, lse (rows,); dhidden (rows, d): the gradient of each row's own loss.
void sampled_softmax_loss(const SampledInput& in, float* loss, float* dhidden, float* lse,
                          int threads);

// Gradients of sum_i dloss_i loss_i.
void sampled_softmax_loss_backward(const float* dloss, const SampledInput& in, const float* loss,
                                   const float* lse, const ItemGradient& out, int threads);

}  // namespace b4r
