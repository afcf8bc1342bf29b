// rank_i = 1 + #{j : j != t_i, j not excluded for i, not z_ij < z_it} with z_ij = h_i . C_j + b_j: ties and NaN count against the
// target.
//
// targets, ranks: (N,); ranks are overwritten. Operations 2 N V d and 2 d for each excluded row; C is read once for 128 users.
// Memory: the lists sorted, and what core/scores.h holds.
//
// All items are counted, the target among them, which is the 1: its score comes out of the same product, so it is not below itself.
// The excluded rows are scored once more, and those that were counted are taken off: no list is looked at while all items pass.
#include "cpu/rank.h"

#include <algorithm>
#include <vector>

namespace b4r {
namespace {

// What one worker counts for a chunk of users.
class NotBelow {
 public:
  NotBelow(const UserGroups& users, const int64_t* targets, ItemReader& reader, float* scores, int64_t* ranks)
      : users_(users),
        targets_(targets),
        ranks_(ranks),
        target_scores_(users.groups() * kPanel),
        counts_(users.groups() * users.lanes) {
    for (int64_t user = 0; user < users.count; ++user) {
      const int64_t group = user / users.lanes, lane = user % users.lanes;
      users.score(group, reader.listed(targets + users.first + user, 1), scores);
      std::fill_n(target_scores_.data() + group * kPanel + lane, kPanel / users.lanes, scores[lane]);
    }
  }

  void see(int64_t group, const ItemBlock& items, const float* scores) {
    const float* target_scores = target_scores_.data() + group * kPanel;
    Int below[kPanelVectors] = {};
    for (int64_t line = 0; line < items.count * users_.lanes; line += kPanel) {
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) below[v] -= load(scores + line + v * kWidth) < load(target_scores + v * kWidth);
    }
    int64_t* counts = counts_.data() + group * users_.lanes;
    for (int64_t user = 0; user < users_.lanes; ++user) counts[user] += items.count;
    for (int64_t lane = 0; lane < kPanel; ++lane) counts[lane % users_.lanes] -= below[lane / kWidth][lane % kWidth];
  }

  void leave_out(const RowLists& exclude, int64_t block, ItemReader& reader, float* scores) {
    for (int64_t user = 0; user < users_.count; ++user) {
      const int64_t group = user / users_.lanes, lane = user % users_.lanes;
      const float target_score = target_scores_[group * kPanel + lane];
      const RowList list = exclude.of(users_.first + user);
      for (int64_t first = 0; first < list.size(); first += block) {
        const ItemBlock items = reader.listed(list.rows + first, std::min(block, list.size() - first));
        users_.score(group, items, scores);
        for (int64_t i = 0; i < items.count; ++i)
          counts_[user] -= items.row(i) != targets_[users_.first + user] && !(scores[i * users_.lanes + lane] < target_score);
      }
    }
  }

  void end() {
    for (int64_t user = 0; user < users_.count; ++user) {
      int64_t& rank = ranks_[users_.first + user];
#pragma omp atomic
      rank += counts_[user];
    }
  }

 private:
  const UserGroups& users_;
  const int64_t* targets_;
  int64_t* ranks_;
  std::vector<float> target_scores_;  // by lane
  std::vector<int64_t> counts_;       // by user
};

}  // namespace

void rank(const Scoring& s, const int64_t* targets, const RowLists& exclude, int64_t* ranks, int threads) {
  const RowLists everything;
  const Split split = split_scores(s, everything, threads);
  std::fill_n(ranks, s.users, 0);
  for_scores(s, everything, split, threads, [&](const UserGroups& users, int64_t worker, ItemReader& reader, float* scores) {
    NotBelow counts(users, targets, reader, scores, ranks);
    if (worker == 0) counts.leave_out(exclude, split.block, reader, scores);
    return counts;
  });
}

}  // namespace b4r
