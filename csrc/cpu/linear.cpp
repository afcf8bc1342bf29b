// y = x w^T + b. Backward: dx = dy w, dw = dy^T x, db = sum dy.
//
// x, dx: (T, in) contiguous. y, dy: (T, out). w, dw: (out, in). b, db: (out,). Everything written is overwritten.
// Operations: forward 2 T in out, backward 4. The backward has two phases, as gelu_ffn's: blocks of rows give dx and x in panels;
// then panels of 16 outputs give 16 rows of dw, summed over a chunk's rows in their order, so the bits do not depend on the
// threads.
#include "cpu/linear.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/rows.h"

namespace b4r {
namespace {

constexpr int64_t kChunkFloats = int64_t{1} << 19;  // of x in panels

template <int M>
B4R_NOINLINE void rows_tile(const float* x, const float* w, const float* start, int64_t depth, float* y, int64_t row,
                            int64_t columns) {
  Tile<M> c;
  set_rows(c, start);
  multiply_add(c, x, depth, 1, w, depth);
  write(c, y, row, columns, false);
}

// y = start + x w for rows first .. first + count - 1; w in panels of 16 of `out`, each with `in` rows.
void rows_block(const float* x, const float* w, const float* start, float* y, int64_t first, int64_t count, int64_t in,
                int64_t out) {
  for (int64_t p = 0; p < panels(out); ++p) {
    for_tiles(count, [&](auto m, int64_t i) {
      rows_tile<m>(x + (first + i) * in, w + p * in * kPanel, start + p * kPanel, in, y + (first + i) * out + p * kPanel, out,
                   out - p * kPanel);
    });
  }
}

}  // namespace

void linear(const float* x, const float* w, const float* b, float* y, const LinearShape& s, int threads) {
  Scratch shared;
  float* wp = shared.take(panels(s.out) * s.in * kPanel);
  pack_panels(w, 1, s.in, s.in, s.out, s.in * kPanel, wp);
  const float* start = padded(shared, b, s.out);
  parallel_for(threads, blocks_of(s.rows, kBlockRows), [&](int64_t block) {
    const int64_t first = block * kBlockRows;
    rows_block(x, wp, start, y, first, std::min(kBlockRows, s.rows - first), s.in, s.out);
  });
}

void linear_backward(const float* dy, const float* x, const float* w, float* dx, float* dw, float* db, const LinearShape& s,
                     int threads) {
  const auto [rows, in, out] = s;
  const int64_t chunk = std::max(kBlockRows, kChunkFloats / in / kBlockRows * kBlockRows),
                stride = panel_stride(std::min(chunk, rows));
  Scratch shared;
  float *wp = shared.take(panels(in) * out * kPanel), *xp = shared.take(panels(in) * stride),
        *zeros = shared.take(panels(in) * kPanel);
  pack_panels(w, in, 1, out, in, out * kPanel, wp);
  std::fill_n(zeros, panels(in) * kPanel, 0.0f);
  std::fill_n(db, out, 0.0f);

  for (int64_t begin = 0; begin < std::max<int64_t>(rows, 1); begin += chunk) {
    const int64_t in_chunk = std::min(chunk, rows - begin);
    const float *dyc = dy + begin * out, *xc = x + begin * in;
    parallel_for(threads, blocks_of(in_chunk, kBlockRows), [&](int64_t block) {
      const int64_t first = block * kBlockRows, count = std::min(kBlockRows, in_chunk - first);
      rows_block(dyc, wp, zeros, dx + begin * in, first, count, out, in);
      for (int64_t c = 0; c < panels(in); ++c)
        pack_panel(xc + first * in + c * kPanel, in, 1, count, in - c * kPanel, xp + c * stride + first * kPanel);
    });
    parallel_for(threads, panels(out) + 1, [&](int64_t p) {
      if (p == panels(out)) return add_rows(dyc, out, in_chunk, out, db);
      for (int64_t first = 0; first < std::max<int64_t>(in_chunk, 1); first += kDepthRows) {
        const int64_t depth = std::min(kDepthRows, in_chunk - first);
        for_tiles(std::min<int64_t>(kPanel, out - p * kPanel), [&](auto m, int64_t i) {
          for (int64_t c = 0; c < panels(in); ++c) {
            weight_tile<m>(dyc + first * out + p * kPanel + i, out, xp + c * stride + first * kPanel, depth,
                           dw + (p * kPanel + i) * in + c * kPanel, in, in - c * kPanel, begin + first > 0);
          }
        });
      }
    });
  }
}

}  // namespace b4r
