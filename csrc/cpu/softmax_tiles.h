// What softmax_loss.cpp sweeps with: rows in chunks, and a block of logits of a chunk's rows over
// some items. It has the maths.
//
// N rows, V items, d. A block of logits is kept item-major, E[j][i]: then C, h and their gradients
// serve as they lie in memory, and maximum and sum over items are operations on whole vectors.
// Exponents turn to base 2 last, when they are near 0 where it counts.
//   E[j][i] = e^(C_j . h_i + b_j)    tiles of items x P rows, the right-hand side is rows
//                                    transposed: ht [rows div P][d][P]
//   dh[i] = sum_j E[j][i] C_j        tiles of rows x P of d, the right-hand side is a block of
//                                    items: cn [d div P][items][P]
//   dC[j] = sum_i E[j][i] w_i h_i    tiles of items x P of d, the right-hand side is weighted rows:
//                                    hn [d div P][rows][P]
// The target's entry of E is 0, and its part of dh, dC and db added apart, with q: nothing cancels.
// Where |h| |C| bounds the logits they need no maximum taken off; elsewhere a product more finds
// it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "core/philox.h"
#include "core/rows.h"
#include "cpu/row_loss.h"
#include "cpu/softmax_loss.h"

namespace b4r {

constexpr int64_t kBlock = 192;  // items of a block of logits

// An entry of E that is left out, being its row's target: which column, and which row of the chunk.
struct Target {
  int64_t item, row;
};

inline bool lower_item(const Target& a, const Target& b) { return a.item < b.item; }

// Rows with a target, cut into chunks of whole panels. Those without are left out before anything
// is computed.
struct ChunkedRows {
  std::vector<int64_t> index;      // where each stands in `hidden`
  std::vector<int64_t> row_begin;  // chunk c has rows row_begin[c] .. row_begin[c + 1] - 1
  std::vector<Target> targets;
  std::vector<int64_t> target_begin;  // chunk c has targets target_begin[c] .. target_begin[c + 1]
                                      // - 1, sorted by item
  int64_t capacity = 0;               // rows of the largest chunk, in whole panels

  // limit: of the rows of a chunk.
  ChunkedRows(const SoftmaxInput& in, int64_t limit) {
    for (int64_t i = 0; i < in.rows; ++i)
      if (in.targets[i] >= 0) index.push_back(i);
    const int64_t labelled = static_cast<int64_t>(index.size()), all = panels(labelled),
                  chunks = blocks_of(all * kPanel, limit);
    for (int64_t c = 0; c <= chunks; ++c)
      row_begin.push_back(std::min(all * c / std::max<int64_t>(chunks, 1) * kPanel, labelled));
    std::vector<Target> columns;  // where sampled: what each stands for, and which it is
    if (in.sampled) {
      for (int64_t k = 0; k < in.columns; ++k) columns.push_back({in.negatives[k], k});
      std::stable_sort(columns.begin(), columns.end(), lower_item);
    }
    for (int64_t c = 0; c < chunks; ++c) {
      capacity = std::max(capacity, panels(count(c)) * kPanel);
      add_targets(in, columns, c);
    }
    target_begin.push_back(static_cast<int64_t>(targets.size()));
  }

  int64_t chunks() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  int64_t count(int64_t c) const { return row_begin[c + 1] - row_begin[c]; }
  int64_t row(int64_t c, int64_t i) const { return index[row_begin[c] + i]; }

  // The targets of chunk c among the items first .. last - 1.
  std::pair<const Target*, const Target*> among(int64_t c, int64_t first, int64_t last) const {
    const auto before = [](const Target& t, int64_t item) { return t.item < item; };
    const Target *from = targets.data() + target_begin[c],
                 *end = targets.data() + target_begin[c + 1];
    return {std::lower_bound(from, end, first, before), std::lower_bound(from, end, last, before)};
  }

 private:
  void add_targets(const SoftmaxInput& in, const std::vector<Target>& columns, int64_t c) {
    target_begin.push_back(static_cast<int64_t>(targets.size()));
    for (int64_t i = 0; i < count(c); ++i) {
      const Target target{in.targets[row(c, i)], i};
      if (!in.sampled) targets.push_back(target);
      for (auto [hit, end] = std::equal_range(columns.begin(), columns.end(), target, lower_item);
           hit != end; ++hit)
        targets.push_back({hit->row, target.row});
    }
    std::stable_sort(targets.begin() + target_begin[c], targets.end(), lower_item);
  }
};

// One chunk's rows as right-hand sides; their norms and their targets' logits.
struct PackedChunk {
  float *ht, *hn, *norm, *target_logit;
  int64_t stride;  // of the panels of hn

  PackedChunk(Scratch& scratch, int64_t capacity, int64_t d)
      : ht(scratch.take(capacity * d)),
        hn(scratch.take(panels(d) * capacity * kPanel)),
        norm(scratch.take(capacity)),
        target_logit(scratch.take(capacity)),
        stride(capacity * kPanel) {}

  // All but hn, for the rows of panel p.
  void pack(const SoftmaxInput& in, const ChunkedRows& rows, int64_t c, int64_t p) {
    const int64_t d = in.d, first = p * kPanel,
                  count = std::min<int64_t>(kPanel, rows.count(c) - first);
    float* t = ht + first * d;
    for (int64_t j = 0; j < kPanel; ++j) {
      const int64_t row = j < count ? rows.row(c, first + j) : 0;
      const float* h = in.hidden + row * d;
      for (int64_t k = 0; k < d; ++k) t[k * kPanel + j] = j < count ? h[k] : 0.0f;
      if (j >= count) continue;
      norm[first + j] = largest_norm(h, d, 1, d);
      target_logit[first + j] = dot(h, in.target_item(row), d) + in.target_bias_of(row);
    }
  }

  // hn = weight[i] h[i] for the rows of panel p.
  void pack_weighted(const SoftmaxInput& in, const ChunkedRows& rows, int64_t c, int64_t p,
                     const float* weight) {
    for (int64_t i = p * kPanel; i < std::min(rows.count(c), (p + 1) * kPanel); ++i) {
      const float* h = in.hidden + rows.row(c, i) * in.d;
      pack_panels(h, in.d, 1, 1, in.d, stride, hn + i * kPanel);
      for (int64_t k = 0; k < panels(in.d); ++k)
        for (int64_t j = 0; j < kPanel; ++j) hn[k * stride + i * kPanel + j] *= weight[i];
    }
  }
};

// The targets among the items of a tile, and where the tile begins. Some may be of rows outside it.
struct TileTargets {
  const Target *begin, *end;
  int64_t first_item, first_row;
};

struct KeepAll {
  B4R_INLINE Vec kept_or(Vec, Vec x) const { return x; }
};

struct KeepSome {
  const Keep* masks;
  B4R_INLINE Vec kept_or(Vec other, Vec x) const { return lane_masks(masks) ? x : other; }
};

// Call take(row, vector, logits, KeepAll or KeepSome) for every vector of M items x P rows.
template <int M, class Take>
B4R_INLINE void for_logits(const float* items, int64_t d, const float* bias, const float* ht,
                           const TileTargets& targets, const Take& take) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, items, d, 1, ht, d);
  add_column(c, bias);
  if (targets.begin == targets.end)
    return for_vectors(c, [&](int i, int v, Vec z) { take(i, v, z, KeepAll{}); });
  Keep keep[M * kPanel];
  std::fill_n(keep, M * kPanel, Keep{-1});
  for (const Target* t = targets.begin; t < targets.end; ++t) {
    const int64_t row = t->row - targets.first_row;
    if (row >= 0 && row < kPanel) keep[(t->item - targets.first_item) * kPanel + row] = 0;
  }
  for_vectors(
      c, [&](int i, int v, Vec z) { take(i, v, z, KeepSome{keep + i * kPanel + v * kWidth}); });
}

// maximum(row) = the largest logit but for targets', or what is there if that is larger.
template <int M>
B4R_NOINLINE void largest_logit_tile(const float* items, int64_t d, const float* bias,
                                     const float* ht, const TileTargets& targets, float* maximum) {
  for_logits<M>(items, d, bias, ht, targets, [&](int, int v, Vec z, const auto& keep) {
    float* to = maximum + v * kWidth;
    store(to, larger(load(to), keep.kept_or(broadcast(kLowest), z)));
  });
}

// E = e^(logit - shift(row)), 0 at targets, and its sum over the items onto total(row).
template <int M>
B4R_NOINLINE void exponential_tile(const float* items, int64_t d, const float* bias,
                                   const float* ht, const TileTargets& targets, const float* shift,
                                   float* e, int64_t e_item, float* total) {
  Vec sums[kPanelVectors] = {};
  for_logits<M>(items, d, bias, ht, targets, [&](int i, int v, Vec z, const auto& keep) {
    const Vec x = keep.kept_or(Vec{}, exp(z - load(shift + v * kWidth)));
    store(e + i * e_item + v * kWidth, x);
    sums[v] += x;
  });
#pragma GCC unroll 4
  for (int v = 0; v < kPanelVectors; ++v)
    store(total + v * kWidth, load(total + v * kWidth) + sums[v]);
}

// out(row, .) += sum over items of E[item][row] cn[item][.].
template <int M>
B4R_NOINLINE void over_items_tile(const float* e, int64_t e_item, const float* cn, int64_t count,
                                  float* out, int64_t row) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, e, 1, e_item, cn, count);
  write(c, out, row, kPanel, true);
}

// out(item, .) = or += sum over rows of E[item][row] hn[row][.].
template <int M>
B4R_NOINLINE void over_rows_tile(const float* e, int64_t e_item, const float* hn, int64_t rows,
                                 float* out, int64_t d, int64_t columns, bool add) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, e, e_item, 1, hn, rows);
  write(c, out, d, columns, add);
}

// The largest |x|.
inline float largest_size(const float* x, int64_t count) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i)
    largest = std::fabs(x[i]) <= largest ? largest : std::fabs(x[i]);  // NaN gets through
  return largest;
}

// Where a block's E lies. An item's rows take an odd number of cache lines, or a column of E would
// fall on few sets of L1.
struct Exponentials {
  float* at;
  int64_t item;  // floats from one item to the next
  int64_t next;  // floats to E of the next block, 0 where they share one

  static int64_t item_stride(int64_t rows) { return (panels(rows) * kPanel / 16 | 1) * 16; }
};

// A block of items against the rows of a chunk.
struct LogitBlock {
  const SoftmaxInput& in;
  const ChunkedRows& rows;
  const PackedChunk& packed;
  int64_t c, first, count;  // the chunk; the items
  Exponentials e;
  float bias[kBlock];  // of the items

  LogitBlock(const SoftmaxInput& in, const ChunkedRows& rows, const PackedChunk& packed, int64_t c,
             int64_t k, Exponentials e)
      : in(in),
        rows(rows),
        packed(packed),
        c(c),
        first(k * kBlock),
        count(std::min(kBlock, in.columns - first)),
        e(e) {
    for (int64_t j = 0; j < count; ++j) bias[j] = in.bias != nullptr ? in.bias[first + j] : 0.0f;
  }

  int64_t row_panels() const { return panels(rows.count(c)); }
  std::pair<const Target*, const Target*> targets() const {
    return rows.among(c, first, first + count);
  }
  const float* item(int64_t j) const { return in.items + (first + j) * in.d; }

  // Whether |h| |C| + |b| keeps all logits so small that exponents need no maximum taken off.
  bool safe(float item_norm) const {
    const float bound =
        largest_size(packed.norm, rows.count(c)) * item_norm + largest_size(bias, count);
    return bound * kLog2E <= kSafeExponent;
  }

  // Call f(tile height, its first item, its panel of rows, its targets) for the tiles of E.
  template <class F>
  void for_logit_tiles(const F& f) const {
    for (int64_t p = 0; p < row_panels(); ++p) {
      TileTargets found{nullptr, targets().first, 0, p * kPanel};
      for_tiles(count, [&](auto m, int64_t j) {
        found.begin = found.end;
        found.first_item = first + j;
        while (found.end < targets().second && found.end->item < first + j + m) ++found.end;
        f(m, j, p, found);
      });
    }
  }

  // maximum[i] = the largest logit of each row but for its target's, or what is there if that is
  // larger.
  void maxima(float* maximum) const {
    for_logit_tiles([&](auto m, int64_t j, int64_t p, const TileTargets& found) {
      largest_logit_tile<m>(item(j), in.d, bias + j, packed.ht + p * kPanel * in.d, found,
                            maximum + p * kPanel);
    });
  }

  // E = e^(logit - shift[i]), 0 at targets; total[i] = its sum over the items.
  void exponentials(const float* shift, float* total) const {
    std::fill_n(total, row_panels() * kPanel, 0.0f);
    for_logit_tiles([&](auto m, int64_t j, int64_t p, const TileTargets& found) {
      if (p == 0) prefetch_block(item(kBlock + j), m * in.d);
      exponential_tile<m>(item(j), in.d, bias + j, packed.ht + p * kPanel * in.d, found,
                          shift + p * kPanel, e.at + j * e.item + p * kPanel, e.item,
                          total + p * kPanel);
    });
  }

  // E[j][i] *= factor[i].
  void scale(const float* factor) const {
    for (int64_t j = 0; j < count; ++j)
      for (int64_t i = 0; i < row_panels() * kPanel; ++i) e.at[j * e.item + i] *= factor[i];
  }

  // out (rows, panels(d) * P) += E^T C. cn: scratch for the block's items in panels.
  void add_over_items(float* cn, float* out) const {
    const int64_t width = panels(in.d) * kPanel;
    pack_panels(item(0), in.d, 1, count, in.d, count * kPanel, cn);
    const int64_t e_share = kBlock * e.item / rows.count(c);  // of a row, of the next block
    for (int64_t k = 0; k < panels(in.d); ++k) {
      for_tiles(rows.count(c), [&](auto m, int64_t i) {
        if (k == 0) prefetch_block(e.at + e.next + i * e_share, m * e_share);
        over_items_tile<m>(e.at + i, e.item, cn + k * count * kPanel, count,
                           out + i * width + k * kPanel, width);
      });
    }
  }

  // ditems = or += E h for rows h that bear their weights, and where targets are columns their -q h
  // without; dbias likewise.
  void add_over_rows(const float* weight, const float* q, float* ditems, float* dbias,
                     bool add) const {
    for (int64_t k = 0; k < panels(in.d); ++k) {
      for_tiles(count, [&](auto m, int64_t j) {
        float* to = ditems + (first + j) * in.d + k * kPanel;
        for (int64_t i = 0; i < m; ++i) {
          prefetch_block(item(kBlock + j + i) + k * kPanel, kPanel);
          prefetch_block(to + (kBlock + i) * in.d, kPanel);
        }
        over_rows_tile<m>(e.at + j * e.item, e.item, packed.hn + k * packed.stride, rows.count(c),
                          to, in.d, in.d - k * kPanel, add);
      });
    }
    if (dbias != nullptr) add_to_bias(weight, dbias, add);
    if (!in.sampled) take_off_targets(q, ditems, dbias);
  }

 private:
  void add_to_bias(const float* weight, float* dbias, bool add) const {
    for (int64_t j = 0; j < count; ++j) {
      Vec total{};
      for (int64_t i = 0; i < row_panels() * kPanel; i += kWidth)
        total = fma(load(e.at + j * e.item + i), load(weight + i), total);
      dbias[first + j] = (add ? dbias[first + j] : 0.0f) + sum(total);
    }
  }

  void take_off_targets(const float* q, float* ditems, float* dbias) const {
    for (auto [t, end] = targets(); t < end; ++t) {
      const float* h = in.hidden + rows.row(c, t->row) * in.d;
      float* to = ditems + t->item * in.d;
      for (int64_t k = 0; k < in.d; ++k) to[k] -= q[t->row] * h[k];
      if (dbias != nullptr) dbias[t->item] -= q[t->row];
    }
  }
};

}  // namespace b4r
