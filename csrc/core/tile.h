// The one product that all kernels are built from: a tile of M rows by P columns, held in
// registers, C += A B.
//
// B comes in panels of P = 16 columns, 32 with AVX-512, [k][P] contiguous, so a step reads two
// vectors of it (four of SSE2) and broadcasts M numbers of A, which lie anywhere: A(i, k) = a[i *
// row + k * step]. M is at most kTileRows, which with the panel's vectors fills the registers: 12
// multiply-adds or more wait on nothing but each other's pipeline, and a number of A serves two of
// them. Two, because the machine loads as many vectors a cycle as it multiplies: with one a step of
// 12 multiply-adds would wait for its 13 loads. Alone a tile reaches 0.96 of the rate. Rows are cut
// into tiles as equal as possible, so no row is padded.
//
// A tile with its loop must be a function of its own (B4R_NOINLINE): inlined into a larger body,
// GCC 12 spills accumulators. Every loop over them needs its unroll pragma for the same reason.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/simd.h"

namespace b4r {

constexpr int kPanel = kWidth == 16 ? 32 : 16;  // P
constexpr int kPanelVectors = kPanel / kWidth;
constexpr int kTileRows = kWidth == 16 ? 12 : kWidth == 8 ? 6 : 2;

constexpr int64_t panels(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

template <int M>
struct Tile {
  Vec at[M][kPanelVectors];
};

// Biases go onto a finished sum. One that began with them would round every step to their digits.
//
// Onto every row the same P numbers.
template <int M>
B4R_INLINE void add_row(Tile<M>& c, const float* row) {
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] += load(row + v * kWidth);
}

// Onto every column the same numbers, one a row.
template <int M>
B4R_INLINE void add_column(Tile<M>& c, const float* column) {
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] += broadcast(column[i]);
}

template <int M>
B4R_INLINE void set_zero(Tile<M>& c) {
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] = Vec{};
}

// Where rows 0, 3, 6 and 9 of A are. From those, [pointer + row x {0, 4, 8} + constant] reaches all
// rows of a few steps, which is one operand of an instruction; left to itself GCC keeps an offset
// for each, and moves most of them in from elsewhere.
template <int M>
struct RowPointers {
  const float* at[(M + 2) / 3];

  B4R_INLINE RowPointers(const float* a, int64_t row) {
#pragma GCC unroll 4
    for (int g = 0; g < (M + 2) / 3; ++g) at[g] = a + 3 * g * row;
  }

  B4R_INLINE void advance(int64_t by) {
#pragma GCC unroll 4
    for (int g = 0; g < (M + 2) / 3; ++g) {
      at[g] += by;
      asm("" : "+r"(at[g]));  // a value of its own: not to be derived from the others
    }
  }
};

// C += A B over STEPS steps.
template <int STEPS, int M>
B4R_INLINE void multiply_add_steps(Tile<M>& c, const RowPointers<M>& a, int64_t row, int64_t step,
                                   const float* b) {
#pragma GCC unroll 4
  for (int k = 0; k < STEPS; ++k) {
    Vec bk[kPanelVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) bk[v] = load(b + k * kPanel + v * kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const Vec aik = broadcast(a.at[i / 3][i % 3 * row + k * step]);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) c.at[i][v] = fma(aik, bk[v], c.at[i][v]);
    }
  }
}

// C += A B over `depth` steps, one chain of roundings. Unrolled by hand: GCC's own remainder loop
// copies every accumulator at every step.
template <int M>
B4R_INLINE void multiply_add_chain(Tile<M>& c, const float* a, int64_t row, int64_t step,
                                   const float* b, int64_t depth) {
  RowPointers<M> at(a, row);
  at.advance(0);
  for (; depth >= 4; depth -= 4, at.advance(4 * step), b += 4 * kPanel)
    multiply_add_steps<4>(c, at, row, step, b);
  for (; depth > 0; --depth, at.advance(step), b += kPanel)
    multiply_add_steps<1>(c, at, row, step, b);
}

// Call f(row, vector, value) for every vector of the tile.
template <int M, class F>
B4R_INLINE void for_vectors(const Tile<M>& c, const F& f) {
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) f(i, v, c.at[i][v]);
}

// Steps whose roundings may follow each other: a chain of thousands loses digits.
constexpr int64_t kChain = 512;

// c += the sum of pieces of kChain steps, each from 0 by add(piece, first step, steps). Apart from
// the tile's own function, which would keep its accumulators in memory for it.
template <int M, class Add>
B4R_NOINLINE void add_chains(Tile<M>& c, int64_t depth, const Add& add) {
  for (int64_t first = 0; first < depth; first += kChain) {
    Tile<M> piece;
    set_zero(piece);
    add(piece, first, std::min(kChain, depth - first));
    for_vectors(piece, [&](int i, int v, Vec x) { c.at[i][v] += x; });
  }
}

// C += A B over `depth` steps.
template <int M>
B4R_INLINE void multiply_add(Tile<M>& c, const float* a, int64_t row, int64_t step, const float* b,
                             int64_t depth) {
  if (depth <= kChain) return multiply_add_chain(c, a, row, step, b, depth);
  Tile<M> sum = c;
  add_chains(sum, depth, [=](Tile<M>& piece, int64_t first, int64_t count) B4R_INLINE_LAMBDA {
    multiply_add_chain(piece, a + first * step, row, step, b + first * kPanel, count);
  });
  c = sum;
}

template <int M>
B4R_INLINE void multiply_add_panels_chain(Tile<M>& c, const float* a, int64_t panel, const float* b,
                                          int64_t depth) {
  for (; depth >= kPanel; depth -= kPanel, a += panel, b += kPanel * kPanel)
    multiply_add_chain(c, a, kPanel, 1, b, kPanel);
  if (depth > 0) multiply_add_chain(c, a, kPanel, 1, b, depth);
}

// The same with A in panels: A(i, k) = a[(k div P) * panel + i * P + k mod P].
template <int M>
B4R_INLINE void multiply_add_panels(Tile<M>& c, const float* a, int64_t panel, const float* b,
                                    int64_t depth) {
  if (depth <= kChain) return multiply_add_panels_chain(c, a, panel, b, depth);
  Tile<M> sum = c;
  add_chains(sum, depth, [=](Tile<M>& piece, int64_t first, int64_t count) B4R_INLINE_LAMBDA {
    multiply_add_panels_chain(piece, a + first / kPanel * panel, panel, b + first * kPanel, count);
  });
  c = sum;
}

// out(i, 0 .. columns - 1) = C, or += C; columns is at most P.
template <int M>
B4R_INLINE void write(const Tile<M>& c, float* out, int64_t row, int64_t columns, bool add) {
  if (columns >= kPanel) {
    for_vectors(c, [&](int i, int v, Vec x) {
      float* to = out + i * row + v * kWidth;
      store(to, add ? load(to) + x : x);
    });
  } else {
    float copy[M][kPanel];
    for_vectors(c, [&](int i, int v, Vec x) { store(copy[i] + v * kWidth, x); });
    for (int i = 0; i < M; ++i)
      for (int64_t j = 0; j < columns; ++j)
        out[i * row + j] = add ? out[i * row + j] + copy[i][j] : copy[i][j];
  }
}

// Call f(tile height as a constant, first row) for tiles that cover `rows` rows.
template <class F>
B4R_INLINE void for_tiles(int64_t rows, const F& f) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t t = 0, first = 0; t < tiles; ++t) {
    const int64_t height = rows / tiles + (t < rows % tiles);
    switch (height) {
#define B4R_HEIGHT(M)                                                         \
  case M:                                                                     \
    if constexpr (M <= kTileRows) f(std::integral_constant<int, M>{}, first); \
    break
      B4R_HEIGHT(1);
      B4R_HEIGHT(2);
      B4R_HEIGHT(3);
      B4R_HEIGHT(4);
      B4R_HEIGHT(5);
      B4R_HEIGHT(6);
      B4R_HEIGHT(7);
      B4R_HEIGHT(8);
      B4R_HEIGHT(9);
      B4R_HEIGHT(10);
      B4R_HEIGHT(11);
      B4R_HEIGHT(12);
#undef B4R_HEIGHT
    }
    first += height;
  }
}

// Panels of a matrix (rows, columns), element (r, c) at source[r * row + c * column], with zeros
// beyond its columns:
//   to[c div P][r][c mod P], panels `stride` floats apart.
//
// One panel where row is 1: a transpose.
inline void pack_panel_transposed(const float* source, int64_t column, int64_t rows,
                                  int64_t columns, float* to) {
  for_columns(rows, [&](int64_t r, const auto& lanes) {
    for (int64_t c = 0; c < kPanel; c += kWidth) {
      Vec square[kWidth];
#pragma GCC unroll 16
      for (int j = 0; j < kWidth; ++j)
        square[j] = c + j < columns ? lanes.load(source + (c + j) * column + r) : Vec{};
      transpose(square);
#pragma GCC unroll 16
      for (int j = 0; j < lanes.count; ++j) store(to + (r + j) * kPanel + c, square[j]);
    }
  });
}

inline void pack_panel(const float* source, int64_t row, int64_t column, int64_t rows,
                       int64_t columns, float* to) {
  if (row == 1) return pack_panel_transposed(source, column, rows, columns, to);
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = source + r * row;
    float* line = to + r * kPanel;
    if (column == 1 && columns >= kPanel) {
      std::memcpy(line, from, kPanel * sizeof(float));
    } else {
      for (int64_t c = 0; c < kPanel; ++c) line[c] = c < columns ? from[c * column] : 0.0f;
    }
  }
}

inline void pack_panels(const float* source, int64_t row, int64_t column, int64_t rows,
                        int64_t columns, int64_t stride, float* to) {
  for (int64_t p = 0; p < panels(columns); ++p)
    pack_panel(source + p * kPanel * column, row, column, rows, columns - p * kPanel,
               to + p * stride);
}

}  // namespace b4r
