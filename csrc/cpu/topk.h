// The k best items of each user; topk.cpp has the maths.
#pragma once

#include <cstdint>

#include "core/row_lists.h"
#include "core/scores.h"

namespace b4r {

void topk(const Scoring& scoring, int64_t k, const RowLists& exclude, const RowLists& candidates, float* scores, int64_t* rows,
          int threads);

}  // namespace b4r
