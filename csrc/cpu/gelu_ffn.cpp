// y = GELU(u) w2^T + b2 with u = x w1^T + b1. Backward, u computed again: a = GELU(u), du = (dy w2)
// GELU'(u),
//   dx = du w1, dw1 = du^T x, db1 = sum du, dw2 = dy^T a, db2 = sum dy.
//
// x, y, dy, dx: (T, d) contiguous. w1, dw1: (f, d). b1, db1: (f,). w2, dw2: (d, f). b2, db2: (d,).
// Everything written is overwritten. Operations: forward 4 T d f, backward 10 T d f, and a GELU for
// each of T f. Memory: the weights in panels, and what a thread holds of the hidden layer:
// kBlockRows rows of kSlab columns in the forward; in the backward a and du for a chunk of rows, 2
// MB each, shared by all threads.
//
// The backward has two phases a chunk. First each thread takes blocks of rows: a, du and dx. Then
// each takes panels of the hidden layer: P rows of dw1 and P columns of dw2, summed over the
// chunk's rows in their order. So no thread waits for a lock, nothing is summed twice, and the bits
// depend on sizes alone.
#include "cpu/gelu_ffn.h"

#include <algorithm>

#include "core/gelu.h"
#include "core/parallel.h"
#include "core/rows.h"

namespace b4r {
namespace {

constexpr int64_t kSlab = 256;  // hidden columns that the forward computes and uses at a time
constexpr int64_t kChunkFloats = int64_t{1} << 19;  // of a, and of du
constexpr int64_t kDepth =
    4096 / kPanel;  // rows that the second phase sums at a time: 16 KB of a panel, in L1

// a = GELU(x w1^T + b1), M rows of one panel.
template <class Gelu, int M>
B4R_NOINLINE void hidden_tile(const float* x, const float* w1, const float* b1, int64_t d,
                              float* a) {
  Tile<M> u;
  set_zero(u);
  multiply_add(u, x, d, 1, w1, d);
  add_row(u, b1);
  for_vectors(u, [&](int i, int v, Vec value) {
    store(a + i * kPanel + v * kWidth, Gelu::of(value).value);
  });
}

// The same, and slope = GELU'(u).
template <class Gelu, int M>
B4R_NOINLINE void hidden_and_slope_tile(const float* x, const float* w1, const float* b1, int64_t d,
                                        float* a, float* slope) {
  Tile<M> u;
  set_zero(u);
  multiply_add(u, x, d, 1, w1, d);
  add_row(u, b1);
  for_vectors(u, [&](int i, int v, Vec value) {
    const GeluValue g = Gelu::of(value);
    store(a + i * kPanel + v * kWidth, g.value);
    store(slope + i * kPanel + v * kWidth, g.slope);
  });
}

// du = (dy w2) slope, in the place of slope.
template <int M>
B4R_NOINLINE void dhidden_tile(const float* dy, const float* w2, int64_t d, float* du) {
  Tile<M> da;
  set_zero(da);
  multiply_add(da, dy, d, 1, w2, d);
  for_vectors(da, [&](int i, int v, Vec value) {
    float* to = du + i * kPanel + v * kWidth;
    store(to, value * load(to));
  });
}

// out = A B + start, or out += A B where start is null; A in panels of the hidden layer.
template <int M>
B4R_NOINLINE void from_hidden_tile(const float* a, int64_t stride, const float* w, int64_t depth,
                                   const float* start, float* out, int64_t d, int64_t columns) {
  Tile<M> c;
  set_zero(c);
  multiply_add_panels(c, a, stride, w, depth);
  if (start != nullptr) add_row(c, start);
  write(c, out, d, columns, start == nullptr);
}

// w (f, d) or its transpose, in panels over f with d rows.
void pack_in(const float* w, int64_t row, int64_t column, const FfnShape& s, float* to) {
  pack_panels(w, row, column, s.d, s.f, s.d * kPanel, to);
}
void pack_out(const float* w, int64_t row, int64_t column, const FfnShape& s, float* to) {
  pack_panels(w, row, column, s.f, s.d, s.f * kPanel, to);
}

template <class Gelu>
void forward(const float* x, const float* w1, const float* b1, const float* w2, const float* b2,
             float* y, const FfnShape& s, int threads) {
  const auto [rows, d, f] = s;
  Scratch shared;
  float *in = shared.take(panels(f) * d * kPanel), *out = shared.take(panels(d) * f * kPanel);
  pack_in(w1, 1, d, s, in);
  pack_out(w2, 1, f, s, out);
  const float *start1 = padded(shared, b1, f), *start2 = padded(shared, b2, d);
  parallel_for(threads, blocks_of(rows, kBlockRows), [&](int64_t block) {
    const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows - first),
                  stride = panel_stride(count);
    Scratch own;
    float* a = own.take(panels(kSlab) * stride);
    for (int64_t slab = 0; slab < std::max<int64_t>(f, 1); slab += kSlab) {
      const int64_t width = std::min(kSlab, f - slab);
      for (int64_t p = 0; p < panels(width); ++p) {
        for_tiles(count, [&](auto m, int64_t i) {
          hidden_tile<Gelu, m>(x + (first + i) * d, in + (slab / kPanel + p) * d * kPanel,
                               start1 + slab + p * kPanel, d, a + p * stride + i * kPanel);
        });
      }
      for (int64_t c = 0; c < panels(d); ++c) {
        for_tiles(count, [&](auto m, int64_t i) {
          from_hidden_tile<m>(a + i * kPanel, stride, out + (c * f + slab) * kPanel, width,
                              slab == 0 ? start2 + c * kPanel : nullptr,
                              y + (first + i) * d + c * kPanel, d, d - c * kPanel);
        });
      }
    }
  });
}

template <class Gelu>
void backward(const float* dy, const float* x, const float* w1, const float* b1, const float* w2,
              float* dx, float* dw1, float* db1, float* dw2, float* db2, const FfnShape& s,
              int threads) {
  const auto [rows, d, f] = s;
  const int64_t chunk = std::max(kBlockRows,
                                 kChunkFloats / std::max<int64_t>(f, 1) / kBlockRows * kBlockRows),
                stride = panel_stride(std::min(chunk, rows));
  Scratch shared;
  float *in_w1 = shared.take(panels(f) * d * kPanel), *in_w2 = shared.take(panels(f) * d * kPanel);
  float* out_w1 = shared.take(panels(d) * f * kPanel);
  pack_in(w1, 1, d, s, in_w1);
  pack_in(w2, f, 1, s, in_w2);
  pack_out(w1, d, 1, s, out_w1);
  const float* start1 = padded(shared, b1, f);
  float *a = shared.take(panels(f) * stride), *du = shared.take(panels(f) * stride),
        *xp = shared.take(panels(d) * stride);
  float zeros[kPanel] = {};
  std::fill(db2, db2 + d, 0.0f);

  for (int64_t begin = 0; begin < std::max<int64_t>(rows, 1); begin += chunk) {
    const int64_t in_chunk = std::min(chunk, rows - begin);
    const float *dyc = dy + begin * d, *xc = x + begin * d;
    parallel_for(threads, blocks_of(in_chunk, kBlockRows), [&](int64_t block) {
      const int64_t first = block * kBlockRows, count = std::min(kBlockRows, in_chunk - first);
      for (int64_t p = 0; p < panels(f); ++p) {
        for_tiles(count, [&](auto m, int64_t i) {
          const int64_t at = p * stride + (first + i) * kPanel;
          hidden_and_slope_tile<Gelu, m>(xc + (first + i) * d, in_w1 + p * d * kPanel,
                                         start1 + p * kPanel, d, a + at, du + at);
          dhidden_tile<m>(dyc + (first + i) * d, in_w2 + p * d * kPanel, d, du + at);
        });
      }
      for (int64_t c = 0; c < panels(d); ++c) {
        for_tiles(count, [&](auto m, int64_t i) {
          from_hidden_tile<m>(du + (first + i) * kPanel, stride, out_w1 + c * f * kPanel, f, zeros,
                              dx + (begin + first + i) * d + c * kPanel, d, d - c * kPanel);
        });
        pack_panel(xc + first * d + c * kPanel, d, 1, count, d - c * kPanel,
                   xp + c * stride + first * kPanel);
      }
    });
    parallel_for(threads, panels(f) + 1, [&](int64_t p) {
      if (p == panels(f)) return add_rows(dyc, d, in_chunk, d, db2);
      const int64_t width = std::min<int64_t>(kPanel, f - p * kPanel);
      float db1p[kPanel] = {};
      add_rows(du + p * stride, kPanel, in_chunk, kPanel, db1p);
      for (int64_t first = 0; first < std::max<int64_t>(in_chunk, 1); first += kDepth) {
        const int64_t depth = std::min(kDepth, in_chunk - first);
        const bool add = begin + first > 0;
        const float *ap = a + p * stride + first * kPanel, *dup = du + p * stride + first * kPanel;
        for (int64_t c = 0; c < panels(d); ++c) {
          for_tiles(width, [&](auto m, int64_t i) {
            weight_tile<m>(dup + i, kPanel, xp + c * stride + first * kPanel, depth,
                           dw1 + (p * kPanel + i) * d + c * kPanel, d, d - c * kPanel, add);
          });
        }
        for_tiles(d, [&](auto m, int64_t i) {
          weight_tile<m>(dyc + first * d + i, d, ap, depth, dw2 + i * f + p * kPanel, f, width,
                         add);
        });
      }
      for (int64_t j = 0; j < width; ++j)
        db1[p * kPanel + j] = (begin > 0 ? db1[p * kPanel + j] : 0.0f) + db1p[j];
    });
  }
}

}  // namespace

void gelu_ffn(const float* x, const float* w1, const float* b1, const float* w2, const float* b2,
              float* y, const FfnShape& shape, bool tanh, int threads) {
  (tanh ? forward<GeluTanh> : forward<GeluErf>)(x, w1, b1, w2, b2, y, shape, threads);
}

void gelu_ffn_backward(const float* dy, const float* x, const float* w1, const float* b1,
                       const float* w2, float* dx, float* dw1, float* db1, float* dw2, float* db2,
                       const FfnShape& shape, bool tanh, int threads) {
  (tanh ? backward<GeluTanh> : backward<GeluErf>)(dy, x, w1, b1, w2, dx, dw1, db1, dw2, db2, shape,
                                                  threads);
}

}  // namespace b4r
