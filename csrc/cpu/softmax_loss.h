// The softmax over a catalogue and its loss, forward and backward; softmax_loss.cpp has the maths.
#pragma once

#include <cstdint>

namespace b4r {

// hidden (rows, d), items (columns, d), bias (columns,) or null: a row's logits. targets (rows,):
// negative for a row without one. Where nothing is sampled the targets are columns themselves. Else
// column k stands for row negatives[k] of a larger table, which the targets are rows of too:
// target_items, target_bias; a column that stands for a row's own target is left out of that row.
struct SoftmaxInput {
  const float *hidden, *items, *bias;
  const int64_t* targets;
  int64_t rows, d, columns;
  bool sampled = false;  // without one negative too, when a pointer to them may be null
  const int64_t* negatives = nullptr;
  const float *target_items = nullptr, *target_bias = nullptr;

  const float* target_item(int64_t row) const {
    return (sampled ? target_items : items) + targets[row] * d;
  }
  float target_bias_of(int64_t row) const {
    const float* b = sampled ? target_bias : bias;
    return b != nullptr ? b[targets[row]] : 0.0f;
  }
};

// loss, lse (rows,); dhidden (rows, d): the gradient of each row's own loss.
void softmax_loss(const SoftmaxInput& in, float* loss, float* dhidden, float* lse, int threads);

// Gradients of sum_i dloss_i loss_i. ditems (columns, d); dbias (columns,) or null. Where
// sampled, those of the columns alone.
void softmax_loss_backward(const float* dloss, const SoftmaxInput& in, const float* loss,
                           const float* lse, float* ditems, float* dbias, int threads);

// sum_i weights_i loss_i and its gradients in one visit, where nothing is sampled; weights (rows,),
// or null for 1 each. False, and nothing written, where the catalogue is too large.
bool softmax_loss_sum(const SoftmaxInput& in, const float* weights, float* loss, float* dhidden,
                      float* ditems, float* dbias, int threads);

}  // namespace b4r
