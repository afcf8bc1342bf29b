// Random bits as a pure function of (seed, coordinates): Philox4x32-7 (Salmon et al., SC 2011);
// docs/dropout.md has the scheme.
//
// One call turns a counter of four 32-bit words into four random words: eight fields of 16 bits,
// one for each of eight neighbouring columns. A lane of 64 bits holds one word in its low half, so
// that the 32 x 32 -> 64 bit product is one instruction; all lanes of a vector run calls of their
// own. 7 rounds of 2 products: 1.75 products a random element.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace b4r {

using Lanes = uint64_t __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / 8;

// The product of the low halves. GCC does not find these instructions from a mask and a
// multiplication.
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

// The keys of all rounds. Held by the loops over counters: a key made anew costs each round as much
// as its arithmetic.
struct PhiloxKeys {
  static constexpr int kRounds = 7;
  Lanes k0[kRounds], k1[kRounds];

  B4R_INLINE explicit PhiloxKeys(uint64_t seed) {
#pragma GCC unroll 7
    for (uint32_t round = 0; round < kRounds; ++round) {
      k0[round] = lanes(static_cast<uint32_t>(seed) + round * 0x9E3779B9u);
      k1[round] = lanes(static_cast<uint32_t>(seed >> 32) + round * 0xBB67AE85u);
    }
  }
};

// Of the counters, too, only the low halves count.
B4R_INLINE PhiloxWords philox(const PhiloxKeys& keys, Lanes c0, Lanes c1, Lanes c2, Lanes c3) {
#pragma GCC unroll 7
  for (int round = 0; round < PhiloxKeys::kRounds; ++round) {
    const Lanes p0 = multiply_low_halves(c0, lanes(0xD2511F53u));
    const Lanes p1 = multiply_low_halves(c2, lanes(0xCD9E8D57u));
    c0 = (p1 >> 32) ^ c1 ^ keys.k0[round];
    c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ keys.k1[round];
    c3 = p0;
  }
  return {c0, c1, c2, c3};
}

B4R_INLINE Lanes first_counters(uint64_t first) {
  Lanes counter;
  for (int lane = 0; lane < kLanes; ++lane) counter[lane] = first + lane;
  return counter;
}

// The 16 bytes of each lane, {low, high}, `stride` bytes apart.
B4R_INLINE void store_lanes(Lanes low, Lanes high, void* to, int64_t stride) {
#if defined(__AVX512F__)
  const Lanes even = (Lanes)_mm512_unpacklo_epi64((__m512i)low, (__m512i)high);
  const Lanes odd = (Lanes)_mm512_unpackhi_epi64((__m512i)low, (__m512i)high);
#elif defined(__AVX2__)
  const Lanes even = (Lanes)_mm256_unpacklo_epi64((__m256i)low, (__m256i)high);
  const Lanes odd = (Lanes)_mm256_unpackhi_epi64((__m256i)low, (__m256i)high);
#elif defined(__SSE2__)
  const Lanes even = (Lanes)_mm_unpacklo_epi64((__m128i)low, (__m128i)high);
  const Lanes odd = (Lanes)_mm_unpackhi_epi64((__m128i)low, (__m128i)high);
#else
  const Lanes even = {low[0], high[0]}, odd = {low[1], high[1]};
#endif
#pragma GCC unroll 4
  for (int pair = 0; pair < kLanes / 2; ++pair) {
    std::memcpy(static_cast<char*>(to) + 2 * pair * stride,
                reinterpret_cast<const char*>(&even) + 16 * pair, 16);
    std::memcpy(static_cast<char*>(to) + (2 * pair + 1) * stride,
                reinterpret_cast<const char*>(&odd) + 16 * pair, 16);
  }
}

// One 16-bit mask an element: all ones where it is kept.
using Keep = int16_t;

// What Dropout multiplies by. threshold: how many of the 65,536 values of a field drop the element;
// scale: of the kept ones.
struct Dropout {
  uint64_t seed;
  int32_t threshold;
  float scale;
};

// Draws the masks of one op.
struct KeepDraw {
  using Fields = int16_t __attribute__((vector_size(kVectorBytes)));
  PhiloxKeys keys;
  Fields lowest_kept;

  B4R_INLINE explicit KeepDraw(const Dropout& dropout)
      : keys(dropout.seed),
        lowest_kept(Fields{} + static_cast<int16_t>(dropout.threshold - 32768)) {}

  // keep[lane][0 .. 7] for the 8 columns of an octet of a row, both counted by the lanes; `stride`
  // masks between lanes.
  B4R_INLINE void octet(Lanes row, Lanes octet, Lanes group, Keep* keep, int64_t stride) const {
    const PhiloxWords words = philox(keys, row, octet, group, lanes(0));
    // A comparison gives one mask a field: fields 0 to 3 of a row are a lane of `low`, 4 to 7 one
    // of `high`.
    const Lanes low = (Lanes)((Fields)((words.w0 & 0xFFFFFFFFu) | (words.w1 << 32)) >= lowest_kept);
    const Lanes high =
        (Lanes)((Fields)((words.w2 & 0xFFFFFFFFu) | (words.w3 << 32)) >= lowest_kept);
    store_lanes(low, high, keep, stride * static_cast<int64_t>(sizeof(Keep)));
  }
};

// keep[r][0 .. columns - 1] for `columns` columns from `column`, both multiples of 8, of the rows
// first_row to first_row + rows - 1, and of up to kLanes - 1 more.
inline void keep_panel(const Dropout& dropout, uint32_t first_row, int64_t rows, int64_t column,
                       int64_t columns, uint32_t group, Keep* keep) {
  const KeepDraw draw(dropout);
  Lanes row = first_counters(first_row);
  for (int64_t r = 0; r < rows; r += kLanes, row += kLanes) {
    for (int64_t c = 0; c < columns; c += 8)
      draw.octet(row, lanes((column + c) / 8), lanes(group), keep + r * columns + c, columns);
  }
}

// Masks from one row of a matrix to the next, in keep_rows.
inline int64_t keep_stride(int64_t columns) { return (columns + 7) / 8 * 8; }
// Masks that keep_rows writes, or that reading them a vector at a time touches.
inline int64_t keep_count(int64_t rows, int64_t columns) {
  return rows * keep_stride(columns) + kLanes * 8;
}

// keep[r][0 .. columns - 1] for the rows first_row to first_row + rows - 1. Lanes run through the
// octets of row after row, so that none is idle at any number of columns.
inline void keep_rows(const KeepDraw& draw, uint32_t first_row, int64_t rows, int64_t columns,
                      Keep* keep) {
  if (columns == 0) return;
  const int32_t octets = static_cast<int32_t>(keep_stride(columns) / 8);
  Lanes row, octet;
  for (int lane = 0; lane < kLanes; ++lane) {
    row[lane] = first_row + lane / octets;
    octet[lane] = lane % octets;
  }
  // In 32 bits, as every instruction set compares those; the upper halves do not count.
  const Int next_row = broadcast(kLanes / octets + 1), next_octet = broadcast(kLanes % octets),
            end = broadcast(octets);
  for (int64_t i = 0; i < rows * octets; i += kLanes, keep += kLanes * 8) {
    draw.octet(row, octet, lanes(0), keep, 8);
    const Int next = (Int)octet + next_octet, in_row = next < end;
    octet = (Lanes)(next - (end & ~in_row));
    row = (Lanes)((Int)row + next_row + in_row);
  }
}

// Words 4 first_call to 4 (first_call + calls) - 1 of a stream, and of up to kLanes - 1 calls more:
// word w is one of counter (w div 4 mod 2^32, w div 4 div 2^32, 0, stream). Word: uint32_t, or
// uint64_t for two words as one number, the first its low half.
template <class Word>
void random_words(uint64_t seed, int64_t first_call, int64_t calls, uint32_t stream, Word* words) {
  constexpr int64_t kWordsPerCall = 16 / sizeof(Word);
  const PhiloxKeys keys(seed);
  Lanes call = first_counters(static_cast<uint64_t>(first_call));
  for (int64_t i = 0; i < calls; i += kLanes, call += kLanes, words += kLanes * kWordsPerCall) {
    const PhiloxWords w = philox(keys, call, call >> 32, lanes(0), lanes(stream));
    store_lanes((w.w0 & 0xFFFFFFFFu) | (w.w1 << 32), (w.w2 & 0xFFFFFFFFu) | (w.w3 << 32), words,
                16);
  }
}

}  // namespace b4r
