// AdamW (Loshchilov and Hutter 2019, algorithm 2) on the rows that a step names; all others, their
// moments too, stay as they are:
//   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
//   p = (1 - rate decay) p - rate / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
//
// Read and written in place, one visit: 28 bytes a number, where a dense step moves them for every
// row of the table.
#include "cpu/adamw_rows.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/simd.h"

namespace b4r {
namespace {

B4R_INLINE Vec square_root(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (Vec)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kWidth; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

}  // namespace

void adamw_rows(float* table, float* exp_avg, float* exp_avg_sq, const int64_t* rows,
                const float* gradient, int64_t count, int64_t d, const AdamW& adamw, int threads) {
  constexpr int64_t kRowsPerTask = 64, kAhead = 4;
  const double correction1 = 1 - std::pow(adamw.beta1, adamw.step),
               correction2 = 1 - std::pow(adamw.beta2, adamw.step);
  const auto constant = [](double x) { return broadcast(static_cast<float>(x)); };
  const Vec keep = constant(1 - adamw.rate * adamw.weight_decay),
            rate = constant(adamw.rate / correction1), root = constant(1 / std::sqrt(correction2)),
            eps = constant(adamw.eps), beta1 = constant(adamw.beta1), beta2 = constant(adamw.beta2),
            fresh1 = constant(1 - adamw.beta1), fresh2 = constant(1 - adamw.beta2);
  parallel_for(threads, blocks_of(count, kRowsPerTask), [&](int64_t task) {
    const int64_t end = std::min(count, (task + 1) * kRowsPerTask);
    for (int64_t i = task * kRowsPerTask; i < end; ++i) {
      const int64_t later = rows[std::min(i + kAhead, end - 1)] * d;
      for (const float* of : {table, exp_avg, exp_avg_sq}) prefetch(of + later, d);
      for_columns(d, [&](int64_t c, auto columns) {
        const int64_t at = rows[i] * d + c;
        const Vec g = columns.load(gradient + i * d + c);
        const Vec m = fma(beta1, columns.load(exp_avg + at), fresh1 * g);
        const Vec v = fma(beta2, columns.load(exp_avg_sq + at), fresh2 * g * g);
        columns.store(exp_avg + at, m);
        columns.store(exp_avg_sq + at, v);
        columns.store(table + at,
                      keep * columns.load(table + at) - rate * m / (square_root(v) * root + eps));
      });
    }
  });
}

}  // namespace b4r
