// Vectors of floats as wide as the instruction set that this module is built for, and the functions
// of one number that kernels need.
//
// Comparisons and selections treat NaN so that it stays visible: larger(a, x), smaller(a, x) and
// exp2(x) are NaN where x is.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define B4R_INLINE inline __attribute__((always_inline))
#define B4R_INLINE_LAMBDA __attribute__((always_inline))
#define B4R_NOINLINE __attribute__((noinline))

namespace b4r {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kWidth = kVectorBytes / 4;

using Vec = float __attribute__((vector_size(kVectorBytes)));
using Int = int32_t __attribute__((vector_size(kVectorBytes)));
using Bits = uint32_t __attribute__((vector_size(kVectorBytes)));

B4R_INLINE Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
B4R_INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
B4R_INLINE Vec broadcast(float x) {
  return x - Vec{};
}  // 0 + x would not be x for x = -0, so it costs an addition
B4R_INLINE Int broadcast(int32_t x) { return Int{} + x; }

// a b + c, rounded once where the instruction set can. GCC 12 left to itself picks the form that
// overwrites a factor, and spills accumulators to make up for it; so the form is named.
B4R_INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  asm("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
  return c;
#elif defined(__FMA__)
  asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
  return c;
#else
  return a * b + c;
#endif
}

// The instructions return their second operand where either is NaN.
#if defined(__AVX512F__)
B4R_INLINE Vec larger(Vec a, Vec x) { return (Vec)_mm512_max_ps((__m512)a, (__m512)x); }
B4R_INLINE Vec smaller(Vec a, Vec x) { return (Vec)_mm512_min_ps((__m512)a, (__m512)x); }
#elif defined(__AVX2__)
B4R_INLINE Vec larger(Vec a, Vec x) { return (Vec)_mm256_max_ps((__m256)a, (__m256)x); }
B4R_INLINE Vec smaller(Vec a, Vec x) { return (Vec)_mm256_min_ps((__m256)a, (__m256)x); }
#elif defined(__SSE2__)
B4R_INLINE Vec larger(Vec a, Vec x) { return (Vec)_mm_max_ps((__m128)a, (__m128)x); }
B4R_INLINE Vec smaller(Vec a, Vec x) { return (Vec)_mm_min_ps((__m128)a, (__m128)x); }
#else
B4R_INLINE Vec larger(Vec a, Vec x) { return a > x ? a : x; }
B4R_INLINE Vec smaller(Vec a, Vec x) { return a < x ? a : x; }
#endif

// The sum of the lanes, by halves: a chain of kWidth additions would be the longest wait of a short
// row.
B4R_INLINE float sum(Vec v) {
#if defined(__AVX512F__)
  const __m256 half =
      _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  const __m128 quarter =
      _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
  const Vec quarter = v;
#endif
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// Bit i is set where a[i] > b[i].
B4R_INLINE uint32_t above(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)));
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kWidth; ++i) bits |= static_cast<uint32_t>(a[i] > b[i]) << i;
  return bits;
#endif
}

// Lanes i < count all ones, the others 0.
B4R_INLINE Int first_lanes(int64_t count) {
  Int lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
  return lane < broadcast(static_cast<int32_t>(count < kWidth ? count : kWidth));
}

B4R_INLINE Vec keep_where(Int mask, Vec v) { return (Vec)((Int)v & mask); }

// 16-bit masks, all ones or 0, as masks of lanes.
B4R_INLINE Int lane_masks(const int16_t* masks) {
#if defined(__SSE2__) && !defined(__AVX2__)
  const __m128i mask = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(masks));
  return (Int)_mm_unpacklo_epi16(mask, mask);  // without SSE4.1's sign extension
#else
  using Shorts = int16_t __attribute__((vector_size(kVectorBytes / 2)));
  Shorts mask;
  std::memcpy(&mask, masks, sizeof mask);
  return __builtin_convertvector(mask, Int);
#endif
}

B4R_INLINE Vec keep_where(const int16_t* masks, Vec v) { return keep_where(lane_masks(masks), v); }

// Asks for numbers that are read after some arithmetic on others, so that memory works meanwhile.
// Before the masks of dropout are drawn it is worth a fifth of a layer norm: 1.37 -> 1.05 ms with
// AVX2, 1.13 -> 0.90 ms with AVX-512 (28,000 rows of 64).
B4R_INLINE void prefetch(const float* numbers, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(numbers + i);
}

// The same for numbers that the next block reads or writes: to L2, as L1 is full of this block's.
B4R_INLINE void prefetch_block(const float* numbers, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(numbers + i, 0, 2);
}

// The columns of a vector: all of it, or the first `count`, where nothing beyond is read or written
// and loads are 0 there.
struct AllColumns {
  static constexpr int64_t count = kWidth;

  B4R_INLINE Vec load(const float* p) const { return b4r::load(p); }
  B4R_INLINE void store(float* p, Vec v) const { b4r::store(p, v); }
  B4R_INLINE Vec only(Vec v) const { return v; }
};

struct FirstColumns {
  int64_t count;
  Int mask;

#if defined(__AVX512F__)
  B4R_INLINE Vec load(const float* p) const {
    return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
  }
  B4R_INLINE void store(float* p, Vec v) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
  }
#elif defined(__AVX2__)
  B4R_INLINE Vec load(const float* p) const { return (Vec)_mm256_maskload_ps(p, (__m256i)mask); }
  B4R_INLINE void store(float* p, Vec v) const { _mm256_maskstore_ps(p, (__m256i)mask, (__m256)v); }
#else
  B4R_INLINE Vec load(const float* p) const {
    Vec v = {};
    for (int64_t i = 0; i < count; ++i) v[i] = p[i];
    return v;
  }
  B4R_INLINE void store(float* p, Vec v) const {
    for (int64_t i = 0; i < count; ++i) p[i] = v[i];
  }
#endif
  B4R_INLINE Vec only(Vec v) const { return keep_where(mask, v); }
};

// The square matrix of kWidth vectors, transposed: blocks of 4 x 4 within each quarter of a vector,
// then quarters. Every step is one instruction.
#if defined(__GNUC__) && !defined(__clang__)
template <class From, int... LANE>
B4R_INLINE Vec pick(Vec a, Vec b, std::integer_sequence<int, LANE...>) {
  return __builtin_shuffle(a, b, Int{From::of(LANE)...});
}
template <class From>
B4R_INLINE Vec
pick(Vec a, Vec b) {  // lane l is lane From::of(l) of a, or of b where that is kWidth or more
  return pick<From>(a, b, std::make_integer_sequence<int, kWidth>{});
}
template <int HALF>
struct Interleaved {  // of each quarter: a0 b0 a1 b1, or a2 b2 a3 b3
  static constexpr int of(int l) { return l / 4 * 4 + l % 4 / 2 + 2 * HALF + l % 2 * kWidth; }
};
template <int HALF>
struct Halves {  // of each quarter: a0 a1 b0 b1, or a2 a3 b2 b3
  static constexpr int of(int l) { return l / 4 * 4 + l % 2 + 2 * HALF + l % 4 / 2 * kWidth; }
};
template <int ODD>
struct Quarters {  // the even ones of a, then those of b; or the odd ones
  static constexpr int of(int l) {
    return l * 2 / kWidth * kWidth + (l / 4 * 2 + ODD) * 4 % kWidth + l % 4;
  }
};

B4R_INLINE void transpose(Vec (&v)[kWidth]) {
#pragma GCC unroll 4
  for (int i = 0; i < kWidth; i += 4) {
    const Vec a = pick<Interleaved<0>>(v[i], v[i + 1]),
              b = pick<Interleaved<0>>(v[i + 2], v[i + 3]);
    const Vec c = pick<Interleaved<1>>(v[i], v[i + 1]),
              d = pick<Interleaved<1>>(v[i + 2], v[i + 3]);
    v[i] = pick<Halves<0>>(a, b), v[i + 1] = pick<Halves<1>>(a, b);
    v[i + 2] = pick<Halves<0>>(c, d), v[i + 3] = pick<Halves<1>>(c, d);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4 && kWidth > 4; ++j) {
    Vec even[kWidth / 8 + 1], odd[kWidth / 8 + 1];
#pragma GCC unroll 2
    for (int h = 0; h < kWidth / 8; ++h) {
      even[h] = pick<Quarters<0>>(v[8 * h + j], v[8 * h + 4 + j]);
      odd[h] = pick<Quarters<1>>(v[8 * h + j], v[8 * h + 4 + j]);
    }
    if (kWidth == 8) {
      v[j] = even[0], v[4 % kWidth + j] = odd[0];
    } else {
      v[j] = pick<Quarters<0>>(even[0], even[1]),
      v[8 % kWidth + j] = pick<Quarters<1>>(even[0], even[1]);
      v[4 % kWidth + j] = pick<Quarters<0>>(odd[0], odd[1]),
                     v[12 % kWidth + j] = pick<Quarters<1>>(odd[0], odd[1]);
    }
  }
}
#else
B4R_INLINE void transpose(Vec (&v)[kWidth]) {
  for (int i = 0; i < kWidth; ++i)
    for (int j = 0; j < i; ++j) {
      const float x = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = x;
    }
}
#endif

// Call f(first column, AllColumns or FirstColumns) for the vectors of a row of d columns.
template <class F>
B4R_INLINE void for_columns(int64_t d, const F& f) {
  int64_t c = 0;
  for (; c + kWidth <= d; c += kWidth) f(c, AllColumns{});
  if (c < d) f(c, FirstColumns{d - c, first_lanes(d - c)});
}

// a . b of d numbers.
B4R_INLINE float dot(const float* a, const float* b, int64_t d) {
  Vec total{};
  for_columns(d, [&](int64_t c, const auto& lanes) {
    total = fma(lanes.load(a + c), lanes.load(b + c), total);
  });
  return sum(total);
}

// 2^x for x <= 127, 2^-126 for all x below that: relative error 7.5e-8. Rounds x to an integer by
// adding 1.5 2^23, and adds that to the exponent of a polynomial on [-1/2, 1/2].
B4R_INLINE Vec exp2(Vec x) {
  const Vec magic = broadcast(12582912.0f);
  x = larger(broadcast(-126.0f), x);
  const Vec shifted = x + magic, r = x - (shifted - magic);
  Vec p = broadcast(1.5433607e-04f);
  p = fma(p, r, broadcast(1.3398873e-03f));
  p = fma(p, r, broadcast(9.6181290e-03f));
  p = fma(p, r, broadcast(5.5503324e-02f));
  p = fma(p, r, broadcast(2.4022651e-01f));
  p = fma(p, r, broadcast(6.9314718e-01f));
  p = fma(p, r, broadcast(1.0f));
  return (Vec)((Bits)p + ((Bits)shifted << 23));
}

constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// e^x for x <= 88.
B4R_INLINE Vec exp(Vec x) { return exp2(x * broadcast(kLog2E)); }

}  // namespace b4r
