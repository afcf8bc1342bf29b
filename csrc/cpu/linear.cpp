// y = x w^T + b. Backward: dx = dy w, dw = dy^T x, db = sum dy.
//
// x, dx: (T, in) contiguous. y, dy: (T, out). w, dw: (out, in). b, db: (out,). Everything written
// is overwritten. Operations: forward 2 T in out, backward 4. The backward visits each block of
// rows once: dx, and its part of dw and db, which are added up for each range of rows, and the
// ranges in their order at the end. Ranges follow from the sizes, so the bits do not depend on the
// threads.
#include "cpu/linear.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/rows.h"

namespace b4r {
namespace {

constexpr int64_t kRanges = 16;
constexpr int64_t kPartFloats = int64_t{1} << 23;  // of dw for all ranges together: 32 MB

template <int M>
B4R_NOINLINE void rows_tile(const float* x, const float* w, const float* start, int64_t depth,
                            float* y, int64_t row, int64_t columns) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, x, depth, 1, w, depth);
  add_row(c, start);
  write(c, y, row, columns, false);
}

// y = x w + start for rows first .. first + count - 1; w in panels of `out`, each with `in` rows.
void rows_block(const float* x, const float* w, const float* start, float* y, int64_t first,
                int64_t count, int64_t in, int64_t out) {
  for (int64_t p = 0; p < panels(out); ++p) {
    for_tiles(count, [&](auto m, int64_t i) {
      rows_tile<m>(x + (first + i) * in, w + p * in * kPanel, start + p * kPanel, in,
                   y + (first + i) * out + p * kPanel, out, out - p * kPanel);
    });
  }
}

}  // namespace

void linear(const float* x, const float* w, const float* b, float* y, const LinearShape& s,
            int threads) {
  Scratch shared;
  float* wp = shared.take(panels(s.out) * s.in * kPanel);
  pack_panels(w, 1, s.in, s.in, s.out, s.in * kPanel, wp);
  const float* start = padded(shared, b, s.out);
  parallel_for(threads, blocks_of(s.rows, kBlockRows), [&](int64_t block) {
    const int64_t first = block * kBlockRows;
    rows_block(x, wp, start, y, first, std::min(kBlockRows, s.rows - first), s.in, s.out);
  });
}

void linear_backward(const float* dy, const float* x, const float* w, float* dx, float* dw,
                     float* db, const LinearShape& s, int threads) {
  const auto [rows, in, out] = s;
  const int64_t blocks = blocks_of(rows, kBlockRows), size = out * in;
  const int64_t ranges =
      std::clamp<int64_t>(std::min(blocks, kPartFloats / std::max<int64_t>(size, 1)), 1, kRanges);
  Scratch shared;
  float *wp = shared.take(panels(in) * out * kPanel), *zeros = shared.take(panels(in) * kPanel);
  float *dws = shared.take(ranges * size), *dbs = shared.take(ranges * out);
  pack_panels(w, in, 1, out, in, out * kPanel, wp);
  std::fill_n(zeros, panels(in) * kPanel, 0.0f);
  std::fill_n(dbs, ranges * out, 0.0f);

  parallel_for(threads, ranges, [&](int64_t g) {
    Scratch own;
    float *xp = own.take(panels(in) * kBlockRows * kPanel), *dwg = dws + g * size;
    const int64_t begin = blocks * g / ranges, end = blocks * (g + 1) / ranges;
    if (begin == end) std::fill_n(dwg, size, 0.0f);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows - first);
      const float* dyb = dy + first * out;
      rows_block(dy, wp, zeros, dx, first, count, out, in);
      pack_panels(x + first * in, in, 1, count, in, count * kPanel, xp);
      for_tiles(out, [&](auto m, int64_t o) {
        for (int64_t c = 0; c < panels(in); ++c) {
          weight_tile<m>(dyb + o, out, xp + c * count * kPanel, count, dwg + o * in + c * kPanel,
                         in, in - c * kPanel, block > begin);
        }
      });
      add_rows(dyb, out, count, out, dbs + g * out);
    }
  });
  parallel_for(threads, out, [&](int64_t o) {
    float* row = dw + o * in;
    std::copy_n(dws + o * in, in, row);
    db[o] = dbs[o];
    for (int64_t g = 1; g < ranges; ++g) {
      for (int64_t c = 0; c < in; ++c) row[c] += dws[g * size + o * in + c];
      db[o] += dbs[g * out + o];
    }
  });
}

}  // namespace b4r
