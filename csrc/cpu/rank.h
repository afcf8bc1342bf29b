// The rank of each row's target among all items; rank.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/item_lists.h"
#include "core/scores.h"

namespace b4r {

void rank(const Scoring& scoring, const int64_t* targets, const ItemLists& exclude, int64_t* ranks,
          int threads);

}  // namespace b4r
