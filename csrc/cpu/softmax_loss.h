// The softmax over a catalogue and its loss, forward and backward; softmax_loss.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

// hidden (rows, d), items (columns, d), bias (columns,) or null, targets (rows,): rows of items, or negative for a row without one.
struct SoftmaxInput {
  const float *hidden, *items, *bias;
  const int64_t* targets;
  int64_t rows, d, columns;
};

// loss, lse (rows,); dhidden (rows, d): the gradient of each row's own loss.
void softmax_loss(const SoftmaxInput& in, float* loss, float* dhidden, float* lse, int threads);

// Gradients of sum_i dloss_i loss_i. ditems (columns, d); dbias (columns,) or null.
void softmax_loss_backward(const float* dloss, const SoftmaxInput& in, const float* loss, const float* lse, float* ditems,
                           float* dbias, int threads);

// The sum of the losses and its gradients in one visit; false, and nothing written, where the catalogue is too large for that.
bool softmax_loss_sum(const SoftmaxInput& in, float* loss, float* dhidden, float* ditems, float* dbias, int threads);

}  // namespace b4r
