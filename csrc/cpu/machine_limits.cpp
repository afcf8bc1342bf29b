// The two rates that bound every kernel here, measured by code that does nothing else.
//
// fma_rate: multiply-adds of the widest vectors of this instruction set in 12 independent chains,
// enough for 2 a cycle at a latency of up to 6, on registers alone; 2 operations a lane. Each
// thread's best burst, some 0.1 ms, and the sum over threads: what other processes take is left out
// as far as bursts are undisturbed. read_bandwidth: one pass over `count` numbers, 4 bytes each, by
// all threads. Take more than the caches hold.
#include "cpu/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/parallel.h"
#include "core/simd.h"

namespace b4r {
namespace {

constexpr int kChains = 12;
constexpr int64_t kSteps = 20000;             // of a burst
constexpr int64_t kPiece = int64_t{1} << 18;  // numbers that a thread reads at a time: 1 MB

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

B4R_NOINLINE float burst(float factor, float start) {
  const Vec x = broadcast(factor), y = broadcast(start);
  Vec chain[kChains] = {};
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
#if defined(__FMA__)
      chain[i] = fma(x, y, chain[i]);
#else
      chain[i] = chain[i] * x + y;  // the product of constants would leave the loop
#endif
    }
  }
  Vec total{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) total += chain[i];
  return sum(total);
}

B4R_NOINLINE float read(const float* numbers, int64_t count) {
  constexpr int kParts = 8;
  constexpr int64_t kAhead = 1024;
  Vec parts[kParts] = {};
  int64_t i = 0;
  for (; i + kParts * kWidth <= count; i += kParts * kWidth) {
#pragma GCC unroll 8
    for (int64_t line = 0; line < kParts * kWidth; line += 16)
      __builtin_prefetch(numbers + i + line + kAhead);
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) parts[p] += load(numbers + i + p * kWidth);
  }
  float total = 0.0f;
  for (; i < count; ++i) total += numbers[i];
#pragma GCC unroll 8
  for (int p = 0; p < kParts; ++p) total += sum(parts[p]);
  return total;
}

}  // namespace

double fma_rate(double seconds, int threads) {
  std::vector<double> best(threads, 0.0);
  volatile float factor =
      0.999f;  // as sink below is: or the compiler moves the work away from between the clocks
  parallel_for(threads, threads, [&](int64_t thread) {
    const double end = now() + seconds;
    for (double start = now(); start < end; start = now()) {
      [[maybe_unused]] volatile float sink = burst(factor, 0.001f);
      best[thread] = std::max(best[thread], kSteps * kChains * kWidth * 2e-9 / (now() - start));
    }
  });
  double total = 0.0;
  for (const double rate : best) total += rate;
  return total;
}

double read_bandwidth(const float* numbers, int64_t count, int threads) {
  const double start = now();
  parallel_for(threads, blocks_of(count, kPiece), [&](int64_t piece) {
    [[maybe_unused]] volatile float sink =
        read(numbers + piece * kPiece, std::min(kPiece, count - piece * kPiece));
  });
  return count * 4e-9 / (now() - start);
}

}  // namespace b4r
