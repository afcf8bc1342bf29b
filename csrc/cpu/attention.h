// Bidirectional attention over packed sequences, forward and backward; attention.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace b4r {

// A tensor (tokens, heads, head size) whose heads lie one after the other; `token` floats from one
// token to the next.
template <class T>
struct Heads {
  T* data;
  int64_t token;
};

// Sequence b owns the rows cu_q[b] .. cu_q[b + 1] - 1 of q and the tokens cu_k[b] .. cu_k[b + 1] -
// 1 of k and v.
struct AttentionShape {
  const int32_t *cu_q, *cu_k;
  int64_t sequences, heads, d;
  float scale;
};

void attention(Heads<const float> q, Heads<const float> k, Heads<const float> v, Heads<float> out,
               float* lse, const AttentionShape& shape, const Dropout& dropout, int threads);

void attention_backward(Heads<const float> dout, Heads<const float> q, Heads<const float> k,
                        Heads<const float> v, Heads<const float> out, const float* lse,
                        Heads<float> dq, Heads<float> dk, Heads<float> dv,
                        const AttentionShape& shape, const Dropout& dropout, int threads);

}  // namespace b4r
