// What the bindings of several ops of the CPU share.
#pragma once

#include "bindings/address.h"
#include "core/item_lists.h"
#include "core/philox.h"

inline b4r::Dropout dropout(int64_t seed, int32_t threshold) {
  return {static_cast<uint64_t>(seed), threshold, 65536.0f / static_cast<float>(65536 - threshold)};
}

// One list a row, items[offsets[row]] ... items[offsets[row + 1] - 1]; no list where items is null.
inline b4r::ItemLists item_lists(const int64_t* items, const int32_t* offsets, int64_t rows,
                                 int threads) {
  if (items == nullptr) return {};
  return {items, rows, [=](int64_t row) { return static_cast<int64_t>(offsets[row]); }, threads};
}
