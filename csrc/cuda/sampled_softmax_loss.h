// The softmax loss over a target and private negatives; sampled_softmax_loss.cu has the maths.
#pragma once

#include "cuda/tensors.h"

namespace b4r::cuda {

// hidden: (N, d). items: (V, d). bias: (V,) or null, elements of dtype. targets: (N,). negatives:
// (N, K). log_q: (N, K) or null.
struct SampledRows {
  Dtype dtype;
  const void *hidden, *items, *bias;
  const int64_t *targets, *negatives;
  const float* log_q;
  int64_t rows, num_negatives, d;  // N, K, d
};

// The most columns that the kernels take, by whether rows can be read 16 bytes at a time.
int64_t most_columns(Dtype dtype, bool in_vectors);

// loss, lse: (N,) fp32. dhidden: (N, d) of dtype.
void sampled_softmax_loss(const SampledRows& in, float* loss, void* dhidden, float* lse,
                          Stream stream);

// Of partials, how many numbers the backward wants.
int64_t partials_size(const SampledRows& in);

// dloss, loss, lse: (N,) fp32. ordered, order: (N (K + 1),), the row of the gradient that every
// entry adds to, none if negative, sorted, and which entry that is; entry n (K + 1) + k is negative
// k of row n, its target where k = K. ditems: (rows, d), dbias: (rows,) or null: zeros, of dtype;
// what no entry adds to stays. partials: workspace.
void sampled_softmax_loss_backward(const SampledRows& in, const float* dloss, const float* loss,
                                   const float* lse, const int64_t* ordered, const int64_t* order,
                                   void* ditems, void* dbias, float* partials, Stream stream);

}  // namespace b4r::cuda
