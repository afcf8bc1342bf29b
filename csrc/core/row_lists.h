// Sorted copies of lists of item rows, one a user: what is left out, or what may be chosen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"

namespace b4r {

struct RowList {
  const int64_t *rows, *last;

  int64_t size() const { return last - rows; }

  // Halves without a branch: whether a row lies left or right is anyone's guess.
  bool has(int64_t row) const {
    const int64_t* at = rows;
    for (int64_t left = size(); left > 1;) {
      const int64_t half = left / 2;
      at = at[half] <= row ? at + half : at;
      left -= half;
    }
    return rows != last && *at == row;
  }
};

class RowLists {
 public:
  RowLists() = default;

  // List i holds rows[start(i)] ... rows[start(i + 1) - 1], in any order and with repetitions; each row is kept once.
  template <class Start>
  RowLists(const int64_t* rows, int64_t lists, const Start& start, int threads)
      : rows_(rows, rows + start(lists)), ranges_(static_cast<size_t>(lists)) {
    parallel_for(threads, lists, [&](int64_t i) {
      int64_t *begin = rows_.data() + start(i), *end = rows_.data() + start(i + 1);
      std::sort(begin, end);
      ranges_[i] = {begin, std::unique(begin, end)};
    });
  }

  int64_t size() const { return static_cast<int64_t>(ranges_.size()); }
  // Where there is one list, it is everybody's; where there is none, everybody's is empty.
  RowList of(int64_t user) const { return ranges_.empty() ? RowList{} : ranges_[ranges_.size() == 1 ? 0 : user]; }

 private:
  std::vector<int64_t> rows_;
  std::vector<RowList> ranges_;
};

}  // namespace b4r
