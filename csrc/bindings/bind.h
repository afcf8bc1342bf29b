// What the bindings of several ops of the CPU share.
#pragma once

#include "bindings/address.h"
#include "core/philox.h"
#include "core/row_lists.h"

inline b4r::Dropout dropout(int64_t seed, int32_t threshold) {
  return {static_cast<uint64_t>(seed), threshold, 65536.0f / static_cast<float>(65536 - threshold)};
}

// One list a user, rows[offsets[user]] ... rows[offsets[user + 1] - 1]; no list where rows is null.
inline b4r::RowLists row_lists(const int64_t* rows, const int32_t* offsets, int64_t users, int threads) {
  if (rows == nullptr) return {};
  return {rows, users, [=](int64_t user) { return static_cast<int64_t>(offsets[user]); }, threads};
}
