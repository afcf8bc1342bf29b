// Draw n takes the two 32-bit words of its half of a Philox call, as one number w of 64 bits: an
// integer r = w div 2 in [0, 2^63), or a fraction u = (w div 2^11) 2^-53.
//   uniform      r mod V
//   popularity   the first row whose cumulative count passes r mod (sum of counts): a binary search
//   log_uniform  floor((V + 1)^u) - 1, at most V - 1, where (V + 1)^u = 2^e with e = u log2(V + 1)
//                is 2^floor(e) times the polynomial of 2^(e - floor(e)), by Horner's rule
//
// rows: (count,), overwritten. The file is compiled without contraction to multiply-adds: every
// product and sum of log_uniform is rounded on its own, so that its rows are those of the other
// backends. Half a Philox call a draw, and a division, a search of log2 V steps, or 30 operations.
#include "cpu/sample_negatives.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/philox.h"

namespace b4r {
namespace {

constexpr int64_t kDrawsPerTask = 4096;
constexpr int64_t kDraws = 64;  // drawn at a time
static_assert(kDraws % (2 * kLanes) == 0, "whole vectors of calls");

// rows = row_of(w) for every draw.
template <class RowOf>
void sample(int64_t* rows, int64_t count, uint64_t seed, int threads, const RowOf& row_of) {
  parallel_for(threads, blocks_of(count, kDrawsPerTask), [&](int64_t task) {
    const int64_t end = std::min(count, (task + 1) * kDrawsPerTask);
    for (int64_t first = task * kDrawsPerTask; first < end; first += kDraws) {
      uint64_t draws[kDraws];
      random_words(seed, first / 2, kDraws / 2, 0, draws);
      for (int64_t n = 0; n < std::min(kDraws, end - first); ++n)
        rows[first + n] = row_of(draws[n]);
    }
  });
}

}  // namespace

void sample_uniform(int64_t* rows, int64_t count, int64_t num_items, uint64_t seed, int threads) {
  const uint64_t size = static_cast<uint64_t>(num_items);
  sample(rows, count, seed, threads,
         [=](uint64_t w) { return static_cast<int64_t>((w >> 1) % size); });
}

void sample_popularity(int64_t* rows, int64_t count, const int64_t* cumulative, int64_t num_items,
                       uint64_t seed, int threads) {
  const uint64_t total = static_cast<uint64_t>(cumulative[num_items - 1]);
  sample(rows, count, seed, threads, [=](uint64_t w) {
    const int64_t r = static_cast<int64_t>((w >> 1) % total);
    // The row is one of `left` from `row` on. Without a jump to predict, so that searches overlap.
    int64_t row = 0;
    for (int64_t left = num_items; left > 1;) {
      const int64_t half = left / 2;
      row += cumulative[row + half - 1] <= r ? half : 0;
      left -= half;
    }
    return row;
  });
}

void sample_log_uniform(int64_t* rows, int64_t count, int64_t num_items, double log2_size,
                        const double* exp2, uint64_t seed, int threads) {
  sample(rows, count, seed, threads, [=](uint64_t w) {
    const double u = static_cast<double>(static_cast<int64_t>(w >> 11)) * 0x1p-53,
                 exponent = u * log2_size;
    const int64_t whole = static_cast<int64_t>(exponent);
    const double fraction = exponent - static_cast<double>(whole);
    double power = exp2[kExp2Terms - 1];
    for (int term = kExp2Terms - 2; term >= 0; --term) power = power * fraction + exp2[term];
    const double size = power * static_cast<double>(int64_t{1} << whole);
    return std::min(static_cast<int64_t>(size) - 1, num_items - 1);
  });
}

}  // namespace b4r
