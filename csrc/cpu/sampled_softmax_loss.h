// The softmax loss over the target and negatives that all rows share; sampled_softmax_loss.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

// hidden (rows, d), items (V, d), bias (V,) or null, targets (rows,), negatives (count,) rows of items, log_q (count,) or null.
struct SampledInput {
  const float *hidden, *items, *bias;
  const int64_t *targets, *negatives;
  const float* log_q;
  int64_t rows, d, count, items_count;
};

// loss, lse (rows,); dhidden (rows, d): the gradient of each row's own loss.
void sampled_softmax_loss(const SampledInput& in, float* loss, float* dhidden, float* lse, int threads);

// Gradients of sum_i dloss_i loss_i. ditems (V, d); dbias (V,) or null.
void sampled_softmax_loss_backward(const float* dloss, const SampledInput& in, const float* loss, const float* lse, float* ditems,
                                   float* dbias, int threads);

}  // namespace b4r
