// Random bits as a pure function of (seed, coordinates): Philox4x32-7 (Salmon et al., SC 2011); docs/dropout.md has the scheme.
//
// One call turns a counter of four 32-bit words into four random words: eight fields of 16 bits, one for each of eight
// neighbouring columns. A lane of 64 bits holds one word in its low half, so that the 32 x 32 -> 64 bit product is one
// instruction; all lanes of a vector run calls of their own. 7 rounds of 2 products: 1.75 products a random element.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace b4r {

using Lanes = uint64_t __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / 8;

// The product of the low halves. GCC does not find these instructions from a mask and a multiplication.
inline Lanes multiply_low_halves(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

inline Lanes lanes(uint64_t value) { return Lanes{} + value; }

struct PhiloxWords {
  Lanes w0, w1, w2, w3;  // only the low halves count
};

inline PhiloxWords philox(uint64_t seed, Lanes c0, Lanes c1, Lanes c2, Lanes c3) {
  constexpr int kRounds = 7;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 7
  for (int round = 0; round < kRounds; ++round) {
    const Lanes p0 = multiply_low_halves(c0, lanes(0xD2511F53u));
    const Lanes p1 = multiply_low_halves(c2, lanes(0xCD9E8D57u));
    c0 = (p1 >> 32) ^ c1 ^ lanes(k0);
    c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ lanes(k1);
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// One 16-bit mask an element: all ones where it is kept.
using Keep = int16_t;

// What Dropout multiplies by. threshold: how many of the 65,536 values of a field drop the element; scale: of the kept ones.
struct Dropout {
  uint64_t seed;
  int32_t threshold;
  float scale;
};

// Columns that one vector of calls serves: a row of factors is padded to a multiple of this.
constexpr int64_t kDropoutColumns = kLanes * 8;

// keep[i][0 .. 7] for the 8 columns of an octet, of kLanes rows, each row `stride` masks after the one before.
B4R_INLINE void keep_octet(const Dropout& dropout, Lanes rows, Lanes octet, Lanes group, Keep* keep, int64_t stride) {
  using Fields = int16_t __attribute__((vector_size(kVectorBytes)));
  const PhiloxWords words = philox(dropout.seed, rows, octet, group, lanes(0));
  const Fields lowest_kept = Fields{} + static_cast<int16_t>(dropout.threshold - 32768);
  // A comparison gives one mask a field: fields 0 to 3 of a row are a lane of `low`, 4 to 7 one of `high`.
  const Lanes low = (Lanes)((Fields)((words.w0 & 0xFFFFFFFFu) | (words.w1 << 32)) >= lowest_kept);
  const Lanes high = (Lanes)((Fields)((words.w2 & 0xFFFFFFFFu) | (words.w3 << 32)) >= lowest_kept);
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t row[2] = {low[lane], high[lane]};
    std::memcpy(keep + lane * stride, row, sizeof row);
  }
}

// factors[c] = keep(row, c, group) ? scale : 0 for the columns of one row, and for the padding after them.
inline void dropout_factors(const Dropout& dropout, uint32_t row, uint32_t group, int64_t columns, float* factors) {
  Lanes octet;
  for (int lane = 0; lane < kLanes; ++lane) octet[lane] = lane;
  for (int64_t column = 0; column < columns; column += kDropoutColumns, octet += kLanes) {
    Keep keep[kDropoutColumns];
    keep_octet(dropout, lanes(row), octet, lanes(group), keep, 8);
    for (int64_t c = 0; c < kDropoutColumns; ++c) factors[column + c] = keep[c] ? dropout.scale : 0.0f;
  }
}

// keep[r][0 .. 15] for 16 columns from `column`, a multiple of 16, of the rows first_row to first_row + rows - 1, and of up to
// kLanes - 1 more.
inline void keep_panel(const Dropout& dropout, uint32_t first_row, int64_t rows, int64_t column, uint32_t group, Keep* keep) {
  Lanes row;
  for (int lane = 0; lane < kLanes; ++lane) row[lane] = first_row + lane;
  for (int64_t r = 0; r < rows; r += kLanes, row += kLanes) {
    keep_octet(dropout, row, lanes(column / 8), lanes(group), keep + r * 16, 16);
    keep_octet(dropout, row, lanes(column / 8 + 1), lanes(group), keep + r * 16 + 8, 16);
  }
}

}  // namespace b4r
