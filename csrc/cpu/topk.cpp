// The k best rows j for each user i by z_ij = h_i . C_j + b_j: the highest first, NaN before all numbers, equal scores by the lower
// row. -inf, excluded rows and what is not a candidate are left out; where fewer than k remain, score -inf and row -1.
//
// scores, rows: (N, k), overwritten. Operations 2 N V d; C is read once for 128 users. Memory: 16 k bytes a user and worker, the
// lists sorted, and what core/scores.h holds: nothing grows with N V.
//
// Each user has a heap of its k best so far, the worst on top, and a panel of scores goes on only where one of them passes the
// worst of its user. That happens some k ln(V / k) times, so lists of exclusions cost nothing but a search at those. What is kept
// does not depend on the order of arrival or on who saw what, so the answer is one for any number of threads.
#include "cpu/topk.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace b4r {
namespace {

struct Entry {
  float score;
  int64_t row;
};

// An object, not a function: the algorithms below inline its calls.
constexpr auto better = [](const Entry& a, const Entry& b) {
  if (a.score > b.score) return true;
  if (a.score < b.score) return false;
  const bool a_is_nan = std::isnan(a.score), b_is_nan = std::isnan(b.score);
  return a_is_nan == b_is_nan ? a.row < b.row : a_is_nan;
};

// The best entries so far: a heap, the worst on top.
struct Heap {
  Entry* entries;
  int64_t size;
};

// What one worker keeps for a chunk of users.
class Best {
 public:
  Best(const UserGroups& users, Heap* heaps, int64_t capacity, const RowLists& exclude)
      : users_(users), heaps_(heaps), capacity_(capacity), exclude_(exclude), worst_(users.groups() * kPanel, -INFINITY) {}

  void see(int64_t group, const ItemBlock& items, const float* scores) {
    const float* worst = worst_.data() + group * kPanel;
    const int64_t count = items.count * users_.lanes;
    for (int64_t line = 0; line < count; line += kPanel) {
      uint32_t passing = 0;
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v)
        passing |= not_at_most(load(scores + line + v * kWidth), load(worst + v * kWidth)) << (v * kWidth);
      if (__builtin_expect(passing != 0, 0)) offer(group, items, scores, line, std::min<int64_t>(kPanel, count - line), passing);
    }
  }

  void end() {}

 private:
  B4R_NOINLINE void offer(int64_t group, const ItemBlock& items, const float* scores, int64_t line, int64_t lanes,
                          uint32_t passing) {
    for (; passing != 0; passing &= passing - 1) {
      const int64_t lane = __builtin_ctz(passing), at = line + lane;
      const int64_t user = group * users_.lanes + at % users_.lanes;
      if (lane >= lanes || user >= users_.count) return;
      Heap& heap = heaps_[user];
      const Entry entry{scores[at], items.row(at / users_.lanes)};
      const bool full = heap.size == capacity_;
      if (full && !better(entry, heap.entries[0])) continue;
      if (exclude_.of(users_.first + user).has(entry.row)) continue;
      if (full) std::pop_heap(heap.entries, heap.entries + heap.size--, better);
      heap.entries[heap.size++] = entry;
      std::push_heap(heap.entries, heap.entries + heap.size, better);
      if (heap.size < capacity_) continue;
      float* worst = worst_.data() + group * kPanel;
      if (users_.lanes == 1)
        std::fill_n(worst, kPanel, heap.entries[0].score);
      else
        worst[lane] = heap.entries[0].score;
    }
  }

  const UserGroups& users_;
  Heap* heaps_;
  int64_t capacity_;
  const RowLists& exclude_;
  std::vector<float> worst_;  // by lane: what a score must pass; -inf until the heap is full
};

}  // namespace

void topk(const Scoring& s, int64_t k, const RowLists& exclude, const RowLists& candidates, float* scores, int64_t* rows,
          int threads) {
  const Split split = split_scores(s, candidates, threads);
  const int64_t capacity = std::min(k, s.rows);
  const std::unique_ptr<Entry[]> entries(new Entry[split.workers * s.users * capacity]);
  std::vector<Heap> heaps(split.workers * s.users);
  for (size_t i = 0; i < heaps.size(); ++i) heaps[i] = {entries.get() + i * capacity, 0};
  for_scores(s, candidates, split, threads, [&](const UserGroups& users, int64_t worker, ItemReader&, float*) {
    return Best(users, heaps.data() + worker * s.users + users.first, capacity, exclude);
  });
  parallel_for(threads, s.users, [&](int64_t user) {
    std::vector<Entry> all;
    for (int64_t worker = 0; worker < split.workers; ++worker) {
      const Heap& heap = heaps[worker * s.users + user];
      all.insert(all.end(), heap.entries, heap.entries + heap.size);
    }
    std::sort(all.begin(), all.end(), better);
    const int64_t found = std::min<int64_t>(k, all.size());
    for (int64_t i = 0; i < k; ++i) {
      scores[user * k + i] = i < found ? all[i].score : -INFINITY;
      rows[user * k + i] = i < found ? all[i].row : -1;
    }
  });
}

}  // namespace b4r
