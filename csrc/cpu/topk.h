// The k best items of each row; topk.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/item_lists.h"
#include "core/scores.h"

namespace b4r {

void topk(const Scoring& scoring, int64_t k, const ItemLists& exclude, const ItemLists& candidates,
          float* scores, int64_t* best, int threads);

}  // namespace b4r
