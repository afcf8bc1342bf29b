// y = n weight + bias with z = GELU(u), n = (z - mean) rstd, for each row of d numbers; u comes of
// linear. Backward, with g = dy weight: dz = rstd (g - avg(g) - n avg(g n)), du = dz GELU'(u),
//   dweight = sum over rows of dy n, dbias = sum over rows of dy.
//
// u, y, dy, du: (rows, d) contiguous. mean, rstd: (rows,). weight, bias, dweight, dbias: (d,).
// Everything written is overwritten. Bytes a row: forward 8 d, backward 12 d; a GELU a number, in
// the backward two: once for z and once for the slope, which is cheaper than to keep either. Sums
// over rows as in residual_layer_norm.cpp: the bits depend on sizes alone.
#include "cpu/linear_gelu_layer_norm.h"

#include "core/gelu.h"
#include "cpu/layer_norm.h"

namespace b4r {
namespace {

template <class Gelu, int R>
B4R_NOINLINE void forward_rows(const float* u, const NormWeights& w, float* y, float* mean,
                               float* rstd) {
  normalise<R>(
      w, y, mean, rstd,
      [&](int r, int64_t c, auto columns)
          B4R_INLINE_LAMBDA { return Gelu::of(columns.load(u + r * w.d + c)).value; },
      [](int, int64_t, Vec v) { return v; });
}

template <class Gelu, int R>
B4R_NOINLINE void backward_rows(const float* dy, const float* u, const float* weight, int64_t d,
                                const float* mean, const float* rstd, float* du, float* dweight,
                                float* dbias) {
  const auto gelu = [&](int r, int64_t c, auto columns)
                        B4R_INLINE_LAMBDA { return Gelu::of(columns.load(u + r * d + c)); };
  normalise_backward<R>(
      weight, d, mean, rstd, du, dweight, dbias,
      [&](int r, int64_t c, auto columns) B4R_INLINE_LAMBDA { return gelu(r, c, columns).value; },
      [&](int r, int64_t c, auto columns)
          B4R_INLINE_LAMBDA { return columns.load(dy + r * d + c); },
      [&](int r, int64_t c, auto columns, Vec dz)
          B4R_INLINE_LAMBDA { columns.store(du + r * d + c, dz * gelu(r, c, columns).slope); });
}

template <class Gelu>
void forward(const float* u, const NormWeights& w, float* y, float* mean, float* rstd, int64_t rows,
             int threads) {
  parallel_for(threads, norm_tasks(rows), [&](int64_t task) {
    for_norm_rows(task, rows, [&](auto r, int64_t row) {
      forward_rows<Gelu, r>(u + row * w.d, w, y + row * w.d, mean + row, rstd + row);
    });
  });
}

template <class Gelu>
void backward(const float* dy, const float* u, const float* weight, const float* mean,
              const float* rstd, float* du, float* partials, int64_t rows, int64_t d, int threads) {
  parallel_for(threads, norm_tasks(rows), [&](int64_t task) {
    float* dweight = partials + task * 2 * d;
    std::fill_n(dweight, 2 * d, 0.0f);
    for_norm_rows(task, rows, [&](auto r, int64_t row) {
      backward_rows<Gelu, r>(dy + row * d, u + row * d, weight, d, mean + row, rstd + row,
                             du + row * d, dweight, dweight + d);
    });
  });
}

}  // namespace

void gelu_layer_norm(const float* u, const float* weight, const float* bias, float* y, float* mean,
                     float* rstd, int64_t rows, int64_t d, float eps, bool tanh, int threads) {
  (tanh ? forward<GeluTanh> : forward<GeluErf>)(u, {weight, bias, d, eps}, y, mean, rstd, rows,
                                                threads);
}

void gelu_layer_norm_backward(const float* dy, const float* u, const float* weight,
                              const float* mean, const float* rstd, float* du, float* dweight,
                              float* dbias, int64_t rows, int64_t d, bool tanh, int threads) {
  Scratch scratch;
  float* partials = scratch.take(norm_tasks(rows) * 2 * d);
  (tanh ? backward<GeluTanh> : backward<GeluErf>)(dy, u, weight, mean, rstd, du, partials, rows, d,
                                                  threads);
  add_partials(partials, norm_tasks(rows), d, dweight, dbias);
}

}  // namespace b4r
