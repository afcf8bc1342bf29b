// loss_i = -log softmax(z_i)[t_i], z_ij = h_i . C_j + b_j. With lse_i = log sum_{j != t} e^{z_ij}, x_i = lse_i - z_it:
//   loss_i = softplus(x_i), q_i = 1 - p_it = sigmoid(x_i), dz_ij = p_ij (j != t), dz_it = -q_i, dh = dz C, dC = dz^T h, db = sum_i
//   dz.
//
// N rows, V items, d. A block of logits is kept item-major, E[j][i]: then C, h and their gradients serve as they lie in memory, and
// maximum and sum over items are operations on whole vectors. Exponents turn to base 2 last, when they are near 0 where it counts.
//   E[j][i] = e^(C_j . h_i + b_j)    tiles of items x P rows, the right-hand side is rows transposed: ht [rows div P][d][P]
//   dh[i] = sum_j E[j][i] C_j        tiles of rows x P of d, the right-hand side is a block of items: cn [d div P][items][P]
//   dC[j] = sum_i E[j][i] w_i h_i    tiles of items x P of d, the right-hand side is weighted rows: hn [d div P][rows][P]
// The target's entry of E is 0, and its part of dh, dC and db added apart, with q: nothing cancels. Where |h| |C| bounds the logits
// they need no maximum taken off; elsewhere a product more finds it. Rows without a target are left out before anything is
// computed.
//
// One visit (softmax_loss_sum), 6 N V d operations and an exp a logit: E of a chunk of rows stays in scratch. Sweep 1 computes it
// and its sums; then each row's blocks are joined; sweep 2 takes both products. Threads own ranges of items, the same ones in both
// sweeps (E is in their caches: 35 -> 27 ms on two threads for 5,959 rows and 3,416 items), so dC needs no lock;
// dh is added over ranges in their order. Ranges follow from the sizes, never from the threads. Streaming (softmax_loss and its
// backward), 8 N V d: the forward keeps a running maximum, sum and sum of items; the backward computes E again, its tasks own
// blocks of items. Needs no scratch that grows with V.
#include "cpu/softmax_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "core/philox.h"
#include "core/rows.h"
#include "cpu/row_loss.h"

namespace b4r {
namespace {

constexpr int64_t kBlock = 192;  // items of a block of logits
constexpr int64_t kRows = 192,
                  kLeastRows = 48;  // of a chunk: below 64 the items are read too often, and at 48 streaming is as fast
constexpr int64_t kLogitFloats = int64_t{1} << 23;  // of a chunk in one visit: 32 MB
constexpr int64_t kRanges = 16;                     // of items, at most
constexpr float kLowest = -1e30f;

// An odd number of cache lines, or a column of E would fall on few sets of L1.
int64_t odd_lines(int64_t rows) { return (panels(rows) * kPanel / 16 | 1) * 16; }

// An entry of E that is left out, being its row's target: which column, and which row of the chunk.
struct Target {
  int64_t item, row;
};

// Rows with a target, cut into chunks of whole panels.
struct Rows {
  std::vector<int64_t> index;  // where each stands in `hidden`
  std::vector<int64_t> chunk;  // chunk c has rows chunk[c] .. chunk[c + 1] - 1
  std::vector<Target> targets;
  std::vector<int64_t> begin;  // chunk c has targets begin[c] .. begin[c + 1] - 1, sorted by item
  int64_t most = 0;            // rows of a chunk, at most, in whole panels

  Rows(const SoftmaxInput& in, int64_t most_rows) {
    for (int64_t i = 0; i < in.rows; ++i)
      if (in.targets[i] >= 0) index.push_back(i);
    const int64_t count = static_cast<int64_t>(index.size()), all = panels(count), chunks = blocks_of(all * kPanel, most_rows);
    for (int64_t c = 0; c <= chunks; ++c) chunk.push_back(std::min(all * c / std::max<int64_t>(chunks, 1) * kPanel, count));
    const auto by_item = [](const Target& a, const Target& b) { return a.item < b.item; };
    std::vector<Target> columns;  // with negatives: what each stands for, and which it is
    if (in.negatives != nullptr) {
      for (int64_t k = 0; k < in.columns; ++k) columns.push_back({in.negatives[k], k});
      std::stable_sort(columns.begin(), columns.end(), by_item);
    }
    for (int64_t c = 0; c < chunks; ++c) {
      most = std::max(most, panels(chunk[c + 1] - chunk[c]) * kPanel);
      begin.push_back(static_cast<int64_t>(targets.size()));
      for (int64_t i = chunk[c]; i < chunk[c + 1]; ++i) {
        const Target target{in.targets[index[i]], i - chunk[c]};
        if (in.negatives == nullptr) targets.push_back(target);
        for (auto [hit, end] = std::equal_range(columns.begin(), columns.end(), target, by_item); hit != end; ++hit)
          targets.push_back({hit->row, target.row});
      }
      std::stable_sort(targets.begin() + begin[c], targets.end(), by_item);
    }
    begin.push_back(static_cast<int64_t>(targets.size()));
  }

  int64_t chunks() const { return static_cast<int64_t>(chunk.size()) - 1; }
  int64_t count(int64_t c) const { return chunk[c + 1] - chunk[c]; }

  // The targets of chunk c among the items first .. last - 1.
  std::pair<const Target*, const Target*> among(int64_t c, int64_t first, int64_t last) const {
    const auto before = [](const Target& t, int64_t item) { return t.item < item; };
    const Target *from = targets.data() + begin[c], *end = targets.data() + begin[c + 1];
    return {std::lower_bound(from, end, first, before), std::lower_bound(from, end, last, before)};
  }
};

// One chunk's rows as right-hand sides; their norms and their targets' logits.
struct PackedChunk {
  float *ht, *hn, *norm, *target_logit;
  int64_t stride;  // of the panels of hn

  PackedChunk(Scratch& scratch, int64_t most, int64_t d)
      : ht(scratch.take(most * d)),
        hn(scratch.take(panels(d) * most * kPanel)),
        norm(scratch.take(most)),
        target_logit(scratch.take(most)),
        stride(most * kPanel) {}

  // All but hn, for the rows of panel p.
  void pack(const SoftmaxInput& in, const Rows& rows, int64_t c, int64_t p) {
    const int64_t d = in.d, first = p * kPanel, count = std::min<int64_t>(kPanel, rows.count(c) - first);
    float* t = ht + first * d;
    for (int64_t j = 0; j < kPanel; ++j) {
      const int64_t row = j < count ? rows.index[rows.chunk[c] + first + j] : 0;
      const float* h = in.hidden + row * d;
      for (int64_t k = 0; k < d; ++k) t[k * kPanel + j] = j < count ? h[k] : 0.0f;
      if (j >= count) continue;
      norm[first + j] = largest_norm(h, d, 1, d);
      target_logit[first + j] = dot(h, in.target_item(row), d) + in.target_bias_of(row);
    }
  }

  // hn = weight[i] h[i] for the rows of panel p.
  void pack_weighted(const SoftmaxInput& in, const Rows& rows, int64_t c, int64_t p, const float* weight) {
    for (int64_t i = p * kPanel; i < std::min(rows.count(c), (p + 1) * kPanel); ++i) {
      const float* h = in.hidden + rows.index[rows.chunk[c] + i] * in.d;
      pack_panels(h, in.d, 1, 1, in.d, stride, hn + i * kPanel);
      for (int64_t k = 0; k < panels(in.d); ++k)
        for (int64_t j = 0; j < kPanel; ++j) hn[k * stride + i * kPanel + j] *= weight[i];
    }
  }
};

float largest_size(const float* x, int64_t count) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i) largest = std::fabs(x[i]) <= largest ? largest : std::fabs(x[i]);  // NaN gets through
  return largest;
}

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
B4R_INLINE void for_logits(const float* items, int64_t d, const float* bias, const float* ht, const TileTargets& targets,
                           const Take& take) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, items, d, 1, ht, d);
  add_column(c, bias);
  if (targets.begin == targets.end) return for_vectors(c, [&](int i, int v, Vec z) { take(i, v, z, KeepAll{}); });
  Keep keep[M * kPanel];
  std::fill_n(keep, M * kPanel, Keep{-1});
  for (const Target* t = targets.begin; t < targets.end; ++t) {
    const int64_t row = t->row - targets.first_row;
    if (row >= 0 && row < kPanel) keep[(t->item - targets.first_item) * kPanel + row] = 0;
  }
  for_vectors(c, [&](int i, int v, Vec z) { take(i, v, z, KeepSome{keep + i * kPanel + v * kWidth}); });
}

// most(row) = the largest logit but for targets', or what is there if that is larger.
template <int M>
B4R_NOINLINE void largest_logit_tile(const float* items, int64_t d, const float* bias, const float* ht, const TileTargets& targets,
                                     float* most) {
  for_logits<M>(items, d, bias, ht, targets, [&](int, int v, Vec z, const auto& keep) {
    float* to = most + v * kWidth;
    store(to, larger(load(to), keep.kept_or(broadcast(kLowest), z)));
  });
}

// E = e^(logit - minus(row)), 0 at targets, and its sum over the items onto total(row).
template <int M>
B4R_NOINLINE void exponential_tile(const float* items, int64_t d, const float* bias, const float* ht, const TileTargets& targets,
                                   const float* minus, float* e, int64_t e_item, float* total) {
  Vec sums[kPanelVectors] = {};
  for_logits<M>(items, d, bias, ht, targets, [&](int i, int v, Vec z, const auto& keep) {
    const Vec x = keep.kept_or(Vec{}, exp(z - load(minus + v * kWidth)));
    store(e + i * e_item + v * kWidth, x);
    sums[v] += x;
  });
#pragma GCC unroll 4
  for (int v = 0; v < kPanelVectors; ++v) store(total + v * kWidth, load(total + v * kWidth) + sums[v]);
}

// out(row, .) += sum over items of E[item][row] cn[item][.].
template <int M>
B4R_NOINLINE void over_items_tile(const float* e, int64_t e_item, const float* cn, int64_t count, float* out, int64_t row) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, e, 1, e_item, cn, count);
  write(c, out, row, kPanel, true);
}

// out(item, .) = or += sum over rows of E[item][row] hn[row][.].
template <int M>
B4R_NOINLINE void over_rows_tile(const float* e, int64_t e_item, const float* hn, int64_t rows, float* out, int64_t d,
                                 int64_t columns, bool add) {
  Tile<M> c;
  set_zero(c);
  multiply_add(c, e, e_item, 1, hn, rows);
  write(c, out, d, columns, add);
}

// A block of items against the rows of a chunk.
struct Block {
  const SoftmaxInput& in;
  const Rows& rows;
  const PackedChunk& packed;
  int64_t c, first, count;  // the chunk; the items
  float* e;
  int64_t e_item;      // floats from one item of E to the next
  int64_t e_next;      // floats from E to that of the next block, 0 where they share one
  float bias[kBlock];  // of the items

  Block(const SoftmaxInput& in, const Rows& rows, const PackedChunk& packed, int64_t c, int64_t k, float* e, int64_t e_item,
        int64_t e_next)
      : in(in),
        rows(rows),
        packed(packed),
        c(c),
        first(k * kBlock),
        count(std::min(kBlock, in.columns - first)),
        e(e),
        e_item(e_item),
        e_next(e_next) {
    for (int64_t j = 0; j < count; ++j) bias[j] = in.bias != nullptr ? in.bias[first + j] : 0.0f;
  }

  int64_t row_panels() const { return panels(rows.count(c)); }
  std::pair<const Target*, const Target*> targets() const { return rows.among(c, first, first + count); }

  // Whether |h| |C| + |b| keeps all logits so small that exponents need no maximum taken off.
  bool safe(float item_norm) const {
    const float bound = largest_size(packed.norm, rows.count(c)) * item_norm + largest_size(bias, count);
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

  // most[i] = the largest logit of each row but for its target's, or what is there if that is larger.
  void maxima(float* most) const {
    for_logit_tiles([&](auto m, int64_t j, int64_t p, const TileTargets& found) {
      largest_logit_tile<m>(in.items + (first + j) * in.d, in.d, bias + j, packed.ht + p * kPanel * in.d, found, most + p * kPanel);
    });
  }

  // E = e^(logit - minus[i]), 0 at targets; total[i] = its sum over the items.
  void exponentials(const float* minus, float* total) const {
    std::fill_n(total, row_panels() * kPanel, 0.0f);
    for_logit_tiles([&](auto m, int64_t j, int64_t p, const TileTargets& found) {
      if (p == 0) prefetch_block(in.items + (first + kBlock + j) * in.d, m * in.d);
      exponential_tile<m>(in.items + (first + j) * in.d, in.d, bias + j, packed.ht + p * kPanel * in.d, found, minus + p * kPanel,
                          e + j * e_item + p * kPanel, e_item, total + p * kPanel);
    });
  }

  // E[j][i] *= factor[i].
  void scale(const float* factor) const {
    for (int64_t j = 0; j < count; ++j)
      for (int64_t i = 0; i < row_panels() * kPanel; ++i) e[j * e_item + i] *= factor[i];
  }

  // out (rows, panels(d) * P) += E^T C. cn: scratch for the block's items in panels.
  void add_over_items(float* cn, float* out) const {
    const int64_t width = panels(in.d) * kPanel;
    pack_panels(in.items + first * in.d, in.d, 1, count, in.d, count * kPanel, cn);
    const int64_t e_share = kBlock * e_item / rows.count(c);  // of a row, of the next block
    for (int64_t k = 0; k < panels(in.d); ++k) {
      for_tiles(rows.count(c), [&](auto m, int64_t i) {
        if (k == 0) prefetch_block(e + e_next + i * e_share, m * e_share);
        over_items_tile<m>(e + i, e_item, cn + k * count * kPanel, count, out + i * width + k * kPanel, width);
      });
    }
  }

  // ditems = or += E h for rows h that bear their weights, and where targets are columns their -q h without; dbias likewise.
  void add_over_rows(const float* weight, const float* q, float* ditems, float* dbias, bool add) const {
    for (int64_t k = 0; k < panels(in.d); ++k) {
      for_tiles(count, [&](auto m, int64_t j) {
        float* to = ditems + (first + j) * in.d + k * kPanel;
        for (int64_t i = 0; i < m; ++i) {
          prefetch_block(in.items + (first + kBlock + j + i) * in.d + k * kPanel, kPanel);
          prefetch_block(to + (kBlock + i) * in.d, kPanel);
        }
        over_rows_tile<m>(e + j * e_item, e_item, packed.hn + k * packed.stride, rows.count(c), to, in.d, in.d - k * kPanel, add);
      });
    }
    for (int64_t j = 0; j < count && dbias != nullptr; ++j) {
      Vec total{};
      for (int64_t i = 0; i < row_panels() * kPanel; i += kWidth) total = fma(load(e + j * e_item + i), load(weight + i), total);
      dbias[first + j] = (add ? dbias[first + j] : 0.0f) + sum(total);
    }
    if (in.negatives != nullptr) return;
    for (auto [t, end] = targets(); t < end; ++t) {
      const float* h = in.hidden + rows.index[rows.chunk[c] + t->row] * in.d;
      float* to = ditems + t->item * in.d;
      for (int64_t k = 0; k < in.d; ++k) to[k] -= q[t->row] * h[k];
      if (dbias != nullptr) dbias[t->item] -= q[t->row];
    }
  }
};

// The largest norm of the items of each block.
std::vector<float> norms_of_blocks(const SoftmaxInput& in, int threads) {
  std::vector<float> norms(blocks_of(in.columns, kBlock));
  parallel_for(threads, blocks_of(in.columns, kBlock), [&](int64_t k) {
    norms[k] = largest_norm(in.items + k * kBlock * in.d, in.d, std::min(kBlock, in.columns - k * kBlock), in.d);
  });
  return norms;
}

// dhidden of one row = factor sum over parts of part - q C_t; parts are `distance` floats apart.
void write_dhidden(const SoftmaxInput& in, int64_t row, const float* part, int64_t parts, int64_t distance, const float* factors,
                   float q, float* dhidden) {
  const float* item = in.target_item(row);
  float* to = dhidden + row * in.d;
  for (int64_t k = 0; k < in.d; ++k) to[k] = -q * item[k];
  for (int64_t g = 0; g < parts; ++g)
    for (int64_t k = 0; k < in.d; ++k) to[k] += factors[g] * part[g * distance + k];
}

}  // namespace

bool softmax_loss_sum(const SoftmaxInput& in, float* loss, float* dhidden, float* ditems, float* dbias, int threads) {
  const int64_t most_rows = std::min(kRows, kLogitFloats / std::max<int64_t>(in.columns, 1) / kPanel * kPanel);
  if (most_rows < kLeastRows) return false;
  const Rows rows(in, most_rows);
  const int64_t most = rows.most, d = in.d, width = panels(d) * kPanel, e_item = odd_lines(most);
  const int64_t blocks = blocks_of(in.columns, kBlock), ranges = std::min(blocks, kRanges);
  const auto range = [&](int64_t g) { return blocks * g / ranges; };
  if (rows.chunks() == 0) {
    std::fill_n(ditems, in.columns * d, 0.0f);
    if (dbias != nullptr) std::fill_n(dbias, in.columns, 0.0f);
  }
  std::fill_n(dhidden, in.rows * d, 0.0f);
  Scratch shared;
  float* e = shared.take(in.columns * e_item);
  float *maximum = shared.take(blocks * most), *total = shared.take(blocks * most), *parts = shared.take(ranges * most * width);
  float *q = shared.take(most), *weight = shared.take(most);
  const std::vector<float> norms = norms_of_blocks(in, threads);
  std::vector<double> losses(rows.index.size());
  PackedChunk packed(shared, most, d);

  for (int64_t c = 0; c < rows.chunks(); ++c) {
    const int64_t count = rows.count(c), row_panels = panels(count);
    const auto block = [&](int64_t k) { return Block(in, rows, packed, c, k, e + k * kBlock * e_item, e_item, kBlock * e_item); };
    parallel_for_again(threads, row_panels, [&](int64_t p) { packed.pack(in, rows, c, p); });
    parallel_for_again(threads, ranges, [&](int64_t g) {
      for (int64_t k = range(g); k < range(g + 1); ++k) {
        const Block b = block(k);
        const bool safe = b.safe(norms[k]);
        std::fill_n(maximum + k * most, row_panels * kPanel, safe ? 0.0f : kLowest);
        if (!safe) b.maxima(maximum + k * most);
        b.exponentials(maximum + k * most, total + k * most);
      }
    });
    parallel_for_again(threads, row_panels, [&](int64_t p) {
      float largest[kPanel];
      double s[kPanel] = {};
      std::fill_n(largest, kPanel, kLowest);
      for (int64_t k = 0; k < blocks; ++k)
        for (int64_t j = 0; j < kPanel; ++j) largest[j] = std::max(largest[j], maximum[k * most + p * kPanel + j]);
      for (int64_t k = 0; k < blocks; ++k) {
        float* at = maximum + k * most + p * kPanel;
        for (int64_t v = 0; v < kPanel; v += kWidth) store(at + v, exp(load(at + v) - load(largest + v)));
        for (int64_t j = 0; j < kPanel; ++j) s[j] += static_cast<double>(at[j]) * total[k * most + p * kPanel + j];
      }
      for (int64_t j = 0, i = p * kPanel; j < kPanel; ++j, ++i) {
        const RowLoss row = row_loss(s[j], largest[j], packed.target_logit[i]);
        q[i] = i < count ? static_cast<float>(row.q) : 0.0f;
        weight[i] = i < count && s[j] != 0 ? static_cast<float>(row.q / s[j]) : 0.0f;
        if (i < count) losses[rows.chunk[c] + i] = row.loss;
      }
      packed.pack_weighted(in, rows, c, p, weight);
    });
    parallel_for_again(threads, ranges, [&](int64_t g) {
      Scratch own;
      float *cn = own.take(kBlock * width), *part = parts + g * most * width;
      std::fill_n(part, count * width, 0.0f);
      for (int64_t k = range(g); k < range(g + 1); ++k) {
        const Block b = block(k);
        const float* factor = maximum + k * most;
        if (std::any_of(factor, factor + count, [](float f) { return f != 1.0f; })) b.scale(factor);
        b.add_over_items(cn, part);
        b.add_over_rows(weight, q, ditems, dbias, c > 0);
      }
    });
    parallel_for_again(threads, row_panels, [&](int64_t p) {
      std::vector<float> factors(ranges);
      for (int64_t i = p * kPanel; i < std::min(count, (p + 1) * kPanel); ++i) {
        std::fill(factors.begin(), factors.end(), weight[i]);
        write_dhidden(in, rows.index[rows.chunk[c] + i], parts + i * width, ranges, most * width, factors.data(), q[i], dhidden);
      }
    });
  }
  double sum_of_losses = 0;
  for (const double row : losses) sum_of_losses += row;
  *loss = static_cast<float>(sum_of_losses);
  return true;
}

void softmax_loss(const SoftmaxInput& in, float* loss, float* dhidden, float* lse, int threads) {
  const Rows rows(in, kRows);
  const int64_t most = rows.most, d = in.d, width = panels(d) * kPanel, blocks = blocks_of(in.columns, kBlock);
  // With few chunks the items are cut too, so that there is work for all threads.
  const int64_t ranges = std::min(blocks, std::max<int64_t>(1, kRanges / std::max<int64_t>(rows.chunks(), 1)));
  std::fill_n(loss, in.rows, 0.0f);
  std::fill_n(lse, in.rows, 0.0f);
  std::fill_n(dhidden, in.rows * d, 0.0f);
  Scratch shared;
  const int64_t part_size = most * width;
  float *parts = shared.take(rows.chunks() * ranges * part_size), *maxima = shared.take(rows.chunks() * ranges * most);
  const std::vector<float> norms = norms_of_blocks(in, threads);
  std::vector<double> sums(rows.chunks() * ranges * most);
  std::vector<PackedChunk> packed;
  for (int64_t c = 0; c < rows.chunks(); ++c) packed.emplace_back(shared, most, d);
  parallel_for(threads, rows.chunks(), [&](int64_t c) {
    for (int64_t p = 0; p < panels(rows.count(c)); ++p) packed[c].pack(in, rows, c, p);
  });

  parallel_for(threads, rows.chunks() * ranges, [&](int64_t task) {
    const int64_t c = task / ranges, g = task % ranges, lanes = panels(rows.count(c)) * kPanel, e_item = odd_lines(most);
    Scratch own;
    float *e = own.take(kBlock * e_item), *cn = own.take(kBlock * width), *total = own.take(most), *before = own.take(most);
    float *part = parts + task * part_size, *maximum = maxima + task * most;
    double* s = sums.data() + task * most;
    std::fill_n(part, part_size, 0.0f);
    std::fill_n(maximum, most, 0.0f);
    std::fill_n(s, most, 0.0);
    bool safe = true;
    const int64_t first_block = blocks * g / ranges;
    for (int64_t k = first_block; k < blocks * (g + 1) / ranges; ++k) {
      const Block b(in, rows, packed[c], c, k, e, e_item, 0);
      std::copy_n(maximum, lanes, before);
      safe = safe && b.safe(norms[k]);
      if (!safe) {
        if (k == first_block) std::fill_n(maximum, most, kLowest);
        b.maxima(maximum);
      }
      b.exponentials(maximum, total);
      for (int64_t i = 0; i < lanes; i += kWidth) store(before + i, exp(load(before + i) - load(maximum + i)));
      for (int64_t i = 0; i < rows.count(c); ++i) {
        s[i] = s[i] * before[i] + total[i];
        if (before[i] != 1.0f)
          for (int64_t x = 0; x < width; ++x) part[i * width + x] *= before[i];
      }
      b.add_over_items(cn, part);
    }
  });

  parallel_for(threads, rows.chunks(), [&](int64_t c) {
    std::vector<float> factors(ranges);
    for (int64_t i = 0; i < rows.count(c); ++i) {
      float most_of_row = kLowest;
      double s = 0;
      for (int64_t g = 0; g < ranges; ++g) most_of_row = std::max(most_of_row, maxima[(c * ranges + g) * most + i]);
      for (int64_t g = 0; g < ranges; ++g) {
        const int64_t at = (c * ranges + g) * most + i;
        factors[g] = std::exp(maxima[at] - most_of_row);
        s += sums[at] * factors[g];
      }
      const RowLoss row = row_loss(s, most_of_row, packed[c].target_logit[i]);
      for (float& factor : factors) factor *= s != 0 ? static_cast<float>(row.q / s) : 0.0f;
      const int64_t index = rows.index[rows.chunk[c] + i];
      loss[index] = static_cast<float>(row.loss);
      lse[index] = static_cast<float>(packed[c].target_logit[i] + row.loss);
      write_dhidden(in, index, parts + c * ranges * part_size + i * width, ranges, part_size, factors.data(),
                    static_cast<float>(row.q), dhidden);
    }
  });
}

void softmax_loss_backward(const float* dloss, const SoftmaxInput& in, const float* loss, const float* lse, float* ditems,
                           float* dbias, int threads) {
  const Rows rows(in, kRows);
  const int64_t most = rows.most, blocks = blocks_of(in.columns, kBlock), e_item = odd_lines(most);
  if (rows.chunks() == 0) {
    std::fill_n(ditems, in.columns * in.d, 0.0f);
    if (dbias != nullptr) std::fill_n(dbias, in.columns, 0.0f);
  }
  Scratch shared;
  std::vector<PackedChunk> packed;
  for (int64_t c = 0; c < rows.chunks(); ++c) packed.emplace_back(shared, most, in.d);
  float *shift = shared.take(rows.chunks() * most), *weight = shared.take(rows.chunks() * most),
        *q = shared.take(rows.chunks() * most);
  parallel_for(threads, rows.chunks(), [&](int64_t c) {
    for (int64_t i = 0; i < most; ++i) {
      const int64_t at = c * most + i, index = i < rows.count(c) ? rows.index[rows.chunk[c] + i] : -1;
      shift[at] = index < 0 ? -kLowest : lse[index];  // E of lanes without a row is next to 0
      weight[at] = index < 0 ? 0.0f : dloss[index];
      q[at] = index < 0 ? 0.0f : -std::expm1(-loss[index]) * dloss[index];
    }
    for (int64_t p = 0; p < panels(rows.count(c)); ++p) {
      packed[c].pack(in, rows, c, p);
      packed[c].pack_weighted(in, rows, c, p, weight + c * most);
    }
  });
  parallel_for(threads, blocks, [&](int64_t k) {
    Scratch own;
    float *e = own.take(kBlock * e_item), *total = own.take(most);
    for (int64_t c = 0; c < rows.chunks(); ++c) {
      const Block b(in, rows, packed[c], c, k, e, e_item, 0);
      b.exponentials(shift + c * most, total);
      b.add_over_rows(weight + c * most, q + c * most, ditems, dbias, c > 0);
    }
  });
}

}  // namespace b4r
