// loss_i = -log softmax(z_i)[t_i], z_ij = h_i . C_j + b_j. With lse_i = log sum_{j != t} e^{z_ij},
// x_i = lse_i - z_it:
//   loss_i = softplus(x_i), q_i = 1 - p_it = sigmoid(x_i), dz_ij = p_ij (j != t), dz_it = -q_i, dh
//   = dz C, dC = dz^T h, db = sum_i dz.
//
// N rows, V items, d. E are exponentials of a block of items for a chunk of rows: softmax_tiles.h
// has its three products.
//
// One visit (softmax_loss_sum), 6 N V d operations and an exp a logit: E of a chunk of rows stays
// in scratch. Sweep 1 computes it and its sums; then each row's blocks are joined; sweep 2 takes
// both products. Threads own ranges of items, the same ones in both sweeps (E is in their caches:
// 35 -> 27 ms on two threads for 5,959 rows and 3,416 items), so dC needs no lock; dh is added over
// ranges in their order. Ranges follow from the sizes, never from the threads. Streaming
// (softmax_loss and its backward), 8 N V d: the forward keeps a running maximum, sum and sum of
// items; the backward computes E again, its tasks own blocks of items. Needs no scratch that grows
// with V.
#include "cpu/softmax_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/row_loss.h"
#include "cpu/softmax_tiles.h"

namespace b4r {
namespace {

// Rows of a chunk: below 64 the items are read too often, and at 48 streaming is as fast.
constexpr int64_t kMaxRows = 192, kMinRows = 48;
constexpr int64_t kLogitFloats = int64_t{1} << 23;  // of a chunk in one visit: 32 MB
constexpr int64_t kMaxRanges = 16;                  // of items

// The largest norm of the items of each block.
std::vector<float> norms_of_blocks(const SoftmaxInput& in, int threads) {
  std::vector<float> norms(blocks_of(in.columns, kBlock));
  parallel_for(threads, blocks_of(in.columns, kBlock), [&](int64_t k) {
    norms[k] = largest_norm(in.items + k * kBlock * in.d, in.d,
                            std::min(kBlock, in.columns - k * kBlock), in.d);
  });
  return norms;
}

// Memory for the rows of all chunks.
std::vector<PackedChunk> take_chunks(Scratch& scratch, const ChunkedRows& rows, int64_t d) {
  std::vector<PackedChunk> packed;
  for (int64_t c = 0; c < rows.chunks(); ++c) packed.emplace_back(scratch, rows.capacity, d);
  return packed;
}

// dhidden of one row = the sum over ranges of rescale acc, less q C_t; accs are `distance` floats
// apart.
void write_dhidden_row(const SoftmaxInput& in, int64_t row, const float* acc, int64_t ranges,
                       int64_t distance, const float* rescale, float q, float* dhidden) {
  const float* item = in.target_item(row);
  float* to = dhidden + row * in.d;
  for (int64_t k = 0; k < in.d; ++k) to[k] = -q * item[k];
  for (int64_t g = 0; g < ranges; ++g)
    for (int64_t k = 0; k < in.d; ++k) to[k] += rescale[g] * acc[g * distance + k];
}

void zero_item_gradients(const SoftmaxInput& in, float* ditems, float* dbias) {
  std::fill_n(ditems, in.columns * in.d, 0.0f);
  if (dbias != nullptr) std::fill_n(dbias, in.columns, 0.0f);
}

// One visit, a chunk of rows at a time. All its loops are parallel_for_again: range g is one
// thread's in every sweep.
struct OneVisit {
  const SoftmaxInput& in;
  const float* weights;  // of the rows' losses, or null
  const ChunkedRows& rows;
  const int threads;
  const int64_t capacity = rows.capacity, width = panels(in.d) * kPanel;
  const int64_t blocks = blocks_of(in.columns, kBlock), ranges = std::min(blocks, kMaxRanges);
  const int64_t e_item = Exponentials::item_stride(capacity);
  Scratch scratch = {};
  float* e = scratch.take(in.columns * e_item);
  float* maximum = scratch.take(
      blocks * capacity);  // of each block and row; once they are joined, what to rescale E by
  float* total = scratch.take(blocks * capacity);        // of each block and row: the sum of E
  float* acc = scratch.take(ranges * capacity * width);  // of each range and row: the sum of E C
  // Of each row: weights_i q_i, and that by its sum of E.
  float *q = scratch.take(capacity), *weight = scratch.take(capacity);
  const std::vector<float> norms = norms_of_blocks(in, threads);
  std::vector<double> losses = std::vector<double>(rows.index.size());
  PackedChunk packed = PackedChunk(scratch, capacity, in.d);

  int64_t range(int64_t g) const { return blocks * g / ranges; }
  int64_t row_panels(int64_t c) const { return panels(rows.count(c)); }
  LogitBlock block(int64_t c, int64_t k) const {
    return LogitBlock(in, rows, packed, c, k, {e + k * kBlock * e_item, e_item, kBlock * e_item});
  }

  // The rows as right-hand sides of E, their norms, their targets' logits.
  void pack(int64_t c) {
    parallel_for_again(threads, row_panels(c), [&](int64_t p) { packed.pack(in, rows, c, p); });
  }

  // Sweep 1: E of each block, its rows' maxima and sums.
  void exponentials(int64_t c) {
    parallel_for_again(threads, ranges, [&](int64_t g) {
      for (int64_t k = range(g); k < range(g + 1); ++k) {
        const LogitBlock b = block(c, k);
        const bool safe = b.safe(norms[k]);
        std::fill_n(maximum + k * capacity, row_panels(c) * kPanel, safe ? 0.0f : kLowest);
        if (!safe) b.maxima(maximum + k * capacity);
        b.exponentials(maximum + k * capacity, total + k * capacity);
      }
    });
  }

  // Each row's loss over all blocks, what rescales them to one maximum, and the weighted rows.
  void join_blocks(int64_t c) {
    parallel_for_again(threads, row_panels(c), [&](int64_t p) {
      float largest[kPanel];
      double totals[kPanel] = {};
      largest_maxima(p, largest);
      rescale_totals(p, largest, totals);
      const int64_t count = rows.count(c);
      for (int64_t j = 0, i = p * kPanel; j < kPanel; ++j, ++i) {
        const RowLoss row = row_loss(totals[j], largest[j], packed.target_logit[i]);
        // What a lane without a row has is no number, perhaps.
        q[i] = weight[i] = 0.0f;
        if (i >= count) continue;
        const double counts = weights != nullptr ? weights[rows.row(c, i)] : 1.0;
        q[i] = static_cast<float>(counts * row.q);
        if (totals[j] != 0) weight[i] = static_cast<float>(counts * row.q / totals[j]);
        losses[rows.row_begin[c] + i] = counts * row.loss;
      }
      packed.pack_weighted(in, rows, c, p, weight);
    });
  }

  // Sweep 2: acc of each range, ditems and dbias.
  void gradients(int64_t c, float* ditems, float* dbias) {
    parallel_for_again(threads, ranges, [&](int64_t g) {
      Scratch own;
      float *cn = own.take(kBlock * width), *acc_of_range = acc + g * capacity * width;
      std::fill_n(acc_of_range, rows.count(c) * width, 0.0f);
      for (int64_t k = range(g); k < range(g + 1); ++k) {
        const LogitBlock b = block(c, k);
        const float* rescale = maximum + k * capacity;
        if (std::any_of(rescale, rescale + rows.count(c),
                        [](float factor) { return factor != 1.0f; }))
          b.scale(rescale);
        b.add_over_items(cn, acc_of_range);
        b.add_over_rows(weight, q, ditems, dbias, c > 0);
      }
    });
  }

  void write_dhidden(int64_t c, float* dhidden) {
    parallel_for_again(threads, row_panels(c), [&](int64_t p) {
      std::vector<float> rescale(ranges);
      for (int64_t i = p * kPanel; i < std::min(rows.count(c), (p + 1) * kPanel); ++i) {
        std::fill(rescale.begin(), rescale.end(), weight[i]);
        write_dhidden_row(in, rows.row(c, i), acc + i * width, ranges, capacity * width,
                          rescale.data(), q[i], dhidden);
      }
    });
  }

 private:
  void largest_maxima(int64_t p, float* largest) const {
    std::fill_n(largest, kPanel, kLowest);
    for (int64_t k = 0; k < blocks; ++k)
      for (int64_t j = 0; j < kPanel; ++j)
        largest[j] = std::max(largest[j], maximum[k * capacity + p * kPanel + j]);
  }

  // totals = the sum over blocks of e^(maximum - largest) total; maximum = e^(maximum - largest).
  void rescale_totals(int64_t p, const float* largest, double* totals) {
    for (int64_t k = 0; k < blocks; ++k) {
      float* rescale = maximum + k * capacity + p * kPanel;
      for (int64_t v = 0; v < kPanel; v += kWidth)
        store(rescale + v, exp(load(rescale + v) - load(largest + v)));
      for (int64_t j = 0; j < kPanel; ++j)
        totals[j] += static_cast<double>(rescale[j]) * total[k * capacity + p * kPanel + j];
    }
  }
};

// What a task of the streaming forward knows of its rows, from the blocks of its range that it has
// seen.
struct Running {
  float* maximum;
  double* total;  // the sum of e^(logit - maximum)
  float* acc;     // (rows, width): the sum of e^(logit - maximum) C
};

// The streaming forward. A task is a chunk of rows over a range of items.
struct Stream {
  const SoftmaxInput& in;
  const ChunkedRows& rows;
  const int threads;
  const int64_t capacity = rows.capacity, width = panels(in.d) * kPanel,
                acc_size = capacity * width;
  const int64_t blocks = blocks_of(in.columns, kBlock);
  // With few chunks the items are cut too, so that there is work for all threads.
  const int64_t ranges =
      std::min(blocks, std::max<int64_t>(1, kMaxRanges / std::max<int64_t>(rows.chunks(), 1)));
  Scratch scratch = {};
  float *acc = scratch.take(rows.chunks() * ranges * acc_size),
        *maximum = scratch.take(rows.chunks() * ranges * capacity);
  const std::vector<float> norms = norms_of_blocks(in, threads);
  std::vector<double> total = std::vector<double>(rows.chunks() * ranges * capacity);
  std::vector<PackedChunk> packed = take_chunks(scratch, rows, in.d);

  Running running(int64_t c, int64_t g) {
    const int64_t task = c * ranges + g;
    return {maximum + task * capacity, total.data() + task * capacity, acc + task * acc_size};
  }

  void pack() {
    parallel_for(threads, rows.chunks(), [&](int64_t c) {
      for (int64_t p = 0; p < panels(rows.count(c)); ++p) packed[c].pack(in, rows, c, p);
    });
  }

  void sweep_items() {
    parallel_for(threads, rows.chunks() * ranges,
                 [&](int64_t task) { sweep_range(task / ranges, task % ranges); });
  }

  // Each row's loss over all ranges, and its dhidden.
  void join_ranges(float* loss, float* dhidden, float* lse) {
    parallel_for(threads, rows.chunks(), [&](int64_t c) {
      std::vector<float> rescale(ranges);
      for (int64_t i = 0; i < rows.count(c); ++i) {
        const RowLoss row = join_row(c, i, rescale.data());
        const int64_t index = rows.row(c, i);
        loss[index] = static_cast<float>(row.loss);
        lse[index] = static_cast<float>(packed[c].target_logit[i] + row.loss);
        write_dhidden_row(in, index, running(c, 0).acc + i * width, ranges, acc_size,
                          rescale.data(), static_cast<float>(row.q), dhidden);
      }
    });
  }

 private:
  void sweep_range(int64_t c, int64_t g) {
    const int64_t lanes = panels(rows.count(c)) * kPanel,
                  e_item = Exponentials::item_stride(capacity);
    Scratch own;
    float *e = own.take(kBlock * e_item), *cn = own.take(kBlock * width),
          *block_total = own.take(capacity);
    float* rescale = own.take(capacity);
    const Running so_far = running(c, g);
    std::fill_n(so_far.acc, acc_size, 0.0f);
    std::fill_n(so_far.maximum, capacity, 0.0f);
    std::fill_n(so_far.total, capacity, 0.0);
    bool safe = true;
    const int64_t first_block = blocks * g / ranges;
    for (int64_t k = first_block; k < blocks * (g + 1) / ranges; ++k) {
      const LogitBlock b(in, rows, packed[c], c, k, {e, e_item, 0});
      std::copy_n(so_far.maximum, lanes, rescale);
      safe = safe && b.safe(norms[k]);
      if (!safe) {
        if (k == first_block) std::fill_n(so_far.maximum, capacity, kLowest);
        b.maxima(so_far.maximum);
      }
      b.exponentials(so_far.maximum, block_total);
      for (int64_t i = 0; i < lanes; i += kWidth)
        store(rescale + i, exp(load(rescale + i) - load(so_far.maximum + i)));
      add_totals(so_far, rows.count(c), rescale, block_total);
      b.add_over_items(cn, so_far.acc);
    }
  }

  // total = rescale total + that of the block; acc *= rescale.
  void add_totals(const Running& so_far, int64_t count, const float* rescale,
                  const float* block_total) const {
    for (int64_t i = 0; i < count; ++i) {
      so_far.total[i] = so_far.total[i] * rescale[i] + block_total[i];
      if (rescale[i] != 1.0f)
        for (int64_t x = 0; x < width; ++x) so_far.acc[i * width + x] *= rescale[i];
    }
  }

  // Row i of chunk c over all ranges; rescale[g] = what its acc in range g counts for in dhidden.
  RowLoss join_row(int64_t c, int64_t i, float* rescale) {
    float largest = kLowest;
    double sum = 0;
    for (int64_t g = 0; g < ranges; ++g) largest = std::max(largest, running(c, g).maximum[i]);
    for (int64_t g = 0; g < ranges; ++g) {
      rescale[g] = std::exp(running(c, g).maximum[i] - largest);
      sum += running(c, g).total[i] * rescale[g];
    }
    const RowLoss row = row_loss(sum, largest, packed[c].target_logit[i]);
    for (int64_t g = 0; g < ranges; ++g)
      rescale[g] *= sum != 0 ? static_cast<float>(row.q / sum) : 0.0f;
    return row;
  }
};

// The streaming backward. A task is a block of items over all rows.
struct StreamBackward {
  const SoftmaxInput& in;
  const ChunkedRows& rows;
  const int threads;
  const int64_t capacity = rows.capacity;
  Scratch scratch = {};
  std::vector<PackedChunk> packed = take_chunks(scratch, rows, in.d);
  // Of each chunk and row: what makes E its probabilities; dloss; q dloss.
  float *shift = scratch.take(rows.chunks() * capacity),
        *weight = scratch.take(rows.chunks() * capacity);
  float* q = scratch.take(rows.chunks() * capacity);

  void pack(const float* dloss, const float* loss, const float* lse) {
    parallel_for(threads, rows.chunks(), [&](int64_t c) {
      for (int64_t i = 0; i < capacity; ++i) {
        const int64_t at = c * capacity + i, index = i < rows.count(c) ? rows.row(c, i) : -1;
        shift[at] = index < 0 ? -kLowest : lse[index];  // E of lanes without a row is next to 0
        weight[at] = index < 0 ? 0.0f : dloss[index];
        q[at] = index < 0 ? 0.0f : -std::expm1(-loss[index]) * dloss[index];
      }
      for (int64_t p = 0; p < panels(rows.count(c)); ++p) {
        packed[c].pack(in, rows, c, p);
        packed[c].pack_weighted(in, rows, c, p, weight + c * capacity);
      }
    });
  }

  void gradients(float* ditems, float* dbias) {
    const int64_t e_item = Exponentials::item_stride(capacity);
    parallel_for(threads, blocks_of(in.columns, kBlock), [&](int64_t k) {
      Scratch own;
      float *e = own.take(kBlock * e_item), *total = own.take(capacity);
      for (int64_t c = 0; c < rows.chunks(); ++c) {
        const LogitBlock b(in, rows, packed[c], c, k, {e, e_item, 0});
        b.exponentials(shift + c * capacity, total);
        b.add_over_rows(weight + c * capacity, q + c * capacity, ditems, dbias, c > 0);
      }
    });
  }
};

}  // namespace

bool softmax_loss_sum(const SoftmaxInput& in, const float* weights, float* loss, float* dhidden,
                      float* ditems, float* dbias, int threads) {
  const int64_t limit =
      std::min(kMaxRows, kLogitFloats / std::max<int64_t>(in.columns, 1) / kPanel * kPanel);
  if (limit < kMinRows) return false;
  const ChunkedRows rows(in, limit);
  if (rows.chunks() == 0) zero_item_gradients(in, ditems, dbias);
  std::fill_n(dhidden, in.rows * in.d, 0.0f);
  OneVisit visit{in, weights, rows, threads};
  for (int64_t c = 0; c < rows.chunks(); ++c) {
    visit.pack(c);
    visit.exponentials(c);
    visit.join_blocks(c);
    visit.gradients(c, ditems, dbias);
    visit.write_dhidden(c, dhidden);
  }
  double sum_of_losses = 0;
  for (const double row : visit.losses) sum_of_losses += row;
  *loss = static_cast<float>(sum_of_losses);
  return true;
}

void softmax_loss(const SoftmaxInput& in, float* loss, float* dhidden, float* lse, int threads) {
  const ChunkedRows rows(in, kMaxRows);
  std::fill_n(loss, in.rows, 0.0f);
  std::fill_n(lse, in.rows, 0.0f);
  std::fill_n(dhidden, in.rows * in.d, 0.0f);
  Stream stream{in, rows, threads};
  stream.pack();
  stream.sweep_items();
  stream.join_ranges(loss, dhidden, lse);
}

void softmax_loss_backward(const float* dloss, const SoftmaxInput& in, const float* loss,
                           const float* lse, float* ditems, float* dbias, int threads) {
  const ChunkedRows rows(in, kMaxRows);
  if (rows.chunks() == 0) return zero_item_gradients(in, ditems, dbias);
  StreamBackward stream{in, rows, threads};
  stream.pack(dloss, loss, lse);
  stream.gradients(ditems, dbias);
}

}  // namespace b4r
