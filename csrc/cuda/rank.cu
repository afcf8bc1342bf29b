// rank_i = 1 + the number of items j, not the target and not excluded, with z_ij >= z_it, z_ij =
// h_i . C_j + b_j: docs/rank.md. The target is not below itself, so it counts itself, and is the 1.
//
// hidden (N, d), items (V, d). A block takes kRows rows and a split of the items: scores the
// targets, then walks over its items and counts in the registers that hold the scores. What is
// excluded is scored once more, a block a row, and taken off. 2 N V d operations; C is read once
// for every kRows rows, from L2 where it fits there. Counts are integers: their order does not
// matter.
#include "cuda/launch.cuh"
#include "cuda/rank.h"
#include "cuda/scores.cuh"

namespace b4r::cuda {
namespace {

constexpr int kRows = kRowsOfRank;

// Behind what for_scores has in shared memory.
struct Targets {
  float z[kRows];
  int count[kRows];
};

// z of every row with the row's own target. Begins and ends with a barrier.
template <class T, int ROWS, class TargetOf>
__device__ __forceinline__ void score_targets(const Catalogue<T>& catalogue, int rows,
                                              const TargetOf& target_of, unsigned char* shared,
                                              Targets* targets) {
  if (threadIdx.x < kRows) targets->z[threadIdx.x] = NAN, targets->count[threadIdx.x] = 0;
  __syncthreads();
  for_scores<T, ROWS>(catalogue, rows, target_of, shared, [&](const Tile<T, ROWS>& tile, int64_t) {
    tile.for_each([&](int slot, int item, float z) {
      if (item == tile.row(slot) && item < rows)
        targets->z[item] = catalogue.biased(z, target_of(item));
    });
  });
  __syncthreads();
}

// The counts of this thread's slots, added to those of their rows.
template <class Tile>
__device__ __forceinline__ void add_counts(const int (&counts)[Tile::kRowsOfThread],
                                           Targets* targets) {
#pragma unroll
  for (int slot = 0; slot < Tile::kRowsOfThread; ++slot) {
    const int sum = Tile::sum_of_lanes(counts[slot]);
    if (Tile::leads()) atomicAdd(&targets->count[Tile::row(slot)], sum);
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kScoreThreads, 2)
    count_kernel(Catalogue<T> catalogue, const T* hidden, const int64_t* p_targets,
                 int64_t* p_counts, int64_t rows, int64_t num_items, int64_t splits,
                 int64_t items_of_split) {
  unsigned char* shared = shared_memory<unsigned char>();
  auto* targets = reinterpret_cast<Targets*>(shared + scores_bytes<T, kRows>(catalogue.d));
  const int64_t split = blockIdx.x % splits, first_row = blockIdx.x / splits * kRows;
  const int count = static_cast<int>(min(int64_t{kRows}, rows - first_row));
  const int64_t* own_targets = p_targets + first_row;
  load_rows<T, kRows>(hidden + first_row * catalogue.d, count, catalogue.d, catalogue.aligned,
                      shared);
  score_targets<T, kRows>(
      catalogue, count, [&](int64_t row) { return own_targets[row]; }, shared, targets);

  using OfRows = Tile<T, kRows>;
  int counts[OfRows::kRowsOfThread] = {};
  const int64_t begin = split * items_of_split, end = min(begin + items_of_split, num_items);
  for_scores<T, kRows>(
      catalogue, end - begin, [&](int64_t item) { return begin + item; }, shared,
      [&](const OfRows& tile, int64_t first) {
        tile.for_each([&](int slot, int place, float z) {
          const int64_t item = begin + first + place;
          if (item < end) counts[slot] += catalogue.biased(z, item) >= targets->z[tile.row(slot)];
        });
      });
  add_counts<OfRows>(counts, targets);
  if (threadIdx.x < count)
    p_counts[split * rows + first_row + threadIdx.x] = targets->count[threadIdx.x];
}

constexpr int kOneRow = 8;  // the narrowest tile; one of its rows exists

template <class T>
__global__ void __launch_bounds__(kScoreThreads, 2)
    excluded_kernel(Catalogue<T> catalogue, const T* hidden, const int64_t* p_targets,
                    const int64_t* exclude, const int32_t* offsets, int64_t* ranks) {
  unsigned char* shared = shared_memory<unsigned char>();
  auto* targets = reinterpret_cast<Targets*>(shared + scores_bytes<T, kOneRow>(catalogue.d));
  const int64_t row = blockIdx.x, begin = offsets[row], size = offsets[row + 1] - begin,
                target = p_targets[row];
  if (size == 0) return;
  const int64_t* list = exclude + begin;
  load_rows<T, kOneRow>(hidden + row * catalogue.d, 1, catalogue.d, catalogue.aligned, shared);
  score_targets<T, kOneRow>(catalogue, 1, [&](int64_t) { return target; }, shared, targets);

  using OfRow = Tile<T, kOneRow>;
  int counts[OfRow::kRowsOfThread] = {};
  for_scores<T, kOneRow>(
      catalogue, size, [&](int64_t place) { return list[place]; }, shared,
      [&](const OfRow& tile, int64_t first) {
        tile.for_each([&](int slot, int item, float z) {
          const int64_t place = first + item;
          if (tile.row(slot) != 0 || place >= size) return;
          const bool repeated = place > 0 && list[place] == list[place - 1];
          counts[slot] += !repeated && list[place] != target &&
                          catalogue.biased(z, list[place]) >= targets->z[0];
        });
      });
  add_counts<OfRow>(counts, targets);
  if (threadIdx.x == 0) ranks[row] -= targets->count[0];
}

}  // namespace

void count_not_below(const ScoredItems& in, const int64_t* targets, int64_t* counts,
                     Stream stream) {
  for_elements(in, [&](auto catalogue, const auto* hidden) {
    using T = typename decltype(catalogue)::Element;
    launch("rank", count_kernel<T>, blocks_of(in.rows, kRows) * in.splits, kScoreThreads,
           scores_bytes<T, kRows>(in.d) + sizeof(Targets), stream, catalogue, hidden, targets,
           counts, in.rows, in.num_items, in.splits, items_of_split(in));
  });
}

void subtract_excluded(const ScoredItems& in, const int64_t* targets, const int64_t* exclude,
                       const int32_t* offsets, int64_t* ranks, Stream stream) {
  for_elements(in, [&](auto catalogue, const auto* hidden) {
    using T = typename decltype(catalogue)::Element;
    launch("rank_excluded", excluded_kernel<T>, in.rows, kScoreThreads,
           scores_bytes<T, kOneRow>(in.d) + sizeof(Targets), stream, catalogue, hidden, targets,
           exclude, offsets, ranks);
  });
}

}  // namespace b4r::cuda
