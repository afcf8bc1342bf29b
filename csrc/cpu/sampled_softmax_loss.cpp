// The softmax loss over the target and K negatives n_k shared by all rows: logits z_ik = h_i . C_{n_k} + b_{n_k} - log q_k, and
// z_it.
//
// It is softmax_loss over a table of K gathered rows, with the target beside it instead of in it; a negative that is the row's own
// target is left out. The gradients of the K rows, and -q_i dloss_i h_i of the targets, are added to the table in the order of
// negatives, then rows. Everything written is overwritten. Operations: 8 N K d. Memory: K rows, and a dense gradient of the table.
#include "cpu/sampled_softmax_loss.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/softmax_loss.h"

namespace b4r {
namespace {

SoftmaxInput gather(Scratch& scratch, const SampledInput& in) {
  float *rows = scratch.take(in.count * in.d), *bias = scratch.take(in.count);
  for (int64_t k = 0; k < in.count; ++k) {
    std::copy_n(in.items + in.negatives[k] * in.d, in.d, rows + k * in.d);
    bias[k] = (in.bias != nullptr ? in.bias[in.negatives[k]] : 0.0f) - (in.log_q != nullptr ? in.log_q[k] : 0.0f);
  }
  return {in.hidden, rows, bias, in.targets, in.rows, in.d, in.count, in.negatives, in.items, in.bias};
}

}  // namespace

void sampled_softmax_loss(const SampledInput& in, float* loss, float* dhidden, float* lse, int threads) {
  Scratch scratch;
  softmax_loss(gather(scratch, in), loss, dhidden, lse, threads);
}

void sampled_softmax_loss_backward(const float* dloss, const SampledInput& in, const float* loss, const float* lse, float* ditems,
                                   float* dbias, int threads) {
  constexpr int64_t kZeros = int64_t{1} << 18;  // floats that a task clears: 1 MB
  Scratch scratch;
  float *drows = scratch.take(in.count * in.d), *drow_bias = scratch.take(in.count);
  softmax_loss_backward(dloss, gather(scratch, in), loss, lse, drows, drow_bias, threads);
  const int64_t size = in.items_count * in.d;
  parallel_for(threads, blocks_of(size, kZeros),
               [&](int64_t task) { std::fill(ditems + task * kZeros, ditems + std::min(size, (task + 1) * kZeros), 0.0f); });
  if (dbias != nullptr) std::fill_n(dbias, in.items_count, 0.0f);
  const auto add = [&](int64_t item, float factor, const float* row, float bias) {
    float* to = ditems + item * in.d;
    for (int64_t c = 0; c < in.d; ++c) to[c] += factor * row[c];
    if (dbias != nullptr) dbias[item] += bias;
  };
  for (int64_t k = 0; k < in.count; ++k) add(in.negatives[k], 1.0f, drows + k * in.d, drow_bias[k]);
  for (int64_t i = 0; i < in.rows; ++i) {
    if (in.targets[i] < 0) continue;
    const float dlogit = std::expm1(-loss[i]) * dloss[i];
    add(in.targets[i], dlogit, in.hidden + i * in.d, dlogit);
  }
}

}  // namespace b4r
