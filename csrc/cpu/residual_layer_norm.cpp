// y = n weight + bias with z = x + factor sublayer, n = (z - mean) rstd, for each row of d numbers;
// factor is 0 or 1 / keep rate. Backward, with g = dy weight: dz = rstd (g - avg(g) - n avg(g n)),
// dx = dz, dsublayer = factor dz,
//   dweight = sum over rows of dy n, dbias = sum over rows of dy.
//
// x, sublayer, y, dy, dx, dsublayer: (rows, d) contiguous. mean, rstd: (rows,). weight, bias,
// dweight, dbias: (d,). Everything written is overwritten, nothing is added to. Bytes a row:
// forward 12 d, backward 20 d; some 10 and 20 operations a number, and 1.75 products of Philox: the
// memory is the limit. Each task sums its rows' weight gradients, and the sums are added in the
// order of the tasks, so the bits depend on sizes alone.
#include "cpu/residual_layer_norm.h"

#include "cpu/layer_norm.h"

namespace b4r {
namespace {

struct Rows {
  const float *x, *sublayer;
  const KeepDraw& draw;
  Keep* keep;
  float scale;
};

// What z of R rows is read from, with their masks drawn.
template <bool DROPOUT, int R>
B4R_INLINE auto residual_sum(const Rows& in, int64_t row, int64_t d) {
  if constexpr (DROPOUT) {
    prefetch(in.x + row * d, R * d);
    prefetch(in.sublayer + row * d, R * d);
    keep_rows(in.draw, static_cast<uint32_t>(row), R, d, in.keep);
  }
  return [x = in.x + row * d, s = in.sublayer + row * d, keep = in.keep, d, stride = keep_stride(d),
          scale = in.scale](int r, int64_t c, auto columns) B4R_INLINE_LAMBDA {
    const Vec value = columns.load(s + r * d + c), residual = columns.load(x + r * d + c);
    if constexpr (DROPOUT)
      return fma(keep_where(keep + r * stride + c, value), broadcast(scale), residual);
    return residual + value;
  };
}

template <bool DROPOUT, int R>
B4R_NOINLINE void forward_rows(const Rows& in, int64_t row, const NormWeights& w, float* y,
                               float* mean, float* rstd) {
  normalise<R>(w, y + row * w.d, mean + row, rstd + row, residual_sum<DROPOUT, R>(in, row, w.d),
               [](int, int64_t, Vec v) { return v; });
}

template <bool DROPOUT, int R>
B4R_NOINLINE void backward_rows(const Rows& in, int64_t row, const float* dy, const float* weight,
                                int64_t d, const float* mean, const float* rstd, float* dx,
                                float* dsublayer, float* dweight, float* dbias) {
  const int64_t stride = keep_stride(d);
  if constexpr (DROPOUT) prefetch(dy + row * d, R * d);
  normalise_backward<R>(
      weight, d, mean + row, rstd + row, dx + row * d, dweight, dbias,
      residual_sum<DROPOUT, R>(in, row, d),
      [&](int r, int64_t c, auto columns)
          B4R_INLINE_LAMBDA { return columns.load(dy + (row + r) * d + c); },
      [&](int r, int64_t c, auto columns, Vec dz) B4R_INLINE_LAMBDA {
        if constexpr (DROPOUT) dz = keep_where(in.keep + r * stride + c, dz) * broadcast(in.scale);
        columns.store(dsublayer + (row + r) * d + c, dz);
      });
}

template <bool DROPOUT>
void forward(const float* x, const float* sublayer, const NormWeights& w, float* y, float* mean,
             float* rstd, int64_t rows, const Dropout& dropout, int threads) {
  parallel_for(threads, norm_tasks(rows), [&](int64_t task) {
    Scratch scratch;
    const KeepDraw draw(dropout);
    const Rows in = {x, sublayer, draw, take_keep(scratch, kNormRows, w.d), dropout.scale};
    for_norm_rows(task, rows, [&](auto r, int64_t row) {
      forward_rows<DROPOUT, r>(in, row, w, y, mean, rstd);
    });
  });
}

template <bool DROPOUT>
void backward(const float* dy, const float* x, const float* sublayer, const float* weight,
              const float* mean, const float* rstd, float* dx, float* dsublayer, float* partials,
              int64_t rows, int64_t d, const Dropout& dropout, int threads) {
  parallel_for(threads, norm_tasks(rows), [&](int64_t task) {
    Scratch scratch;
    const KeepDraw draw(dropout);
    const Rows in = {x, sublayer, draw, take_keep(scratch, kNormRows, d), dropout.scale};
    float* dweight = partials + task * 2 * d;
    std::fill_n(dweight, 2 * d, 0.0f);
    for_norm_rows(task, rows, [&](auto r, int64_t row) {
      backward_rows<DROPOUT, r>(in, row, dy, weight, d, mean, rstd, dx, dsublayer, dweight,
                                dweight + d);
    });
  });
}

}  // namespace

void residual_layer_norm(const float* x, const float* sublayer, const float* weight,
                         const float* bias, float* y, float* mean, float* rstd, int64_t rows,
                         int64_t d, float eps, const Dropout& dropout, int threads) {
  (dropout.threshold > 0 ? forward<true> : forward<false>)(x, sublayer, {weight, bias, d, eps}, y,
                                                           mean, rstd, rows, dropout, threads);
}

void residual_layer_norm_backward(const float* dy, const float* x, const float* sublayer,
                                  const float* weight, const float* mean, const float* rstd,
                                  float* dx, float* dsublayer, float* dweight, float* dbias,
                                  int64_t rows, int64_t d, const Dropout& dropout, int threads) {
  Scratch scratch;
  float* partials = scratch.take(norm_tasks(rows) * 2 * d);
  (dropout.threshold > 0 ? backward<true> : backward<false>)(dy, x, sublayer, weight, mean, rstd,
                                                             dx, dsublayer, partials, rows, d,
                                                             dropout, threads);
  add_partials(partials, norm_tasks(rows), d, dweight, dbias);
}

}  // namespace b4r
