// rank_i = 1 + #{j : j != t_i, j not excluded for i, z_ij >= z_it} with z_ij = h_i . C_j + b_j:
// ties count against the target, and NaN is -inf.
//
// targets, ranks: (N,); ranks are overwritten. Operations 2 N V d and 2 d for each excluded item; C
// is read once for 128 rows. Memory: the lists sorted, and what core/scores.h holds.
//
// All items are counted, the target among them, which is the 1: its score comes out of the same
// product, so it is not below itself. The excluded items are scored once more, and those that were
// counted are taken off: no list is looked at while all items pass.
#include "cpu/rank.h"

#include <algorithm>
#include <vector>

namespace b4r {
namespace {

// What one worker counts for a chunk of rows.
class NotBelow {
 public:
  NotBelow(const RowGroups& rows, const int64_t* targets, ItemReader& reader, float* scores,
           int64_t* ranks)
      : rows_(rows),
        targets_(targets),
        ranks_(ranks),
        target_scores_(rows.groups() * kPanel),
        counts_(rows.groups() * rows.lanes) {
    for (int64_t row = 0; row < rows.count; ++row) {
      const int64_t group = row / rows.lanes, lane = row % rows.lanes;
      rows.score(group, reader.listed(targets + rows.first + row, 1), scores);
      std::fill_n(target_scores_.data() + group * kPanel + lane, kPanel / rows.lanes, scores[lane]);
    }
  }

  void see(int64_t group, const ItemBlock& items, const float* scores) {
    const float* target_scores = target_scores_.data() + group * kPanel;
    Int below[kPanelVectors] = {};
    for (int64_t line = 0; line < items.count * rows_.lanes; line += kPanel) {
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v)
        below[v] -= load(scores + line + v * kWidth) < load(target_scores + v * kWidth);
    }
    int64_t* counts = counts_.data() + group * rows_.lanes;
    for (int64_t row = 0; row < rows_.lanes; ++row) counts[row] += items.count;
    for (int64_t lane = 0; lane < kPanel; ++lane)
      counts[lane % rows_.lanes] -= below[lane / kWidth][lane % kWidth];
  }

  void leave_out(const ItemLists& exclude, int64_t block, ItemReader& reader, float* scores) {
    for (int64_t row = 0; row < rows_.count; ++row) {
      const int64_t group = row / rows_.lanes, lane = row % rows_.lanes;
      const float target_score = target_scores_[group * kPanel + lane];
      const ItemList list = exclude.of(rows_.first + row);
      for (int64_t first = 0; first < list.size(); first += block) {
        const ItemBlock items =
            reader.listed(list.items + first, std::min(block, list.size() - first));
        rows_.score(group, items, scores);
        for (int64_t i = 0; i < items.count; ++i)
          counts_[row] -= items.item(i) != targets_[rows_.first + row] &&
                          !(scores[i * rows_.lanes + lane] < target_score);
      }
    }
  }

  void end() {
    for (int64_t row = 0; row < rows_.count; ++row) {
      int64_t& rank = ranks_[rows_.first + row];
#pragma omp atomic
      rank += counts_[row];
    }
  }

 private:
  const RowGroups& rows_;
  const int64_t* targets_;
  int64_t* ranks_;
  std::vector<float> target_scores_;  // by lane
  std::vector<int64_t> counts_;       // by row
};

}  // namespace

void rank(const Scoring& s, const int64_t* targets, const ItemLists& exclude, int64_t* ranks,
          int threads) {
  const ItemLists everything;
  const Split split = split_scores(s, everything, threads);
  std::fill_n(ranks, s.rows, 0);
  for_scores(s, everything, split, threads,
             [&](const RowGroups& rows, int64_t worker, ItemReader& reader, float* scores) {
               NotBelow counts(rows, targets, reader, scores, ranks);
               if (worker == 0) counts.leave_out(exclude, split.block, reader, scores);
               return counts;
             });
}

}  // namespace b4r
