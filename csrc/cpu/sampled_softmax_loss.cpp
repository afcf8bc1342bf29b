// The softmax loss over the target and K negatives: logits z_ik = h_i . C_{n_k} + b_{n_k} - log
// q_k, and z_it. A negative that is the row's own target is left out. Everything written is
// overwritten.
//
// Negatives that all rows share: softmax_loss over a table of K gathered rows, with the target
// beside it instead of in it. The gradients of the K rows, and -q_i dloss_i h_i of the targets, are
// added to the table in the order of negatives, then rows. Operations: 8 N K d. Memory: K rows.
//
// Private negatives n_ik: each row reads its own K rows of the table, so bytes are the limit, 4 N K
// d where they are not in cache, and nothing is a matrix product. Operations: 8 N K d. The backward
// keeps dz of a chunk of rows, kChunkEntries numbers, sorts its entries by the row of the table
// that they add to, and sums dz_ik h_i for each.
#include "cpu/sampled_softmax_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/simd.h"
#include "core/sorted_rows.h"
#include "cpu/row_loss.h"
#include "cpu/softmax_loss.h"

namespace b4r {
namespace {

constexpr int64_t kChunkEntries = int64_t{1} << 20;

SoftmaxInput gather(Scratch& scratch, const SampledInput& in) {
  float *rows = scratch.take(in.count * in.d), *bias = scratch.take(in.count);
  for (int64_t k = 0; k < in.count; ++k) {
    std::copy_n(in.items + in.negatives[k] * in.d, in.d, rows + k * in.d);
    bias[k] = (in.bias != nullptr ? in.bias[in.negatives[k]] : 0.0f) -
              (in.log_q != nullptr ? in.log_q[k] : 0.0f);
  }
  return {in.hidden, rows, bias,         in.targets, in.rows, in.d,
          in.count,  true, in.negatives, in.items,   in.bias};
}

void fill_zero(const ItemGradient& out, int64_t d, int threads) {
  constexpr int64_t kZeros = int64_t{1} << 18;  // floats that a task clears: 1 MB
  const int64_t size = out.rows * d;
  parallel_for(threads, blocks_of(size, kZeros), [&](int64_t task) {
    std::fill(out.ditems + task * kZeros, out.ditems + std::min(size, (task + 1) * kZeros), 0.0f);
  });
  if (out.dbias != nullptr) std::fill_n(out.dbias, out.rows, 0.0f);
}

void shared_backward(const float* dloss, const SampledInput& in, const float* loss,
                     const float* lse, const ItemGradient& out, int threads) {
  Scratch scratch;
  float *drows = scratch.take(in.count * in.d), *drow_bias = scratch.take(in.count);
  softmax_loss_backward(dloss, gather(scratch, in), loss, lse, drows, drow_bias, threads);
  const auto add = [&](int64_t row, float factor, const float* x, float bias) {
    float* to = out.ditems + row * in.d;
    for (int64_t c = 0; c < in.d; ++c) to[c] += factor * x[c];
    if (out.dbias != nullptr) out.dbias[row] += bias;
  };
  for (int64_t k = 0; k < in.count; ++k)
    add(out.negative_row[k], 1.0f, drows + k * in.d, drow_bias[k]);
  for (int64_t i = 0; i < in.rows; ++i) {
    if (in.targets[i] < 0) continue;
    const float dlogit = std::expm1(-loss[i]) * dloss[i];
    add(out.target_row[i], dlogit, in.hidden + i * in.d, dlogit);
  }
}

// z[k] = the logit of row i's negative k, -inf where it is the target.
void private_logits(const SampledInput& in, int64_t i, float* z) {
  constexpr int64_t kAhead = 8;
  const int64_t *n = in.negatives + i * in.count, last = in.count - 1;
  const float* h = in.hidden + i * in.d;
  for (int64_t k = 0; k < in.count; ++k) {
    prefetch(in.items + n[std::min(k + kAhead, last)] * in.d, in.d);
    const float correction = (in.bias != nullptr ? in.bias[n[k]] : 0.0f) -
                             (in.log_q != nullptr ? in.log_q[i * in.count + k] : 0.0f);
    z[k] = n[k] == in.targets[i] ? -INFINITY : dot(h, in.items + n[k] * in.d, in.d) + correction;
  }
}

// z[k] = e^(z[k] - shift) times factor, exactly 0 where z is -inf.
void exponentials(float* z, int64_t count, float shift, float factor) {
  for_columns(count, [&](int64_t k, auto columns) {
    const Vec x = columns.load(z + k),
              e = exp(columns.only(x - broadcast(shift))) * broadcast(factor);
    columns.store(z + k, x == broadcast(-INFINITY) ? Vec{} : e);
  });
}

// VECTORS vectors from column c of weighted_sum.
template <int VECTORS, class Columns, class Row, class Weight>
B4R_INLINE void weighted_columns(int64_t count, int64_t c, Columns columns, const Row& row,
                                 const Weight& weight, bool add, float* out) {
  Vec acc[VECTORS] = {};
  for (int64_t i = 0; i < count; ++i) {
    const Vec w = broadcast(weight(i));
    const float* x = row(i) + c;
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) acc[v] = fma(w, columns.load(x + v * kWidth), acc[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) {
    float* to = out + c + v * kWidth;
    columns.store(to, add ? columns.load(to) + acc[v] : acc[v]);
  }
}

// out (d) = or += the sum over `count` entries of weight(i) row(i).
template <class Row, class Weight>
void weighted_sum(int64_t count, int64_t d, const Row& row, const Weight& weight, bool add,
                  float* out) {
  constexpr int kVectors = 4;
  int64_t c = 0;
  for (; c + kVectors * kWidth <= d; c += kVectors * kWidth)
    weighted_columns<kVectors>(count, c, AllColumns{}, row, weight, add, out);
  for_columns(d - c, [&](int64_t rest, auto columns) {
    weighted_columns<1>(count, c + rest, columns, row, weight, add, out);
  });
}

void private_forward(const SampledInput& in, float* loss, float* dhidden, float* lse, int threads) {
  parallel_for(threads, in.rows, [&](int64_t i) {
    float* dh = dhidden + i * in.d;
    loss[i] = lse[i] = 0.0f;
    std::fill_n(dh, in.d, 0.0f);
    if (in.targets[i] < 0) return;
    Scratch scratch;
    float* z = scratch.take(in.count);
    private_logits(in, i, z);
    float maximum = kLowest;
    for (int64_t k = 0; k < in.count; ++k)
      maximum = z[k] <= maximum ? maximum : z[k];  // NaN gets through
    exponentials(z, in.count, maximum, 1.0f);
    double total = 0;
    for (int64_t k = 0; k < in.count; ++k) total += z[k];
    const float *h = in.hidden + i * in.d, *item = in.items + in.targets[i] * in.d;
    const float logit = dot(h, item, in.d) + (in.bias != nullptr ? in.bias[in.targets[i]] : 0.0f);
    const RowLoss row = row_loss(total, maximum, logit);
    loss[i] = static_cast<float>(row.loss);
    lse[i] = static_cast<float>(logit + row.loss);
    const float weight = total != 0 ? static_cast<float>(row.q / total) : 0.0f,
                q = static_cast<float>(row.q);
    const int64_t* n = in.negatives + i * in.count;
    weighted_sum(
        in.count, in.d, [&](int64_t k) { return in.items + n[k] * in.d; },
        [&](int64_t k) { return z[k]; }, false, dh);
    for (int64_t c = 0; c < in.d; ++c) dh[c] = weight * dh[c] - q * item[c];
  });
}

void private_backward(const float* dloss, const SampledInput& in, const float* loss,
                      const float* lse, const ItemGradient& out, int threads) {
  std::vector<int64_t> labelled;
  for (int64_t i = 0; i < in.rows; ++i)
    if (in.targets[i] >= 0) labelled.push_back(i);
  // A row's entries: its negatives, then its target. limit: rows of a chunk.
  const int64_t per_row = in.count + 1, limit = std::max<int64_t>(1, kChunkEntries / per_row);
  const int64_t all = static_cast<int64_t>(labelled.size()),
                capacity = std::min(limit, all) * per_row;
  Scratch scratch;
  float* dz = scratch.take(capacity);
  int64_t *row = take_integers(scratch, capacity), *order = take_integers(scratch, capacity);
  for (int64_t begin = 0; begin < all; begin += limit) {
    const int64_t rows = std::min(limit, all - begin), entries = rows * per_row;
    parallel_for(threads, rows, [&](int64_t r) {
      const int64_t i = labelled[begin + r];
      float* z = dz + r * per_row;
      private_logits(in, i, z);
      exponentials(z, in.count, lse[i], dloss[i]);
      z[in.count] = std::expm1(-loss[i]) * dloss[i];
      std::copy_n(out.negative_row + i * in.count, in.count, row + r * per_row);
      row[r * per_row + in.count] = out.target_row[i];
    });
    sort_by_row(row, entries, out.rows, order);
    parallel_for(threads, row_tasks(entries), [&](int64_t task) {
      for_rows_of(task, row, order, entries, [&](int64_t to, const int64_t* entry, int64_t count) {
        weighted_sum(
            count, in.d,
            [&](int64_t e) { return in.hidden + labelled[begin + entry[e] / per_row] * in.d; },
            [&](int64_t e) { return dz[entry[e]]; }, true, out.ditems + to * in.d);
        for (int64_t e = 0; e < count && out.dbias != nullptr; ++e) out.dbias[to] += dz[entry[e]];
      });
    });
  }
}

}  // namespace

void sampled_softmax_loss(const SampledInput& in, float* loss, float* dhidden, float* lse,
                          int threads) {
  if (!in.shared) return private_forward(in, loss, dhidden, lse, threads);
  Scratch scratch;
  softmax_loss(gather(scratch, in), loss, dhidden, lse, threads);
}

void sampled_softmax_loss_backward(const float* dloss, const SampledInput& in, const float* loss,
                                   const float* lse, const ItemGradient& out, int threads) {
  fill_zero(out, in.d, threads);
  (in.shared ? shared_backward : private_backward)(dloss, in, loss, lse, out, threads);
}

}  // namespace b4r
