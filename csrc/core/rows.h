// What ops over many rows share: how rows are cut, sums over rows, gradients of weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/scratch.h"
#include "core/tile.h"

namespace b4r {

// Rows that are one task: with 256 columns 96 KB, in L2 beside the weights.
constexpr int64_t kBlockRows = 96;

// Floats from one panel to the next where a panel has `rows` rows: an odd number of cache lines, or
// panels would fall on few sets of L1.
inline int64_t panel_stride(int64_t rows) { return (rows | 1) * kPanel; }

// Exponents of base 2 that need no maximum taken off: 2^60 times 2^32 of them is far from overflow,
// and 2^-60 from underflow.
constexpr float kSafeExponent = 60.0f;

// The largest Euclidean norm of `rows` rows; NaN where one is.
inline float largest_norm(const float* x, int64_t row, int64_t rows, int64_t d) {
  float largest = 0.0f;
  for (int64_t r = 0; r < rows; ++r) {
    const float square = dot(x + r * row, x + r * row, d);
    largest = square <= largest ? largest : square;  // NaN gets through
  }
  return std::sqrt(largest);
}

// total[c] += sum over rows of x(row, c), in partial sums of kPartial rows: a plain sum of
// thousands would lose digits.
inline void add_rows(const float* x, int64_t row, int64_t rows, int64_t columns, float* total) {
  constexpr int64_t kPartial = 64;
  Scratch scratch;
  float* partial = scratch.take(columns);
  for (int64_t first = 0; first < rows; first += kPartial) {
    std::fill_n(partial, columns, 0.0f);
    for (int64_t r = first; r < std::min(rows, first + kPartial); ++r)
      for (int64_t c = 0; c < columns; ++c) partial[c] += x[r * row + c];
    for (int64_t c = 0; c < columns; ++c) total[c] += partial[c];
  }
}

// out = A^T B, or += where `add`, over `depth` rows: A(i, k) = a[k * step + i], B one panel.
template <int M>
B4R_NOINLINE void weight_tile(const float* a, int64_t step, const float* b, int64_t depth,
                              float* out, int64_t row, int64_t columns, bool add) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, a, 1, step, b, depth);
  write(c, out, row, columns, add);
}

// A vector in scratch, with zeros up to whole panels.
inline float* padded(Scratch& scratch, const float* values, int64_t count) {
  float* to = scratch.take(panels(count) * kPanel);
  pack_panels(values, 0, 1, 1, count, kPanel, to);
  return to;
}

}  // namespace b4r
