// Item rows drawn with replacement from [0, V), the reference's rows: docs/sample_negatives.md.
// Integers, and doubles whose every product and sum is rounded on its own. With each row comes
// log(K q), q its probability.
//
// A thread makes one call of Philox, whose four words are two draws. 12 bytes a draw are written;
// uniform draws are bound by that, and log-uniform ones by some 40 operations in fp64. By
// popularity a draw u of [0, total) is the first row whose running sum passes it: a binary search,
// which a guide shortens (Chen and Asau 1974). The guide cuts [0, total) into G parts of equal,
// power-of-two width and has for each the first row that passes its beginning; between two of these
// the search takes log2(V / G) steps, as a rule. It is made anew for every call, by a search a
// part: G = count / 8 costs an eighth of the steps that it saves.
#include <algorithm>
#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/philox.cuh"
#include "cuda/sample_negatives.h"
#include "cuda/search.cuh"

namespace b4r::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kDrawsOfGuide = 8;

// The numbers that a draw makes of its two words.
__device__ __forceinline__ int64_t random_integer(uint32_t low, uint32_t high) {
  return static_cast<int64_t>(uint64_t{high} << 31 | low >> 1);
}
__device__ __forceinline__ double random_fraction(uint32_t low, uint32_t high) {
  return static_cast<double>(static_cast<int64_t>(uint64_t{high} << 21 | low >> 11)) * 0x1p-53;
}

struct Uniform {
  int64_t num_items;
  float log_q;

  __device__ int64_t row(uint32_t low, uint32_t high) const {
    return random_integer(low, high) % num_items;
  }
  __device__ float log_expected(int64_t) const { return log_q; }
};

struct LogUniform {
  int64_t num_items;
  double log2_size, factor;  // factor: K / log(V + 1)
  double exp2[kExp2Terms];

  __device__ int64_t row(uint32_t low, uint32_t high) const {
    const double exponent = __dmul_rn(random_fraction(low, high), log2_size),
                 whole = floor(exponent);
    const double fraction = exponent - whole;
    double power = exp2[kExp2Terms - 1];
#pragma unroll
    for (int n = kExp2Terms - 2; n >= 0; --n)
      power = __dadd_rn(__dmul_rn(power, fraction), exp2[n]);
    const int64_t row = static_cast<int64_t>(floor(ldexp(power, static_cast<int>(whole)))) - 1;
    return row < 0 ? 0 : row < num_items ? row : num_items - 1;
  }
  __device__ float log_expected(int64_t row) const {
    return static_cast<float>(log(log1p(1.0 / (static_cast<double>(row) + 1.0)) * factor));
  }
};

struct Popularity {
  const int64_t *counts, *cumulative, *guide;
  int64_t num_items;
  int guide_bits;
  double expected;

  // Without an item the ops raise; on a device that nobody reads back, no division by 0.
  __device__ int64_t total() const {
    return cumulative[num_items - 1] > 0 ? cumulative[num_items - 1] : 1;
  }

  // Of the width of a part, its logarithm: the least that covers the total.
  __device__ int shift() const {
    const int bits = 64 - __clzll(total() - 1);
    return bits > guide_bits ? bits - guide_bits : 0;
  }

  // The first row, from low to high, whose running sum passes u; high if none before it does.
  __device__ int64_t first_beyond(int64_t u, int64_t low, int64_t high) const {
    return first_where(low, high, [&](int64_t row) { return cumulative[row] > u; });
  }

  __device__ int64_t row(uint32_t low, uint32_t high) const {
    const int64_t u = random_integer(low, high) % total(), part = u >> shift();
    return first_beyond(u, guide[part], guide[part + 1]);
  }
  __device__ float log_expected(int64_t row) const {
    return static_cast<float>(
        log(static_cast<double>(counts[row]) * (expected / static_cast<double>(total()))));
  }
};

__global__ void __launch_bounds__(kThreads) guide_kernel(Popularity sampler, int64_t* guide) {
  const int64_t part = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (part > int64_t{1} << sampler.guide_bits) return;
  const int shift = sampler.shift();
  // Parts behind the total, whose beginning may not be a number any more, begin at the last row.
  const bool beyond = part > (sampler.total() - 1) >> shift;
  guide[part] = beyond ? sampler.num_items - 1
                       : sampler.first_beyond(part << shift, 0, sampler.num_items - 1);
}

template <class Sampler>
__global__ void __launch_bounds__(kThreads) sample_kernel(Draws draws, Sampler sampler) {
  const int64_t call = int64_t{blockIdx.x} * kThreads + threadIdx.x, draw = 2 * call;
  if (draw >= draws.count) return;
  const uint4 words = random_words(static_cast<uint64_t>(*draws.seed), call, 0);
  const int64_t first = sampler.row(words.x, words.y);
  draws.rows[draw] = first;
  draws.log_q[draw] = sampler.log_expected(first);
  if (draw + 1 == draws.count) return;
  const int64_t second = sampler.row(words.z, words.w);
  draws.rows[draw + 1] = second;
  draws.log_q[draw + 1] = sampler.log_expected(second);
}

template <class Sampler>
void sample(const char* name, const Draws& draws, const Sampler& sampler, Stream stream) {
  launch(name, sample_kernel<Sampler>, blocks_of(blocks_of(draws.count, 2), kThreads), kThreads, 0,
         stream, draws, sampler);
}

int guide_bits(int64_t count, int64_t num_items) {
  int bits = 0;
  while (int64_t{2} << bits <= std::min(count / kDrawsOfGuide, num_items)) ++bits;
  return bits;
}

}  // namespace

void sample_uniform(const Draws& draws, int64_t num_items, Stream stream) {
  sample("sample_uniform", draws,
         Uniform{num_items,
                 static_cast<float>(std::log(draws.expected / static_cast<double>(num_items)))},
         stream);
}

void sample_log_uniform(const Draws& draws, int64_t num_items, double log2_size, const double* exp2,
                        Stream stream) {
  LogUniform sampler = {
      num_items, log2_size, draws.expected / std::log(static_cast<double>(num_items + 1)), {}};
  std::copy(exp2, exp2 + kExp2Terms, sampler.exp2);
  sample("sample_log_uniform", draws, sampler, stream);
}

int64_t guide_size(int64_t count, int64_t num_items) {
  return (int64_t{1} << guide_bits(count, num_items)) + 1;
}

void sample_popularity(const Draws& draws, const int64_t* counts, const int64_t* cumulative,
                       int64_t num_items, int64_t* guide, Stream stream) {
  const Popularity sampler = {
      counts, cumulative, guide, num_items, guide_bits(draws.count, num_items), draws.expected};
  const int64_t size = guide_size(draws.count, num_items);
  launch("guide", guide_kernel, blocks_of(size, kThreads), kThreads, 0, stream, sampler, guide);
  sample("sample_popularity", draws, sampler, stream);
}

}  // namespace b4r::cuda
