// The rank of each user's target among all items; rank.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/row_lists.h"
#include "core/scores.h"

namespace b4r {

void rank(const Scoring& scoring, const int64_t* targets, const RowLists& exclude, int64_t* ranks, int threads);

}  // namespace b4r
