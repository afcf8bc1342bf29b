// Token t has a random word of 32 bits, and so has sequence b. Where the sequence's word is below
// last_only_threshold, its last token alone is hidden; else each token whose word is below
// mask_threshold or the smallest of the sequence.
//   inputs = mask_id where hidden, else the value; labels = the value where hidden, else -100.
//   Padding, 0, is never hidden.
//
// values, inputs, labels: (T,). cu_seqlens: (sequences + 1,). inputs and labels are overwritten.
// Bytes a token: 24; a quarter of a Philox call.
#include "cpu/cloze_mask.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/philox.h"
#include "core/scratch.h"

namespace b4r {
namespace {

constexpr int64_t kPadding = 0, kIgnored = -100;
constexpr uint32_t kTokens = 0, kSequences = 1;  // streams of random words
constexpr int64_t kSequencesPerTask = 32;
static_assert(kSequencesPerTask % 4 == 0, "a task begins at a call of Philox");

uint32_t* take_words(Scratch& scratch, int64_t calls) {
  return reinterpret_cast<uint32_t*>(scratch.take(4 * (calls + kLanes)));
}

}  // namespace

void cloze_mask(const int64_t* values, const int32_t* cu_seqlens, int64_t* inputs, int64_t* labels,
                int64_t sequences, const ClozeRule& rule, int threads) {
  parallel_for(threads, blocks_of(sequences, kSequencesPerTask), [&](int64_t task) {
    const int64_t first = task * kSequencesPerTask,
                  end = std::min(sequences, first + kSequencesPerTask);
    Scratch scratch;
    uint32_t* sequence_word = take_words(scratch, kSequencesPerTask / 4);
    random_words(rule.seed, first / 4, kSequencesPerTask / 4, kSequences, sequence_word);
    const int64_t first_call = cu_seqlens[first] / 4,
                  calls = (cu_seqlens[end] + 3) / 4 - first_call;
    uint32_t* words = take_words(scratch, calls);
    random_words(rule.seed, first_call, calls, kTokens, words);

    for (int64_t b = first; b < end; ++b) {
      const int64_t begin = cu_seqlens[b], length = cu_seqlens[b + 1] - begin;
      const uint32_t* word = words + begin - 4 * first_call;
      const auto hide_where = [&](const auto& hidden) {
        for (int64_t i = 0; i < length; ++i) {
          const int64_t value = values[begin + i];
          const bool hide = value != kPadding && hidden(i);
          inputs[begin + i] = hide ? rule.mask_id : value;
          labels[begin + i] = hide ? value : kIgnored;
        }
      };
      if (sequence_word[b - first] < rule.last_only_threshold) {
        hide_where([&](int64_t i) { return i == length - 1; });
      } else {
        uint32_t smallest = UINT32_MAX;
        for (int64_t i = 0; i < length; ++i) smallest = std::min(smallest, word[i]);
        const int64_t bound = std::max<int64_t>(rule.mask_threshold, int64_t{smallest} + 1);
        hide_where([&](int64_t i) { return word[i] < bound; });
      }
    }
  });
}

}  // namespace b4r
