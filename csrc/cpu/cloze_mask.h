// Hiding items for the Cloze task; cloze_mask.cpp has the rule.
#pragma once

#include <cstdint>

namespace b4r {

// Sequence b owns the tokens cu_seqlens[b] .. cu_seqlens[b + 1] - 1. The thresholds are out of
// 2^32.
struct ClozeRule {
  int64_t mask_threshold, last_only_threshold, mask_id;
  uint64_t seed;
};

void cloze_mask(const int64_t* values, const int32_t* cu_seqlens, int64_t* inputs, int64_t* labels,
                int64_t sequences, const ClozeRule& rule, int threads);

}  // namespace b4r
