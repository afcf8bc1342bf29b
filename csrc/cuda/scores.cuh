// Scores of items for rows, z_ij = h_i . C_j, in tiles of kItems items by ROWS rows that no memory
// but registers holds.
//
// A block has its rows of hidden in shared memory, and walks over items: kDepth columns of kItems
// rows at a time come by asynchronous copies, the next ones while these are used. Halves are
// multiplied in tensor cores, fp32 by fused multiply-adds in the order of the columns (ieee). A
// score depends on its row of hidden and of the item alone, not on where they stand in a tile: so
// equal items have equal scores, whatever walks over them. One that is not a number is -inf.
#pragma once

#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/scores.h"

namespace b4r::cuda {

constexpr int kScoreWarps = 8, kScoreThreads = kScoreWarps * 32;
constexpr int kStageBytes = 128;  // of each item: kDepth columns
constexpr int kRowBytes =
    kStageBytes +
    16;  // rows lie apart, so that neither loads of matrices nor of 16 bytes meet in a bank

// items: (V, d), bias: (V,) or null.
template <class T>
struct Catalogue {
  using Element = T;
  const T *items, *bias;
  int64_t d;
  bool aligned;  // every row to 16 bytes

  __device__ __forceinline__ float biased(float z, int64_t item) const {
    return fmaxf(bias == nullptr ? z : z + to_float(bias[item]), -INFINITY);
  }
};

template <class T>
constexpr int kDepth = kStageBytes / static_cast<int>(sizeof(T));

// Bytes from one row of hidden in shared memory to the next.
template <class T>
__host__ __device__ constexpr int64_t row_bytes(int64_t d) {
  return (d + kDepth<T> - 1) / kDepth<T> * kStageBytes + 16;
}

// The shared memory of for_scores.
template <class T, int ROWS>
__host__ __device__ constexpr size_t scores_bytes(int64_t d) {
  return 2 * kItems * kRowBytes + ROWS * row_bytes<T>(d);
}

// Up to 16 bytes of a row, zeros behind its end, into shared memory.
template <class T>
__device__ __forceinline__ void copy_piece(void* to, const T* row, int64_t column, int64_t d,
                                           bool exists, bool aligned) {
  constexpr int kNumbers = 16 / sizeof(T);
  exists = exists && column < d;
  if (aligned) return copy_async(to, exists ? row + column : row, exists);
  Elements<T, kNumbers> piece;
#pragma unroll
  for (int i = 0; i < kNumbers; ++i)
    piece.x[i] = exists && column + i < d ? row[column + i] : from_float<T>(0.0f);
  *static_cast<Elements<T, kNumbers>*>(to) = piece;
}

// What a thread has of a tile's scores. kRowsOfThread: of how many rows.
template <class T, int ROWS>
struct Tile {
  // Warp w has items 16 w to 16 w + 15, of all rows, 8 of them at a time.
  static constexpr int kRowsOfThread = ROWS / 4;
  float z[ROWS / 8][4];

  __device__ __forceinline__ void set_zero() {
#pragma unroll
    for (auto& eight : z)
#pragma unroll
      for (float& value : eight) value = 0.0f;
  }

  // stage: items' rows of kRowBytes. rows: those of hidden, `stride` bytes apart, from the stage's
  // first column on.
  __device__ __forceinline__ void multiply(const unsigned char* stage, const unsigned char* rows,
                                           int64_t stride) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < kStageBytes / 32; ++step) {
      uint32_t items[4];
      load_matrices(items,
                    stage + (warp * 16 + lane % 16) * kRowBytes + step * 32 + lane / 16 * 16);
#pragma unroll
      for (int q = 0; q < ROWS / 8; ++q) {
        uint32_t eight[2];
        load_matrices(eight, rows + (q * 8 + lane % 8) * stride + step * 32 + lane / 8 % 2 * 16);
        multiply_add(z[q], items, eight, T{});
      }
    }
  }

  static __device__ __forceinline__ int row(int slot) {
    return slot / 2 * 8 + threadIdx.x % 4 * 2 + slot % 2;
  }

  // use(slot, item of the tile, score): the slot's row is row(slot).
  template <class Use>
  __device__ __forceinline__ void for_each(const Use& use) const {
    const int item = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
    for (int q = 0; q < ROWS / 8; ++q)
#pragma unroll
      for (int i = 0; i < 4; ++i) use(q * 2 + i % 2, item + i / 2 * 8, z[q][i]);
  }

  // A count of each slot over the lanes that share its row.
  static __device__ __forceinline__ int sum_of_lanes(int count) {
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) count += __shfl_xor_sync(kWarp, count, offset);
    return count;
  }
  static __device__ __forceinline__ bool leads() { return threadIdx.x % 32 < 4; }
};

template <int ROWS>
struct Tile<float, ROWS> {
  // A thread has one item, of half of the rows.
  static constexpr int kRowsOfThread = ROWS / 2;
  float z[ROWS / 2];

  __device__ __forceinline__ void set_zero() {
#pragma unroll
    for (float& value : z) value = 0.0f;
  }

  __device__ __forceinline__ void multiply(const unsigned char* stage, const unsigned char* rows,
                                           int64_t stride) {
    const unsigned char *own = stage + threadIdx.x % kItems * kRowBytes,
                        *first = rows + row(0) * stride;
#pragma unroll 1
    for (int step = 0; step < kStageBytes / 16; ++step) {
      const float4 c = *reinterpret_cast<const float4*>(own + step * 16);
#pragma unroll
      for (int u = 0; u < ROWS / 2; ++u) {
        const float4 h = *reinterpret_cast<const float4*>(first + u * stride + step * 16);
        z[u] = fmaf(c.w, h.w, fmaf(c.z, h.z, fmaf(c.y, h.y, fmaf(c.x, h.x, z[u]))));
      }
    }
  }

  static __device__ __forceinline__ int row(int slot) {
    return threadIdx.x / kItems * (ROWS / 2) + slot;
  }

  template <class Use>
  __device__ __forceinline__ void for_each(const Use& use) const {
#pragma unroll
    for (int u = 0; u < ROWS / 2; ++u) use(u, threadIdx.x % kItems, z[u]);
  }

  static __device__ __forceinline__ int sum_of_lanes(int count) {
    return __reduce_add_sync(kWarp, count);
  }
  static __device__ __forceinline__ bool leads() { return threadIdx.x % 32 == 0; }
};

// The first `count` rows of hidden into shared memory, and zeros for the other rows; there after
// the first wait of for_scores.
template <class T, int ROWS>
__device__ __forceinline__ void load_rows(const T* hidden, int count, int64_t d, bool aligned,
                                          unsigned char* shared) {
  unsigned char* rows = shared + 2 * kItems * kRowBytes;
  constexpr int kNumbers = 16 / sizeof(T);
  const int pieces = static_cast<int>(row_bytes<T>(d) / 16 - 1);
  for (int i = threadIdx.x; i < ROWS * pieces; i += kScoreThreads) {
    const int row = i / pieces, piece = i % pieces;
    copy_piece(rows + row * row_bytes<T>(d) + piece * 16, hidden + row * d, piece * kNumbers, d,
               row < count, aligned);
  }
  commit_copies();
}

// use(tile, first) for the items item_of(first), item_of(first + 1), ..., kItems at a time; those
// from `count` on do not exist, and have scores of 0. All threads call it, and use, which may have
// barriers in it.
template <class T, int ROWS, class ItemOf, class Use>
__device__ __forceinline__ void for_scores(const Catalogue<T>& catalogue, int64_t count,
                                           const ItemOf& item_of, unsigned char* shared,
                                           const Use& use) {
  constexpr int kNumbers = 16 / sizeof(T), kPieces = kStageBytes / 16;
  const int64_t d = catalogue.d, stride = row_bytes<T>(d);
  const int parts = static_cast<int>((d + kDepth<T> - 1) / kDepth<T>);
  const int64_t stages = (count + kItems - 1) / kItems * parts;
  const auto copy = [&](int64_t stage) {
    unsigned char* to = shared + stage % 2 * (kItems * kRowBytes);
    const int64_t first = stage / parts * kItems, column = stage % parts * kDepth<T>;
#pragma unroll
    for (int i = threadIdx.x; i < kItems * kPieces; i += kScoreThreads) {
      const int item = i / kPieces, piece = i % kPieces;
      const bool exists = first + item < count;
      copy_piece(to + item * kRowBytes + piece * 16,
                 catalogue.items + (exists ? item_of(first + item) : 0) * d,
                 column + piece * kNumbers, d, exists, catalogue.aligned);
    }
    commit_copies();
  };

  Tile<T, ROWS> tile;
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
    tile.multiply(shared + stage % 2 * (kItems * kRowBytes),
                  shared + 2 * kItems * kRowBytes + part * kStageBytes, stride);
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
    call(Catalogue<T>{static_cast<const T*>(in.items), static_cast<const T*>(in.bias), in.d,
                      in_vectors},
         static_cast<const T*>(in.hidden));
  });
}

}  // namespace b4r::cuda
