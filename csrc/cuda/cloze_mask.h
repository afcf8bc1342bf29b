// Hides items for the Cloze task; cloze_mask.cu says how.
#pragma once

#include "cuda/tensors.h"

namespace b4r::cuda {

// values, inputs, labels: (tokens,). cu_seqlens: (sequences + 1,). threshold, last_threshold: of a
// word of 32 bits. seed: one int64, on the device.
void cloze_mask(const int64_t* values, const int32_t* cu_seqlens, int64_t* inputs, int64_t* labels,
                int64_t sequences, uint64_t threshold, uint64_t last_threshold, int64_t mask_id,
                const int64_t* seed, Stream stream);

}  // namespace b4r::cuda
