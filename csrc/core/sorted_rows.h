// Sums over the entries that name the same row of a table, without locks and with the same bits for
// any number of threads: entries are sorted by their row, stably, and each row is one task's, which
// takes its entries in their order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/parallel.h"
#include "core/scratch.h"

namespace b4r {

inline int64_t* take_integers(Scratch& scratch, int64_t count) {
  return reinterpret_cast<int64_t*>(scratch.take(2 * count));
}

// order = the entries sorted by row, those of a row in their own order; rows below num_rows.
inline void sort_by_row(const int64_t* row, int64_t entries, int64_t num_rows, int64_t* order) {
  constexpr int kDigitBits = 11;
  constexpr int64_t kDigits = int64_t{1} << kDigitBits;
  Scratch scratch;
  int64_t *from = take_integers(scratch, entries), *to = order,
          *place = take_integers(scratch, kDigits);
  for (int64_t t = 0; t < entries; ++t) from[t] = t;
  for (int shift = 0; shift == 0 || (num_rows - 1) >> shift > 0; shift += kDigitBits) {
    const auto digit = [&](int64_t t) { return (row[t] >> shift) & (kDigits - 1); };
    std::fill_n(place, kDigits, 0);
    for (int64_t t = 0; t < entries; ++t) ++place[digit(t)];
    for (int64_t i = 0, before = 0; i < kDigits; ++i) before += std::exchange(place[i], before);
    for (int64_t i = 0; i < entries; ++i) to[place[digit(from[i])]++] = from[i];
    std::swap(from, to);
  }
  if (from != order) std::copy_n(from, entries, order);
}

constexpr int64_t kEntriesPerTask = 256;

inline int64_t row_tasks(int64_t entries) { return blocks_of(entries, kEntriesPerTask); }

// Call sum(row, its entries, their count) for the rows whose first entry, in sorted order, falls to
// this task.
template <class Sum>
void for_rows_of(int64_t task, const int64_t* row, const int64_t* order, int64_t entries,
                 const Sum& sum) {
  int64_t i = task * kEntriesPerTask;
  const int64_t end = std::min(entries, i + kEntriesPerTask);
  while (i > 0 && i < end && row[order[i]] == row[order[i - 1]]) ++i;
  while (i < end) {
    const int64_t first = i, r = row[order[i]];
    while (i < entries && row[order[i]] == r) ++i;
    sum(r, order + first, i - first);
  }
}

}  // namespace b4r
