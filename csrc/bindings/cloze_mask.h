#pragma once

#include "bindings/bind.h"
#include "cpu/cloze_mask.h"

inline void bind_cloze_mask(pybind11::module_& m) {
  m.def(
      "cloze_mask",
      [](Address values, Address cu_seqlens, Address inputs, Address labels, int64_t sequences,
         int64_t mask_threshold, int64_t last_only_threshold, int64_t mask_id, int64_t seed,
         int threads) {
        b4r::cloze_mask(values, cu_seqlens, inputs, labels, sequences,
                        {mask_threshold, last_only_threshold, mask_id, static_cast<uint64_t>(seed)},
                        threads);
      },
      without_gil());
}
