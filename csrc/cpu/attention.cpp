// o = (P M) v with P = softmax(scale q k^T) within a sequence and head, M = keep / keep rate; lse =
// log sum exp(scale q k^T). Backward, delta = rowsum(do o), dP = do v^T: dv = (P M)^T do, dS = P (M
// dP - delta), dq = scale dS k, dk = scale dS^T q.
//
// q, o and their gradients: (R, heads, d). k, v and theirs: (T, heads, d). lse: (heads, R).
// Everything written is overwritten. Operations of n rows and n keys: forward 4 n^2 d, backward 8
// n^2 d and 2 n^2 d to compute the scores again; an exp each, and a quarter of a Philox call of 8
// fields for two. Scores exist for a block of rows of one sequence and head: 256 KB, or kMinRows
// rows.
//
// One sequence and head is one unit of work, and no state crosses units, so the bits do not depend
// on the threads. In a unit:
//   kt, vt     k and v transposed, in panels of P keys [keys div P][d][P]: right-hand sides of the
//              scores and of dP
//   kn, vn     k and v in panels of P of d [d div P][keys][P]: right-hand sides of dq and o
//   qn, don    q and do in panels of P of d [d div P][rows][P]: right-hand sides of dk and dv
//   p, ds      scores, then probabilities; their gradient: in panels of P keys [keys div
//              P][rows][P]
// Exponents are of base 2, scores of none. Where |q| |k| bounds the scores they need no maximum;
// elsewhere a first pass finds it.
#include "cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/parallel.h"
#include "core/rows.h"

namespace b4r {
namespace {

constexpr int64_t kScoreFloats = int64_t{1} << 16;  // of a block of rows: 256 KB
constexpr int64_t kMinRows = 24, kMaxRows = 480;

int64_t rows_of_block(int64_t rows, int64_t keys) {
  const int64_t limit = std::clamp(kScoreFloats / std::max<int64_t>(keys, 1), kMinRows, kMaxRows);
  const int64_t blocks = (rows + limit - 1) / limit;
  return (rows + blocks - 1) / std::max<int64_t>(blocks, 1);
}

// maximum(i, .) = the largest scores of M rows so far, one a lane.
template <int M>
B4R_NOINLINE void largest_score_tile(const float* q, int64_t token, const float* kt, int64_t d,
                                     int64_t keys, float scale, float* maximum) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, q, token, 1, kt, d);
  for_vectors(c, [&](int i, int v, Vec s) {
    if (v * kWidth >= keys) return;
    const Int real = first_lanes(keys - v * kWidth);
    float* to = maximum + i * kWidth;
    store(to, larger(load(to), real ? s * broadcast(scale) : broadcast(-INFINITY)));
  });
}

// p = 2^(scale s - maximum) M rate for M rows and P keys, and its sum before dropout onto total(i,
// .).
template <bool DROPOUT, int M>
B4R_NOINLINE void probability_tile(const float* q, int64_t token, const float* kt, int64_t d,
                                   int64_t keys, float scale, const float* minus_maximum,
                                   const Keep* keep, float* p, float* total) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, q, token, 1, kt, d);
  for_vectors(c, [&](int i, int v, Vec s) {
    Vec e = exp2(fma(s, broadcast(scale), broadcast(minus_maximum[i])));
    if (keys < kPanel) e = keep_where(first_lanes(keys - v * kWidth), e);
    float* sum = total + i * kWidth;
    store(sum, load(sum) + e);
    if constexpr (DROPOUT) e = keep_where(keep + i * kPanel + v * kWidth, e);
    store(p + i * kPanel + v * kWidth, e);
  });
}

// out(i, .) = factor_i sum over keys of A(i, key) B(key, .), A in panels.
template <int M>
B4R_NOINLINE void over_keys_tile(const float* a, int64_t stride, const float* b, int64_t keys,
                                 const float* factor, float* out, int64_t token, int64_t columns) {
  Tile<M> c;
  set_zero(c);
  multiply_add_panels(c, a, stride, b, keys);
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] = c.at[i][v] * broadcast(factor[i]);
  write(c, out, token, columns, false);
}

// p = 2^(scale s - lse) / rate, the probability times what dropout scales kept ones by.
template <int M>
B4R_NOINLINE void scaled_probability_tile(const float* q, int64_t token, const float* kt, int64_t d,
                                          float scale, const float* minus_lse, float* p) {
  Tile<M> c;
  set_zero(c);  // starting at minus_lse would round every step to the digits of lse
  multiply_add(c, q, token, 1, kt, d);
  for_vectors(c, [&](int i, int v, Vec s) {
    store(p + i * kPanel + v * kWidth, exp2(fma(s, broadcast(scale), broadcast(minus_lse[i]))));
  });
}

// ds = p (keep dP - rate delta), then p = p where kept, for M rows and P keys.
template <bool DROPOUT, int M>
B4R_NOINLINE void dscore_tile(const float* dout, int64_t token, const float* vt, int64_t d,
                              const float* minus_delta, const Keep* keep, float* p, float* ds) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, dout, token, 1, vt, d);
  for_vectors(c, [&](int i, int v, Vec dp) {
    float* at = p + i * kPanel + v * kWidth;
    const Vec probability = load(at);
    if constexpr (DROPOUT) {
      const Keep* mask = keep + i * kPanel + v * kWidth;
      dp = keep_where(mask, dp);
      store(at, keep_where(mask, probability));
    }
    store(ds + i * kPanel + v * kWidth, probability * (dp + broadcast(minus_delta[i])));
  });
}

// out(key, .) = or += factor sum over rows of A(row, key) B(row, .), A one panel.
template <int M>
B4R_NOINLINE void over_rows_tile(const float* a, const float* b, int64_t rows, float factor,
                                 float* out, int64_t token, int64_t columns, bool add) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, a, 1, kPanel, b, rows);
  const Vec f = broadcast(factor);
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] = c.at[i][v] * f;
  write(c, out, token, columns, add);
}

void fill_zero(float* x, int64_t token, int64_t tokens, int64_t d) {
  for (int64_t t = 0; t < tokens; ++t) std::fill_n(x + t * token, d, 0.0f);
}

// One sequence and head: n rows of q, `keys` tokens of k and v. first_row: the row of q in the
// whole batch.
struct Unit {
  int64_t n, keys, first_row, head;
};

template <bool DROPOUT>
void forward_unit(const float* q, int64_t q_token, const float* k, int64_t k_token, const float* v,
                  int64_t v_token, float* out, int64_t out_token, float* lse, const Unit& unit,
                  const AttentionShape& s, const Dropout& dropout) {
  const int64_t d = s.d, n = unit.n, keys = unit.keys;
  if (keys == 0 || n == 0) {
    fill_zero(out, out_token, n, d);
    std::fill_n(lse, n, -INFINITY);
    return;
  }
  const int64_t block = rows_of_block(n, keys), stride = panel_stride(block);
  Scratch scratch;
  float *kt = scratch.take(panels(keys) * d * kPanel),
        *vn = scratch.take(panels(d) * keys * kPanel);
  float *p = scratch.take(panels(keys) * stride), *maximum = scratch.take(block * kWidth),
        *total = scratch.take(block * kWidth);
  float *minus_maximum = scratch.take(block), *factor = scratch.take(block);
  Keep* keep = reinterpret_cast<Keep*>(scratch.take((block + kLanes) * kPanel / 2));
  pack_panels(k, 1, k_token, d, keys, d * kPanel, kt);
  pack_panels(v, v_token, 1, keys, d, keys * kPanel, vn);
  const float scale = s.scale * kLog2E,
              bound = std::fabs(scale) * largest_norm(k, k_token, keys, d);

  for (int64_t first = 0; first < n; first += block) {
    const int64_t rows = std::min(block, n - first);
    const float* qb = q + first * q_token;
    std::fill_n(minus_maximum, rows, 0.0f);
    if (!(bound * largest_norm(qb, q_token, rows, d) <= kSafeExponent)) {
      std::fill_n(maximum, rows * kWidth, -INFINITY);
      for (int64_t j = 0; j < panels(keys); ++j) {
        for_tiles(rows, [&](auto m, int64_t i) {
          largest_score_tile<m>(qb + i * q_token, q_token, kt + j * d * kPanel, d,
                                keys - j * kPanel, scale, maximum + i * kWidth);
        });
      }
      for (int64_t i = 0; i < rows; ++i)
        minus_maximum[i] = -*std::max_element(maximum + i * kWidth, maximum + (i + 1) * kWidth);
    }
    std::fill_n(total, rows * kWidth, 0.0f);
    for (int64_t j = 0; j < panels(keys); ++j) {
      if constexpr (DROPOUT)
        keep_panel(dropout, unit.first_row + first, rows, j * kPanel, kPanel, unit.head, keep);
      for_tiles(rows, [&](auto m, int64_t i) {
        probability_tile<DROPOUT, m>(qb + i * q_token, q_token, kt + j * d * kPanel, d,
                                     keys - j * kPanel, scale, minus_maximum + i, keep + i * kPanel,
                                     p + j * stride + i * kPanel, total + i * kWidth);
      });
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float sum_of_row = sum(load(total + i * kWidth));
      factor[i] = dropout.scale / sum_of_row;
      lse[first + i] = std::log(sum_of_row) - minus_maximum[i] * kLn2;
    }
    for (int64_t c = 0; c < panels(d); ++c) {
      for_tiles(rows, [&](auto m, int64_t i) {
        over_keys_tile<m>(p + i * kPanel, stride, vn + c * keys * kPanel, keys, factor + i,
                          out + (first + i) * out_token + c * kPanel, out_token, d - c * kPanel);
      });
    }
  }
}

template <bool DROPOUT>
void backward_unit(const float* dout, int64_t dout_token, const float* q, int64_t q_token,
                   const float* k, int64_t k_token, const float* v, int64_t v_token,
                   const float* out, int64_t out_token, const float* lse, float* dq,
                   int64_t dq_token, float* dk, int64_t dk_token, float* dv, int64_t dv_token,
                   const Unit& unit, const AttentionShape& s, const Dropout& dropout) {
  const int64_t d = s.d, n = unit.n, keys = unit.keys;
  if (keys == 0 || n == 0) {
    fill_zero(dq, dq_token, n, d);
    fill_zero(dk, dk_token, keys, d);
    fill_zero(dv, dv_token, keys, d);
    return;
  }
  const int64_t block = rows_of_block(n, keys), stride = panel_stride(block);
  Scratch scratch;
  float *kt = scratch.take(panels(keys) * d * kPanel),
        *vt = scratch.take(panels(keys) * d * kPanel);
  float* kn = scratch.take(panels(d) * keys * kPanel);
  float *qn = scratch.take(panels(d) * stride), *don = scratch.take(panels(d) * stride);
  float *p = scratch.take(stride), *ds = scratch.take(panels(keys) * stride);
  float *minus_lse = scratch.take(block), *minus_delta = scratch.take(block),
        *scales = scratch.take(block);
  Keep* keep = reinterpret_cast<Keep*>(scratch.take((block + kLanes) * kPanel / 2));
  pack_panels(k, 1, k_token, d, keys, d * kPanel, kt);
  pack_panels(v, 1, v_token, d, keys, d * kPanel, vt);
  pack_panels(k, k_token, 1, keys, d, keys * kPanel, kn);
  std::fill_n(scales, block, s.scale);
  const float scale = s.scale * kLog2E, log2_scale = std::log2(dropout.scale);

  for (int64_t first = 0; first < n; first += block) {
    const int64_t rows = std::min(block, n - first);
    const float *qb = q + first * q_token, *dob = dout + first * dout_token;
    pack_panels(qb, q_token, 1, rows, d, stride, qn);
    pack_panels(dob, dout_token, 1, rows, d, stride, don);
    for (int64_t i = 0; i < rows; ++i) {
      const float *o = out + (first + i) * out_token, *g = dob + i * dout_token;
      minus_delta[i] = -dot(o, g, d) / dropout.scale;
      minus_lse[i] = log2_scale - lse[first + i] * kLog2E;
    }
    for (int64_t j = 0; j < panels(keys); ++j) {
      float* dsj = ds + j * stride;
      if constexpr (DROPOUT)
        keep_panel(dropout, unit.first_row + first, rows, j * kPanel, kPanel, unit.head, keep);
      for_tiles(rows, [&](auto m, int64_t i) {
        scaled_probability_tile<m>(qb + i * q_token, q_token, kt + j * d * kPanel, d, scale,
                                   minus_lse + i, p + i * kPanel);
        dscore_tile<DROPOUT, m>(dob + i * dout_token, dout_token, vt + j * d * kPanel, d,
                                minus_delta + i, keep + i * kPanel, p + i * kPanel,
                                dsj + i * kPanel);
      });
      const auto over_rows = [&](const float* a, const float* b, float factor, float* to,
                                 int64_t token) {
        for (int64_t c = 0; c < panels(d); ++c) {
          for_tiles(std::min<int64_t>(kPanel, keys - j * kPanel), [&](auto m, int64_t i) {
            over_rows_tile<m>(a + i, b + c * stride, rows, factor,
                              to + (j * kPanel + i) * token + c * kPanel, token, d - c * kPanel,
                              first > 0);
          });
        }
      };
      over_rows(p, don, 1.0f, dv, dv_token);
      over_rows(dsj, qn, s.scale, dk, dk_token);
    }
    for (int64_t c = 0; c < panels(d); ++c) {
      for_tiles(rows, [&](auto m, int64_t i) {
        over_keys_tile<m>(ds + i * kPanel, stride, kn + c * keys * kPanel, keys, scales + i,
                          dq + (first + i) * dq_token + c * kPanel, dq_token, d - c * kPanel);
      });
    }
  }
}

// Run unit(sequence, head) for all, the most expensive first, so that no thread is left with a long
// one at the end.
template <class F>
void for_units(const AttentionShape& s, int threads, const F& unit) {
  std::vector<int64_t> order(s.sequences);
  std::iota(order.begin(), order.end(), 0);
  const auto cost = [&](int64_t b) {
    return static_cast<int64_t>(s.cu_q[b + 1] - s.cu_q[b]) * (s.cu_k[b + 1] - s.cu_k[b]);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return cost(a) > cost(b); });
  parallel_for(threads, s.sequences * s.heads,
               [&](int64_t i) { unit(order[i / s.heads], i % s.heads); });
}

template <class T>
T* at(const Heads<T>& x, int64_t token, int64_t head, int64_t d) {
  return x.data + token * x.token + head * d;
}

Unit unit_of(const AttentionShape& s, int64_t sequence, int64_t head) {
  return {s.cu_q[sequence + 1] - s.cu_q[sequence], s.cu_k[sequence + 1] - s.cu_k[sequence],
          s.cu_q[sequence], head};
}

}  // namespace

void attention(Heads<const float> q, Heads<const float> k, Heads<const float> v, Heads<float> out,
               float* lse, const AttentionShape& s, const Dropout& dropout, int threads) {
  const int64_t rows = s.cu_q[s.sequences];
  for_units(s, threads, [&](int64_t b, int64_t h) {
    const int64_t row = s.cu_q[b], key = s.cu_k[b];
    (dropout.threshold > 0
         ? forward_unit<true>
         : forward_unit<false>)(at(q, row, h, s.d), q.token, at(k, key, h, s.d), k.token,
                                at(v, key, h, s.d), v.token, at(out, row, h, s.d), out.token,
                                lse + h * rows + row, unit_of(s, b, h), s, dropout);
  });
}

void attention_backward(Heads<const float> dout, Heads<const float> q, Heads<const float> k,
                        Heads<const float> v, Heads<const float> out, const float* lse,
                        Heads<float> dq, Heads<float> dk, Heads<float> dv, const AttentionShape& s,
                        const Dropout& dropout, int threads) {
  const int64_t rows = s.cu_q[s.sequences];
  for_units(s, threads, [&](int64_t b, int64_t h) {
    const int64_t row = s.cu_q[b], key = s.cu_k[b], d = s.d;
    (dropout.threshold > 0
         ? backward_unit<true>
         : backward_unit<false>)(at(dout, row, h, d), dout.token, at(q, row, h, d), q.token,
                                 at(k, key, h, d), k.token, at(v, key, h, d), v.token,
                                 at(out, row, h, d), out.token, lse + h * rows + row,
                                 at(dq, row, h, d), dq.token, at(dk, key, h, d), dk.token,
                                 at(dv, key, h, d), dv.token, unit_of(s, b, h), s, dropout);
  });
}

}  // namespace b4r
