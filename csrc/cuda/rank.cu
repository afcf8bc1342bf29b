// rank_i = 1 + the number of items j, not the target and not excluded, with not z_ij < z_it, z_ij = h_i . C_j + b_j: docs/rank.md.
// The target is not below itself, so it counts itself, and is the 1.
//
// hidden (N, d), items (V, d). A block takes kUsers users and a split of the items: scores the targets, then walks over its items
// and counts in the registers that hold the scores. What is excluded is scored once more, a block a user, and taken off. 2 N V d
// operations; C is read once for every kUsers users, from L2 where it fits there. Counts are integers: their order does not matter.
#include "cuda/launch.cuh"
#include "cuda/rank.h"
#include "cuda/scores.cuh"

namespace b4r::cuda {
namespace {

constexpr int kUsers = kUsersOfRank;

// Behind what for_scores has in shared memory.
struct Targets {
  float z[kUsers];
  int count[kUsers];
};

// z of every user with the user's own target. Begins and ends with a barrier.
template <class T, int USERS, class TargetOf>
__device__ __forceinline__ void score_targets(const Catalogue<T>& catalogue, int users, const TargetOf& target_of,
                                              unsigned char* shared, Targets* targets) {
  if (threadIdx.x < kUsers) targets->z[threadIdx.x] = NAN, targets->count[threadIdx.x] = 0;
  __syncthreads();
  for_scores<T, USERS>(catalogue, users, target_of, shared, [&](const Tile<T, USERS>& tile, int64_t) {
    tile.for_each([&](int slot, int item, float z) {
      if (item == tile.user(slot) && item < users) targets->z[item] = catalogue.biased(z, target_of(item));
    });
  });
  __syncthreads();
}

// The counts of this thread's slots, added to those of their users.
template <class Tile>
__device__ __forceinline__ void add_counts(const int (&counts)[Tile::kUsersOfThread], Targets* targets) {
#pragma unroll
  for (int slot = 0; slot < Tile::kUsersOfThread; ++slot) {
    const int sum = Tile::sum_of_lanes(counts[slot]);
    if (Tile::leads()) atomicAdd(&targets->count[Tile::user(slot)], sum);
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kScoreThreads, 2)
    count_kernel(Catalogue<T> catalogue, const T* hidden, const int64_t* p_targets, int64_t* p_counts, int64_t users,
                 int64_t num_items, int64_t splits, int64_t items_of_split) {
  unsigned char* shared = shared_memory<unsigned char>();
  auto* targets = reinterpret_cast<Targets*>(shared + scores_bytes<T, kUsers>(catalogue.d));
  const int64_t split = blockIdx.x % splits, first_user = blockIdx.x / splits * kUsers;
  const int count = static_cast<int>(min(int64_t{kUsers}, users - first_user));
  const int64_t* own_targets = p_targets + first_user;
  load_users<T, kUsers>(hidden + first_user * catalogue.d, count, catalogue.d, catalogue.aligned, shared);
  score_targets<T, kUsers>(catalogue, count, [&](int64_t user) { return own_targets[user]; }, shared, targets);

  using OfUsers = Tile<T, kUsers>;
  int counts[OfUsers::kUsersOfThread] = {};
  const int64_t begin = split * items_of_split, end = min(begin + items_of_split, num_items);
  for_scores<T, kUsers>(
      catalogue, end - begin, [&](int64_t item) { return begin + item; }, shared,
      [&](const OfUsers& tile, int64_t first) {
        tile.for_each([&](int slot, int place, float z) {
          const int64_t item = begin + first + place;
          if (item < end) counts[slot] += !(catalogue.biased(z, item) < targets->z[tile.user(slot)]);
        });
      });
  add_counts<OfUsers>(counts, targets);
  if (threadIdx.x < count) p_counts[split * users + first_user + threadIdx.x] = targets->count[threadIdx.x];
}

constexpr int kOneUser = 8;  // the narrowest tile; one of its users exists

template <class T>
__global__ void __launch_bounds__(kScoreThreads, 2)
    excluded_kernel(Catalogue<T> catalogue, const T* hidden, const int64_t* p_targets, const int64_t* exclude,
                    const int32_t* offsets, int64_t* ranks) {
  unsigned char* shared = shared_memory<unsigned char>();
  auto* targets = reinterpret_cast<Targets*>(shared + scores_bytes<T, kOneUser>(catalogue.d));
  const int64_t user = blockIdx.x, begin = offsets[user], size = offsets[user + 1] - begin, target = p_targets[user];
  if (size == 0) return;
  const int64_t* list = exclude + begin;
  load_users<T, kOneUser>(hidden + user * catalogue.d, 1, catalogue.d, catalogue.aligned, shared);
  score_targets<T, kOneUser>(catalogue, 1, [&](int64_t) { return target; }, shared, targets);

  using OfUser = Tile<T, kOneUser>;
  int counts[OfUser::kUsersOfThread] = {};
  for_scores<T, kOneUser>(
      catalogue, size, [&](int64_t place) { return list[place]; }, shared,
      [&](const OfUser& tile, int64_t first) {
        tile.for_each([&](int slot, int item, float z) {
          const int64_t place = first + item;
          if (tile.user(slot) != 0 || place >= size) return;
          const bool repeated = place > 0 && list[place] == list[place - 1];
          counts[slot] += !repeated && list[place] != target && !(catalogue.biased(z, list[place]) < targets->z[0]);
        });
      });
  add_counts<OfUser>(counts, targets);
  if (threadIdx.x == 0) ranks[user] -= targets->count[0];
}

}  // namespace

void count_not_below(const ScoredItems& in, const int64_t* targets, int64_t* counts, Stream stream) {
  for_elements(in, [&](auto catalogue, const auto* hidden) {
    using T = typename decltype(catalogue)::Element;
    launch("rank", count_kernel<T>, blocks_of(in.users, kUsers) * in.splits, kScoreThreads,
           scores_bytes<T, kUsers>(in.d) + sizeof(Targets), stream, catalogue, hidden, targets, counts, in.users, in.num_items,
           in.splits, items_of_split(in));
  });
}

void subtract_excluded(const ScoredItems& in, const int64_t* targets, const int64_t* exclude, const int32_t* offsets,
                       int64_t* ranks, Stream stream) {
  for_elements(in, [&](auto catalogue, const auto* hidden) {
    using T = typename decltype(catalogue)::Element;
    launch("rank_excluded", excluded_kernel<T>, in.users, kScoreThreads, scores_bytes<T, kOneUser>(in.d) + sizeof(Targets), stream,
           catalogue, hidden, targets, exclude, offsets, ranks);
  });
}

}  // namespace b4r::cuda
