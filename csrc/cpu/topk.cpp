// The k best items j for each row i by z_ij = h_i . C_j + b_j: the highest first, equal scores by
// the lower item. -inf and NaN, excluded items and what is not a candidate are left out; where
// fewer than k remain, score -inf and item -1.
//
// scores, best: (N, k), overwritten. Operations 2 N V d; C is read once for 128 rows. Memory: 16 k
// bytes a row and worker, the lists sorted, and what core/scores.h holds: nothing grows with N V.
//
// Each row has a heap of its k best so far, the worst on top, and a panel of scores goes on only
// where one of them passes the worst of its row. That happens some k ln(V / k) times, so lists of
// exclusions cost nothing but a search at those. What is kept does not depend on the order of
// arrival or on who saw what, so the answer is one for any number of threads.
#include "cpu/topk.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace b4r {
namespace {

struct Entry {
  float score;
  int64_t item;
};

// An object, not a function: the algorithms below inline its calls.
constexpr auto better = [](const Entry& a, const Entry& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
};

// The best entries so far: a heap, the worst on top.
struct Heap {
  Entry* entries;
  int64_t size;
};

// What one worker keeps for a chunk of rows.
class Best {
 public:
  Best(const RowGroups& rows, Heap* heaps, int64_t capacity, const ItemLists& exclude)
      : rows_(rows),
        heaps_(heaps),
        capacity_(capacity),
        exclude_(exclude),
        worst_(rows.groups() * kPanel, -INFINITY) {}

  void see(int64_t group, const ItemBlock& items, const float* scores) {
    const float* worst = worst_.data() + group * kPanel;
    const int64_t count = items.count * rows_.lanes;
    for (int64_t line = 0; line < count; line += kPanel) {
      uint32_t passing = 0;
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v)
        passing |= above(load(scores + line + v * kWidth), load(worst + v * kWidth))
                   << (v * kWidth);
      if (__builtin_expect(passing != 0, 0))
        offer(group, items, scores, line, std::min<int64_t>(kPanel, count - line), passing);
    }
  }

  void end() {}

 private:
  B4R_NOINLINE void offer(int64_t group, const ItemBlock& items, const float* scores, int64_t line,
                          int64_t lanes, uint32_t passing) {
    for (; passing != 0; passing &= passing - 1) {
      const int64_t lane = __builtin_ctz(passing), at = line + lane;
      const int64_t row = group * rows_.lanes + at % rows_.lanes;
      if (lane >= lanes || row >= rows_.count) return;
      Heap& heap = heaps_[row];
      const Entry entry{scores[at], items.item(at / rows_.lanes)};
      const bool full = heap.size == capacity_;
      if (full && !better(entry, heap.entries[0])) continue;
      if (exclude_.of(rows_.first + row).has(entry.item)) continue;
      if (full) std::pop_heap(heap.entries, heap.entries + heap.size--, better);
      heap.entries[heap.size++] = entry;
      std::push_heap(heap.entries, heap.entries + heap.size, better);
      if (heap.size < capacity_) continue;
      float* worst = worst_.data() + group * kPanel;
      if (rows_.lanes == 1)
        std::fill_n(worst, kPanel, heap.entries[0].score);
      else
        worst[lane] = heap.entries[0].score;
    }
  }

  const RowGroups& rows_;
  Heap* heaps_;
  int64_t capacity_;
  const ItemLists& exclude_;
  std::vector<float> worst_;  // by lane: what a score must pass; -inf until the heap is full
};

}  // namespace

void topk(const Scoring& s, int64_t k, const ItemLists& exclude, const ItemLists& candidates,
          float* scores, int64_t* best, int threads) {
  const Split split = split_scores(s, candidates, threads);
  const int64_t capacity = std::min(k, s.num_items);
  const std::unique_ptr<Entry[]> entries(new Entry[split.workers * s.rows * capacity]);
  std::vector<Heap> heaps(split.workers * s.rows);
  for (size_t i = 0; i < heaps.size(); ++i) heaps[i] = {entries.get() + i * capacity, 0};
  for_scores(s, candidates, split, threads,
             [&](const RowGroups& rows, int64_t worker, ItemReader&, float*) {
               return Best(rows, heaps.data() + worker * s.rows + rows.first, capacity, exclude);
             });
  parallel_for(threads, s.rows, [&](int64_t row) {
    std::vector<Entry> all;
    for (int64_t worker = 0; worker < split.workers; ++worker) {
      const Heap& heap = heaps[worker * s.rows + row];
      all.insert(all.end(), heap.entries, heap.entries + heap.size);
    }
    std::sort(all.begin(), all.end(), better);
    const int64_t found = std::min<int64_t>(k, all.size());
    for (int64_t i = 0; i < k; ++i) {
      scores[row * k + i] = i < found ? all[i].score : -INFINITY;
      best[row * k + i] = i < found ? all[i].item : -1;
    }
  });
}

}  // namespace b4r
