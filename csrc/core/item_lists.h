// Sorted copies of lists of items, one a row: what is left out, or what may be chosen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"

namespace b4r {

struct ItemList {
  const int64_t *items, *last;

  int64_t size() const { return last - items; }

  // Halves without a branch: whether an item lies left or right is anyone's guess.
  bool has(int64_t item) const {
    const int64_t* at = items;
    for (int64_t left = size(); left > 1;) {
      const int64_t half = left / 2;
      at = at[half] <= item ? at + half : at;
      left -= half;
    }
    return items != last && *at == item;
  }
};

class ItemLists {
 public:
  ItemLists() = default;

  // List i holds items[start(i)] ... items[start(i + 1) - 1], in any order and with repetitions;
  // each is kept once.
  template <class Start>
  ItemLists(const int64_t* items, int64_t lists, const Start& start, int threads)
      : items_(items, items + start(lists)), ranges_(static_cast<size_t>(lists)) {
    parallel_for(threads, lists, [&](int64_t i) {
      int64_t *begin = items_.data() + start(i), *end = items_.data() + start(i + 1);
      std::sort(begin, end);
      ranges_[i] = {begin, std::unique(begin, end)};
    });
  }

  int64_t size() const { return static_cast<int64_t>(ranges_.size()); }
  // Where there is one list, it is everybody's; where there is none, everybody's is empty.
  ItemList of(int64_t row) const {
    return ranges_.empty() ? ItemList{} : ranges_[ranges_.size() == 1 ? 0 : row];
  }

 private:
  std::vector<int64_t> items_;
  std::vector<ItemList> ranges_;
};

}  // namespace b4r
