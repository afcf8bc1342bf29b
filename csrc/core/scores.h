// Scores z_ij = h_i . C_j + b_j, a block of items for a few rows at a time, for operators that look
// at each once and keep none.
//
// h: (N, d). C: (V, d), read where it lies. b: (V,) or null. The form of the product depends on
// sizes alone, and in either form the order of the sum depends on nothing else, so equal items
// score equal bits wherever they stand. A score that is not a number is -inf, the worst. Two forms:
//   panels    rows in panels, a tile of items by a panel of rows: 2 d operations a score, in the
//             order of d
//   alone     one row, a dot product of vectors: for few rows, where reading C is the limit and
//             most lanes of a panel would idle
//
// Rows are cut into chunks, and the items of a chunk are shared by as many workers as it takes to
// give each thread one: one row has all threads, thousands have one each. Workers take runs of
// items as they come free. Memory: a chunk of h, a block of scores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/item_lists.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/tile.h"

namespace b4r {

struct Scoring {
  const float *hidden, *items, *bias;
  int64_t rows, num_items, d;
};

// M items for a panel of rows [d][P].
template <int M>
B4R_NOINLINE void panel_score_tile(const float* items, const float* bias, const float* rows,
                                   int64_t d, float* scores) {
  Tile<M> z;
  set_zero(z);
  multiply_add(z, items, d, 1, rows, d);
  add_column(z, bias);
  for_vectors(z, [&](int i, int v, Vec x) {
    store(scores + i * kPanel + v * kWidth, larger(x, broadcast(-INFINITY)));
  });
}

// M items for one row; d is at least kWidth.
template <int M>
B4R_NOINLINE void lone_score_tile(const float* items, const float* bias, const float* row,
                                  int64_t d, float* scores) {
  Vec z[M] = {};
  int64_t k = 0;
  for (; k + kWidth <= d; k += kWidth) {
    const Vec h = load(row + k);
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) z[i] = fma(load(items + i * d + k), h, z[i]);
  }
  if (k < d) {
    // The last kWidth numbers, less those that are in already; less, not times 0, which would make
    // NaN of infinity.
    const Int fresh = ~first_lanes(k + kWidth - d);
    const Vec h = keep_where(fresh, load(row + d - kWidth));
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i)
      z[i] = fma(keep_where(fresh, load(items + (i + 1) * d - kWidth)), h, z[i]);
  }
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i) {
    const float score = sum(z[i]) + bias[i];
    scores[i] = score > -INFINITY ? score : -INFINITY;
  }
}

// `count` items that lie one after the other, and which each is. Where more follow: `ahead` floats
// from here.
struct ItemBlock {
  const float *vectors, *bias;
  int64_t count, first, ahead;
  const int64_t* listed;

  int64_t item(int64_t i) const { return listed != nullptr ? listed[i] : first + i; }
};

// Blocks of items of a thread, those of a list copied together.
class ItemReader {
 public:
  ItemReader(const Scoring& s, int64_t block, Scratch& scratch)
      : s_(s), vectors_(scratch.take(block * s.d)), bias_(scratch.take(block)) {}

  ItemBlock all(int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; ++i) bias_[i] = bias_of(first + i);
    return {s_.items + first * s_.d, bias_, count, first, count * s_.d, nullptr};
  }

  ItemBlock listed(const int64_t* items, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(s_.items + items[i] * s_.d, s_.d, vectors_ + i * s_.d);
      bias_[i] = bias_of(items[i]);
    }
    return {vectors_, bias_, count, 0, 0, items};
  }

 private:
  float bias_of(int64_t item) const { return s_.bias != nullptr ? s_.bias[item] : 0.0f; }

  const Scoring& s_;
  float *vectors_, *bias_;
};

// How the work is cut: rows of a chunk, chunks, workers of each, items of a block.
struct Split {
  bool alone;
  int64_t chunk, chunks, workers, block;
};

// A chunk of rows, in groups whose scores of one item lie side by side: those of a panel, or one
// alone.
class RowGroups {
 public:
  RowGroups(const Scoring& s, const Split& split, int64_t first, Scratch& scratch)
      : first(first),
        count(std::min(split.chunk, s.rows - first)),
        lanes(split.alone ? 1 : kPanel),
        d_(s.d) {
    vectors_ = s.hidden + first * s.d;
    if (split.alone) return;
    float* packed = scratch.take(panels(count) * s.d * kPanel);
    pack_panels(vectors_, 1, s.d, s.d, count, s.d * kPanel, packed);
    vectors_ = packed;
  }

  int64_t groups() const { return (count + lanes - 1) / lanes; }

  // scores[item][lane] = z, then NaN to the end of the panel.
  void score(int64_t group, const ItemBlock& items, float* scores) const {
    const float* rows = vectors_ + group * lanes * d_;
    // Each group fetches its part of the next block, a little at every tile: else the first group
    // would wait for all of it.
    const float* next = items.vectors + items.ahead + items.ahead * group / groups();
    const int64_t fetched = items.ahead > 0 ? kTileRows * d_ / groups() + 1 : 0;
    for_tiles(items.count, [&](auto m, int64_t i) {
      prefetch_block(next, fetched);
      next += fetched;
      if (lanes == 1)
        lone_score_tile<m>(items.vectors + i * d_, items.bias + i, rows, d_, scores + i);
      else
        panel_score_tile<m>(items.vectors + i * d_, items.bias + i, rows, d_, scores + i * kPanel);
    });
    if (lanes == 1) std::fill(scores + items.count, scores + panels(items.count) * kPanel, NAN);
  }

  const int64_t first, count, lanes;

 private:
  const float* vectors_;
  int64_t d_;
};

inline Split split_scores(const Scoring& s, const ItemLists& candidates, int threads) {
  // Rows: enough that C, read again for each chunk, asks little of the memory.
  constexpr int64_t kChunk = 128;
  constexpr int64_t kAlone = 6;  // rows up to which dot products are quicker than a panel
  constexpr int64_t kBlockFloats = 1 << 13;  // of C: 32 KB, near while all groups of a chunk use it
  const bool own_lists = candidates.size() > 1;
  Split split;
  split.alone = s.d >= kWidth && (own_lists || s.rows <= kAlone);
  split.block = std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(s.d, 1), kPanel, 256);
  const int64_t rounds = (s.rows + threads * kChunk - 1) / (threads * kChunk);
  const int64_t panels_of_chunk =
      (panels(s.rows) + rounds * threads - 1) / std::max<int64_t>(rounds * threads, 1);
  split.chunk = own_lists ? 1 : split.alone ? s.rows : panels_of_chunk * kPanel;
  split.chunks = s.rows > 0 ? (s.rows + split.chunk - 1) / split.chunk : 0;
  split.workers = split.chunks > 0 ? (threads + split.chunks - 1) / split.chunks : 1;
  return split;
}

// Score all rows against their items: all of C, or the candidates, one list for all or one for
// each. begin(rows, worker, reader) makes what one worker of a chunk looks with: it is shown all
// scores of a run of items by see(group, items, scores), and end() is called after the last.
template <class Begin>
void for_scores(const Scoring& s, const ItemLists& candidates, const Split& split, int threads,
                const Begin& begin) {
  std::vector<std::atomic<int64_t>> next(static_cast<size_t>(split.chunks));
  parallel_for(threads, split.chunks * split.workers, [&](int64_t task) {
    const int64_t chunk = task / split.workers;
    Scratch scratch;
    const RowGroups rows(s, split, chunk * split.chunk, scratch);
    ItemReader reader(s, split.block, scratch);
    float* scores = scratch.take(split.block * kPanel);
    const ItemList list = candidates.of(rows.first);
    const int64_t count = candidates.size() > 0 ? list.size() : s.num_items;
    // Runs long enough to be read as a stream, short enough that no worker is left with much at the
    // end.
    const int64_t share = split.workers == 1 ? count : count / (split.workers * 16);
    const int64_t run = std::max<int64_t>(1, (share + split.block - 1) / split.block) * split.block;
    auto worker = begin(rows, task % split.workers, reader, scores);
    for (int64_t start; (start = next[chunk].fetch_add(run)) < count;) {
      for (int64_t first = start; first < std::min(count, start + run); first += split.block) {
        const int64_t in_block = std::min(split.block, std::min(count, start + run) - first);
        const ItemBlock items = candidates.size() > 0 ? reader.listed(list.items + first, in_block)
                                                      : reader.all(first, in_block);
        for (int64_t group = 0; group < rows.groups(); ++group) {
          rows.score(group, items, scores);
          worker.see(group, items, scores);
        }
      }
    }
    worker.end();
  });
}

}  // namespace b4r
