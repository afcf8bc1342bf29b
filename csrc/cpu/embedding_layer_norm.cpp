// y = factor (n weight + bias) with z = items[values] + position_table[positions], n = (z - mean)
// rstd, for each of T tokens, d numbers each; factor is 0 or 1 / keep rate. Backward: dz is that of
// the layer norm for dy factor (layer_norm.h),
//   ditems[r] = sum of dz over the tokens whose item_row is r, dposition_table[p] = sum of dz over
//   the tokens at position p.
// item_row: values themselves for the gradient of the whole table; else their places among the
// unique ones, for those rows alone.
//
// values, positions, mean, rstd: (T,). y, dy: (T, d) contiguous. items: (V, d). ditems: (num_rows,
// d). position_table, dposition_table: (P, d). weight, bias, dweight, dbias: (d,). Everything
// written is overwritten; rows without tokens get zeros. Bytes: forward 4 T d, and the rows that
// tokens name; backward 16 T d, and 4 num_rows d for the zeros. Operations: some 10 and 20 a
// number, and 1.75 products of Philox.
//
// The backward's first phase writes dz, sorts the tokens by their row of each table, and clears the
// tables. In the second, each row with tokens is summed by one task, its tokens in their order: no
// locks, and the same bits for any number of threads. Sorting is by digits, so nothing but the
// zeros depends on num_rows.
#include "cpu/embedding_layer_norm.h"

#include <algorithm>

#include "core/sorted_rows.h"
#include "cpu/layer_norm.h"

namespace b4r {
namespace {

constexpr int64_t kZerosPerTask = int64_t{1} << 18;
constexpr int kColumnVectors = 4;  // summed at a time over all tokens of a row

// sum[0 .. VECTORS kWidth - 1] = the sum of dz over `count` tokens.
template <int VECTORS, class Columns>
B4R_NOINLINE void sum_tokens(const float* dz, const int64_t* token, int64_t count, int64_t d,
                             Columns columns, float* sum) {
  Vec total[VECTORS] = {};
  for (int64_t i = 0; i < count; ++i) {
    const float* from = dz + token[i] * d;
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) total[v] += columns.load(from + v * kWidth);
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; ++v) columns.store(sum + v * kWidth, total[v]);
}

// One row of a table's gradient, from the tokens that name it.
void sum_row(const float* dz, const int64_t* token, int64_t count, int64_t d, float* sum) {
  int64_t c = 0;
  for (; c + kColumnVectors * kWidth <= d; c += kColumnVectors * kWidth)
    sum_tokens<kColumnVectors>(dz + c, token, count, d, AllColumns{}, sum + c);
  for_columns(d - c, [&](int64_t rest, auto columns) {
    sum_tokens<1>(dz + c + rest, token, count, d, columns, sum + c + rest);
  });
}

// What the kernels of R tokens read, and where their masks go.
struct Tokens {
  const Embeddings& in;
  const KeepDraw& draw;
  Keep* keep;
  float scale;
};

// z of R tokens.
template <int R>
struct EmbeddingSum {
  const float *item[R], *position[R];

  B4R_INLINE EmbeddingSum(const Embeddings& in, int64_t token) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      item[r] = in.items + in.values[token + r] * in.d;
      position[r] = in.position_table + in.positions[token + r] * in.d;
      prefetch(item[r], in.d);
    }
  }

  template <class Columns>
  B4R_INLINE Vec operator()(int r, int64_t c, Columns columns) const {
    return columns.load(item[r] + c) + columns.load(position[r] + c);
  }
};

// Dropout of a vector of a token, with the masks of R tokens drawn.
template <bool DROPOUT, int R>
B4R_INLINE auto token_dropout(const Tokens& tokens, int64_t token) {
  const int64_t d = tokens.in.d;
  if constexpr (DROPOUT) keep_rows(tokens.draw, static_cast<uint32_t>(token), R, d, tokens.keep);
  return [keep = tokens.keep, stride = keep_stride(d), scale = tokens.scale](
             int r, int64_t c, Vec v) B4R_INLINE_LAMBDA {
    if constexpr (DROPOUT) return keep_where(keep + r * stride + c, v) * broadcast(scale);
    return v;
  };
}

template <bool DROPOUT, int R>
B4R_NOINLINE void forward_tokens(const Tokens& tokens, int64_t token, const NormWeights& w,
                                 float* y, float* mean, float* rstd) {
  const EmbeddingSum<R> z(tokens.in, token);
  normalise<R>(w, y + token * w.d, mean + token, rstd + token, z,
               token_dropout<DROPOUT, R>(tokens, token));
}

template <bool DROPOUT, int R>
B4R_NOINLINE void backward_tokens(const Tokens& tokens, int64_t token, const float* dy,
                                  const float* weight, const float* mean, const float* rstd,
                                  float* dz, float* dweight, float* dbias) {
  const int64_t d = tokens.in.d;
  const EmbeddingSum<R> z(tokens.in, token);
  prefetch(dy + token * d, R * d);
  const auto drop = token_dropout<DROPOUT, R>(tokens, token);
  normalise_backward<R>(
      weight, d, mean + token, rstd + token, dz + token * d, dweight, dbias, z,
      [&](int r, int64_t c, auto columns)
          B4R_INLINE_LAMBDA { return drop(r, c, columns.load(dy + (token + r) * d + c)); },
      [](int, int64_t, auto, Vec) {});
}

template <bool DROPOUT>
void forward(const Embeddings& in, const NormWeights& w, float* y, float* mean, float* rstd,
             const Dropout& dropout, int threads) {
  parallel_for(threads, norm_tasks(in.tokens), [&](int64_t task) {
    Scratch scratch;
    const KeepDraw draw(dropout);
    const Tokens tokens = {in, draw, take_keep(scratch, kNormRows, in.d), dropout.scale};
    for_norm_rows(task, in.tokens, [&](auto r, int64_t token) {
      forward_tokens<DROPOUT, r>(tokens, token, w, y, mean, rstd);
    });
  });
}

template <bool DROPOUT>
void backward_task(int64_t task, const float* dy, const Embeddings& in, const float* weight,
                   const float* mean, const float* rstd, float* dz, float* partials,
                   const Dropout& dropout) {
  Scratch scratch;
  const KeepDraw draw(dropout);
  const Tokens tokens = {in, draw, take_keep(scratch, kNormRows, in.d), dropout.scale};
  float* dweight = partials + task * 2 * in.d;
  std::fill_n(dweight, 2 * in.d, 0.0f);
  for_norm_rows(task, in.tokens, [&](auto r, int64_t token) {
    backward_tokens<DROPOUT, r>(tokens, token, dy, weight, mean, rstd, dz, dweight, dweight + in.d);
  });
}

}  // namespace

void embedding_layer_norm(const Embeddings& in, const float* weight, const float* bias, float* y,
                          float* mean, float* rstd, float eps, const Dropout& dropout,
                          int threads) {
  (dropout.threshold > 0 ? forward<true> : forward<false>)(in, {weight, bias, in.d, eps}, y, mean,
                                                           rstd, dropout, threads);
}

void embedding_layer_norm_backward(const float* dy, const Embeddings& in, const int64_t* item_row,
                                   int64_t num_rows, int64_t num_positions, const float* weight,
                                   const float* mean, const float* rstd, float* ditems,
                                   float* dposition_table, float* dweight, float* dbias,
                                   const Dropout& dropout, int threads) {
  const int64_t tokens = in.tokens, d = in.d;
  struct Table {
    const int64_t* row;
    int64_t rows;
    float* gradient;
    int64_t* order;
  };
  Scratch scratch;
  const Table tables[] = {
      {item_row, num_rows, ditems, take_integers(scratch, tokens)},
      {in.positions, num_positions, dposition_table, take_integers(scratch, tokens)}};
  const int64_t norms = norm_tasks(tokens);
  float *dz = scratch.take(tokens * d), *partials = scratch.take(norms * 2 * d);

  const int64_t item_zeros = blocks_of(num_rows * d, kZerosPerTask),
                zeros = item_zeros + blocks_of(num_positions * d, kZerosPerTask);
  parallel_for(threads, 2 + norms + zeros, [&](int64_t task) {
    if (task < 2)
      return sort_by_row(tables[task].row, tokens, tables[task].rows, tables[task].order);
    task -= 2;
    if (task < norms)
      return (dropout.threshold > 0
                  ? backward_task<true>
                  : backward_task<false>)(task, dy, in, weight, mean, rstd, dz, partials, dropout);
    task -= norms;
    const Table& table = tables[task >= item_zeros];
    const int64_t first = (task >= item_zeros ? task - item_zeros : task) * kZerosPerTask;
    std::fill_n(table.gradient + first, std::min(kZerosPerTask, table.rows * d - first), 0.0f);
  });
  const int64_t chunks = row_tasks(tokens);
  parallel_for(threads, 2 * chunks, [&](int64_t task) {
    const Table& table = tables[task >= chunks];
    for_rows_of(task % chunks, table.row, table.order, tokens,
                [&](int64_t row, const int64_t* token, int64_t count) {
                  sum_row(dz, token, count, d, table.gradient + row * d);
                });
  });
  add_partials(partials, norms, d, dweight, dbias);
}

}  // namespace b4r
