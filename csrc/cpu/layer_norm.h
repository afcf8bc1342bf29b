// What the norms share. n = (z - mean) rstd and y = n weight + bias for rows of d numbers z;
// backward, with g = dy weight:
//   dz = rstd (g - avg(g) - n avg(g n)), dweight = sum over rows of dy n, dbias = sum over rows of
//   dy.
//
// The caller says where z and dy come from, a vector at a time, so an op adds no pass over memory
// of its own. R rows go together: their sums wait for each other's additions, not for their own,
// and the weights are read once for all of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/parallel.h"
#include "core/philox.h"
#include "core/scratch.h"
#include "core/simd.h"

namespace b4r {

// Rows that are one task and one partial sum of the weight gradients, whatever the number of
// threads.
constexpr int64_t kNormRowsPerTask = 128;
constexpr int kNormRows = 4;

inline int64_t norm_tasks(int64_t rows) { return blocks_of(rows, kNormRowsPerTask); }

// Call f(R as a constant, first row) for the rows of a task.
template <class F>
B4R_INLINE void for_norm_rows(int64_t task, int64_t rows, const F& f) {
  int64_t row = task * kNormRowsPerTask;
  const int64_t end = std::min(rows, row + kNormRowsPerTask);
  for (; row + kNormRows <= end; row += kNormRows) f(std::integral_constant<int, kNormRows>{}, row);
  for (; row < end; ++row) f(std::integral_constant<int, 1>{}, row);
}

inline Keep* take_keep(Scratch& scratch, int64_t rows, int64_t d) {
  return reinterpret_cast<Keep*>(scratch.take(keep_count(rows, d) / 2));
}

struct NormWeights {
  const float *weight, *bias;
  int64_t d;
  float eps;
};

// y, mean and rstd of R rows. z(r, c, columns): the vector of z from column c; finish(r, c, y):
// what is written in the place of y.
template <int R, class Z, class Finish>
B4R_INLINE void normalise(const NormWeights& w, float* y, float* mean, float* rstd, const Z& z,
                          const Finish& finish) {
  const int64_t d = w.d;
  Vec total[R] = {}, squares[R] = {}, rest[R] = {};
  for_columns(d, [&](int64_t c, auto columns) B4R_INLINE_LAMBDA {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec value = z(r, c, columns);
      columns.store(y + r * d + c, value);
      total[r] += value;
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) mean[r] = sum(total[r]) / static_cast<float>(d);
  for_columns(d, [&](int64_t c, auto columns) B4R_INLINE_LAMBDA {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec centred = columns.only(columns.load(y + r * d + c) - broadcast(mean[r]));
      squares[r] = fma(centred, centred, squares[r]);
      rest[r] += centred;
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
    mean[r] += sum(rest[r]) / static_cast<float>(d);  // what rounding left of a mean far from 0
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
    rstd[r] = 1.0f / std::sqrt(sum(squares[r]) / static_cast<float>(d) + w.eps);
  for_columns(d, [&](int64_t c, auto columns) B4R_INLINE_LAMBDA {
    const Vec weight = columns.load(w.weight + c), bias = columns.load(w.bias + c);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec n = (columns.load(y + r * d + c) - broadcast(mean[r])) * broadcast(rstd[r]);
      columns.store(y + r * d + c, finish(r, c, fma(n, weight, bias)));
    }
  });
}

// dz of R rows, and what they add to dweight and dbias. dz(r, .) holds n until the sums are known;
// also(r, c, columns, dz): what else is to be done with it.
template <int R, class Z, class Dy, class Also>
B4R_INLINE void normalise_backward(const float* weight, int64_t d, const float* mean,
                                   const float* rstd, float* dz, float* dweight, float* dbias,
                                   const Z& z, const Dy& dy, const Also& also) {
  Vec g_sum[R] = {}, gn_sum[R] = {};
  for_columns(d, [&](int64_t c, auto columns) B4R_INLINE_LAMBDA {
    const Vec w = columns.load(weight + c);
    Vec dw = columns.load(dweight + c), db = columns.load(dbias + c);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec n = (z(r, c, columns) - broadcast(mean[r])) * broadcast(rstd[r]),
                dy_c = dy(r, c, columns), g = dy_c * w;
      columns.store(dz + r * d + c, n);
      g_sum[r] += g;
      gn_sum[r] = fma(g, n, gn_sum[r]);
      dw = fma(dy_c, n, dw);
      db += dy_c;
    }
    columns.store(dweight + c, dw);
    columns.store(dbias + c, db);
  });
  float g_average[R], gn_average[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    g_average[r] = sum(g_sum[r]) / static_cast<float>(d);
    gn_average[r] = sum(gn_sum[r]) / static_cast<float>(d);
  }
  for_columns(d, [&](int64_t c, auto columns) B4R_INLINE_LAMBDA {
    const Vec w = columns.load(weight + c);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      float* to = dz + r * d + c;
      const Vec g = dy(r, c, columns) * w - broadcast(g_average[r]);
      const Vec value = broadcast(rstd[r]) * fma(columns.load(to), broadcast(-gn_average[r]), g);
      columns.store(to, value);
      also(r, c, columns, value);
    }
  });
}

// dweight and dbias from the sums of each task, (tasks, 2, d), added up in the order of the tasks.
inline void add_partials(const float* partials, int64_t tasks, int64_t d, float* dweight,
                         float* dbias) {
  std::fill_n(dweight, d, 0.0f);
  std::fill_n(dbias, d, 0.0f);
  for (int64_t task = 0; task < tasks; ++task, partials += 2 * d) {
    for (int64_t c = 0; c < d; ++c) {
      dweight[c] += partials[c];
      dbias[c] += partials[d + c];
    }
  }
}

}  // namespace b4r
