// Scores of items for users, z_ij = h_i . C_j, in tiles of kItems items by USERS users that no memory but registers holds.
//
// A block has its users' rows in shared memory, and walks over items: kDepth columns of kItems rows at a time come by asynchronous
// copies, the next ones while these are used. Halves are multiplied in tensor cores, fp32 by fused multiply-adds in the order of
// the columns (ieee). A score depends on its user's and its item's row alone, not on where they stand in a tile: so equal items
// have equal scores, whatever walks over them.
#pragma once

#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/scores.h"

namespace b4r::cuda {

constexpr int kScoreWarps = 8, kScoreThreads = kScoreWarps * 32;
constexpr int kStageBytes = 128;             // of each item: kDepth columns
constexpr int kRowBytes = kStageBytes + 16;  // rows lie apart, so that neither loads of matrices nor of 16 bytes meet in a bank

// items: (V, d), bias: (V,) or null.
template <class T>
struct Catalogue {
  using Element = T;
  const T *items, *bias;
  int64_t d;
  bool aligned;  // every row to 16 bytes

  __device__ __forceinline__ float biased(float z, int64_t item) const { return bias == nullptr ? z : z + to_float(bias[item]); }
};

template <class T>
constexpr int kDepth = kStageBytes / static_cast<int>(sizeof(T));

// Bytes from one user's row in shared memory to the next's.
template <class T>
__host__ __device__ constexpr int64_t user_bytes(int64_t d) {
  return (d + kDepth<T> - 1) / kDepth<T> * kStageBytes + 16;
}

// The shared memory of for_scores.
template <class T, int USERS>
__host__ __device__ constexpr size_t scores_bytes(int64_t d) {
  return 2 * kItems * kRowBytes + USERS * user_bytes<T>(d);
}

// Up to 16 bytes of a row, zeros behind its end, into shared memory.
template <class T>
__device__ __forceinline__ void copy_piece(void* to, const T* row, int64_t column, int64_t d, bool exists, bool aligned) {
  constexpr int kNumbers = 16 / sizeof(T);
  exists = exists && column < d;
  if (aligned) return copy_async(to, exists ? row + column : row, exists);
  Elements<T, kNumbers> piece;
#pragma unroll
  for (int i = 0; i < kNumbers; ++i) piece.x[i] = exists && column + i < d ? row[column + i] : from_float<T>(0.0f);
  *static_cast<Elements<T, kNumbers>*>(to) = piece;
}

// What a thread has of a tile's scores. kUsersOfThread: of how many users.
template <class T, int USERS>
struct Tile {
  // Warp w has items 16 w to 16 w + 15, of all users, 8 of them at a time.
  static constexpr int kUsersOfThread = USERS / 4;
  float z[USERS / 8][4];

  __device__ __forceinline__ void set_zero() {
#pragma unroll
    for (auto& eight : z)
#pragma unroll
      for (float& value : eight) value = 0.0f;
  }

  // stage: rows of kRowBytes. users: rows of `stride` bytes, from the stage's first column on.
  __device__ __forceinline__ void multiply(const unsigned char* stage, const unsigned char* users, int64_t stride) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < kStageBytes / 32; ++step) {
      uint32_t items[4];
      load_matrices(items, stage + (warp * 16 + lane % 16) * kRowBytes + step * 32 + lane / 16 * 16);
#pragma unroll
      for (int q = 0; q < USERS / 8; ++q) {
        uint32_t eight[2];
        load_matrices(eight, users + (q * 8 + lane % 8) * stride + step * 32 + lane / 8 % 2 * 16);
        multiply_add(z[q], items, eight, T{});
      }
    }
  }

  static __device__ __forceinline__ int user(int slot) { return slot / 2 * 8 + threadIdx.x % 4 * 2 + slot % 2; }

  // use(slot, item of the tile, score): the slot's user is user(slot).
  template <class Use>
  __device__ __forceinline__ void for_each(const Use& use) const {
    const int item = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
    for (int q = 0; q < USERS / 8; ++q)
#pragma unroll
      for (int i = 0; i < 4; ++i) use(q * 2 + i % 2, item + i / 2 * 8, z[q][i]);
  }

  // A count of each slot over the lanes that share its user.
  static __device__ __forceinline__ int sum_of_lanes(int count) {
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) count += __shfl_xor_sync(kWarp, count, offset);
    return count;
  }
  static __device__ __forceinline__ bool leads() { return threadIdx.x % 32 < 4; }
};

template <int USERS>
struct Tile<float, USERS> {
  // A thread has one item, of half of the users.
  static constexpr int kUsersOfThread = USERS / 2;
  float z[USERS / 2];

  __device__ __forceinline__ void set_zero() {
#pragma unroll
    for (float& value : z) value = 0.0f;
  }

  __device__ __forceinline__ void multiply(const unsigned char* stage, const unsigned char* users, int64_t stride) {
    const unsigned char *own = stage + threadIdx.x % kItems * kRowBytes, *first = users + user(0) * stride;
#pragma unroll 1
    for (int step = 0; step < kStageBytes / 16; ++step) {
      const float4 c = *reinterpret_cast<const float4*>(own + step * 16);
#pragma unroll
      for (int u = 0; u < USERS / 2; ++u) {
        const float4 h = *reinterpret_cast<const float4*>(first + u * stride + step * 16);
        z[u] = fmaf(c.w, h.w, fmaf(c.z, h.z, fmaf(c.y, h.y, fmaf(c.x, h.x, z[u]))));
      }
    }
  }

  static __device__ __forceinline__ int user(int slot) { return threadIdx.x / kItems * (USERS / 2) + slot; }

  template <class Use>
  __device__ __forceinline__ void for_each(const Use& use) const {
#pragma unroll
    for (int u = 0; u < USERS / 2; ++u) use(u, threadIdx.x % kItems, z[u]);
  }

  static __device__ __forceinline__ int sum_of_lanes(int count) { return __reduce_add_sync(kWarp, count); }
  static __device__ __forceinline__ bool leads() { return threadIdx.x % 32 == 0; }
};

// The first `count` rows of hidden into shared memory, and zeros for the other users; there after the first wait of for_scores.
template <class T, int USERS>
__device__ __forceinline__ void load_users(const T* hidden, int count, int64_t d, bool aligned, unsigned char* shared) {
  unsigned char* users = shared + 2 * kItems * kRowBytes;
  constexpr int kNumbers = 16 / sizeof(T);
  const int pieces = static_cast<int>(user_bytes<T>(d) / 16 - 1);
  for (int i = threadIdx.x; i < USERS * pieces; i += kScoreThreads) {
    const int user = i / pieces, piece = i % pieces;
    copy_piece(users + user * user_bytes<T>(d) + piece * 16, hidden + user * d, piece * kNumbers, d, user < count, aligned);
  }
  commit_copies();
}

// use(tile, first) for the items item_of(first), item_of(first + 1), ..., kItems at a time; those from `count` on do not exist, and
// have scores of 0. All threads call it, and use, which may have barriers in it.
template <class T, int USERS, class ItemOf, class Use>
__device__ __forceinline__ void for_scores(const Catalogue<T>& catalogue, int64_t count, const ItemOf& item_of,
                                           unsigned char* shared, const Use& use) {
  constexpr int kNumbers = 16 / sizeof(T), kPieces = kStageBytes / 16;
  const int64_t d = catalogue.d, stride = user_bytes<T>(d);
  const int parts = static_cast<int>((d + kDepth<T> - 1) / kDepth<T>);
  const int64_t stages = (count + kItems - 1) / kItems * parts;
  const auto copy = [&](int64_t stage) {
    unsigned char* to = shared + stage % 2 * (kItems * kRowBytes);
    const int64_t first = stage / parts * kItems, column = stage % parts * kDepth<T>;
#pragma unroll
    for (int i = threadIdx.x; i < kItems * kPieces; i += kScoreThreads) {
      const int item = i / kPieces, piece = i % kPieces;
      const bool exists = first + item < count;
      copy_piece(to + item * kRowBytes + piece * 16, catalogue.items + (exists ? item_of(first + item) : 0) * d,
                 column + piece * kNumbers, d, exists, catalogue.aligned);
    }
    commit_copies();
  };

  Tile<T, USERS> tile;
  if (stages > 0) copy(0);
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int part = static_cast<int>(stage % parts);
    if (stage + 1 < stages) {
      copy(stage + 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    if (part == 0) tile.set_zero();
    tile.multiply(shared + stage % 2 * (kItems * kRowBytes), shared + 2 * kItems * kRowBytes + part * kStageBytes, stride);
    if (part == parts - 1) use(tile, stage / parts * kItems);
    __syncthreads();  // or a fast warp's next copy overwrites what a slow one still reads
  }
  wait_for_copies<0>();
}

inline int64_t items_of_split(const ScoredItems& in) {
  return (in.num_items + in.splits * kItems - 1) / (in.splits * kItems) * kItems;
}

// call(catalogue, hidden) with the elements' type.
template <class Call>
void for_elements(const ScoredItems& in, const Call& call) {
  for_dtype(in.dtype, [&](auto element) {
    using T = decltype(element);
    const bool in_vectors = in.d * sizeof(T) % 16 == 0 && aligned(in.items) && aligned(in.hidden);
    call(Catalogue<T>{static_cast<const T*>(in.items), static_cast<const T*>(in.bias), in.d, in_vectors},
         static_cast<const T*>(in.hidden));
  });
}

}  // namespace b4r::cuda
