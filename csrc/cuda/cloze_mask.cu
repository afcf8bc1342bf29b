// Hides items for the Cloze task: token t has a random word, and is hidden where that is below the
// threshold or the smallest of its sequence; a sequence whose own word is below the threshold of
// last_only hides its last item alone; padding, 0, never is: docs/cloze_mask.md.
//
// values, inputs, labels: (T,). A warp takes a sequence: one walk over its words finds the
// smallest, the second draws them again and writes. 24 bytes and 1/2 a call of Philox a token, so
// the memory is the limit.
#include "cuda/cloze_mask.h"
#include "cuda/launch.cuh"
#include "cuda/philox.cuh"

namespace b4r::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int64_t kPadding = 0, kIgnored = -100;
constexpr uint32_t kTokens = 0, kSequences = 1;  // the fourth counter word

__device__ __forceinline__ uint32_t word(const uint4& words, int place) {
  return place == 0 ? words.x : place == 1 ? words.y : place == 2 ? words.z : words.w;
}

// use(token, its word) for the tokens of a sequence, those of a call of Philox in one lane.
template <class Use>
__device__ __forceinline__ void for_tokens(uint64_t seed, int64_t begin, int64_t end,
                                           const Use& use) {
  for (int64_t call = begin / 4 + threadIdx.x % 32; 4 * call < end; call += 32) {
    const uint4 words = random_words(seed, call, kTokens);
#pragma unroll
    for (int place = 0; place < 4; ++place) {
      const int64_t token = 4 * call + place;
      if (token >= begin && token < end) use(token, word(words, place));
    }
  }
}

__global__ void __launch_bounds__(kWarps * 32)
    mask_kernel(const int64_t* values, const int32_t* cu_seqlens, int64_t* inputs, int64_t* labels,
                int64_t sequences, uint64_t threshold, uint64_t last_threshold, int64_t mask_id,
                const int64_t* p_seed) {
  const int64_t sequence = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (sequence >= sequences) return;
  const uint64_t seed = static_cast<uint64_t>(*p_seed);
  const int64_t begin = cu_seqlens[sequence], end = cu_seqlens[sequence + 1];
  uint32_t least = 0xFFFFFFFFu;
  for_tokens(seed, begin, end, [&](int64_t, uint32_t r) { least = r < least ? r : least; });
  least = __reduce_min_sync(kWarp, least);
  const bool last_only =
      word(random_words(seed, sequence / 4, kSequences), sequence % 4) < last_threshold;
  for_tokens(seed, begin, end, [&](int64_t token, uint32_t r) {
    const int64_t value = values[token];
    const bool hidden =
        (last_only ? token == end - 1 : r < threshold || r == least) && value != kPadding;
    inputs[token] = hidden ? mask_id : value;
    labels[token] = hidden ? value : kIgnored;
  });
}

}  // namespace

void cloze_mask(const int64_t* values, const int32_t* cu_seqlens, int64_t* inputs, int64_t* labels,
                int64_t sequences, uint64_t threshold, uint64_t last_threshold, int64_t mask_id,
                const int64_t* seed, Stream stream) {
  launch("cloze_mask", mask_kernel, blocks_of(sequences, kWarps), kWarps * 32, 0, stream, values,
         cu_seqlens, inputs, labels, sequences, threshold, last_threshold, mask_id, seed);
}

}  // namespace b4r::cuda
