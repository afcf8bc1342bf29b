// The k best items of each row by z_ij = h_i . C_j + b_j, best first, ties by the lower item:
// docs/topk.md.
//
// hidden (N, d), items (V, d). A score and its item are one integer, a key: the score's bits in an
// order of integers above the item's complement, so that the larger is the better and no two are
// equal. However keys meet, the k best are the same.
//
//   best    a block takes ROWS rows and a split of the items. It leaves a tile's scores in shared
//           memory; then each warp lets in, for its rows, what is better than the worst that it
//           keeps and is not excluded. It keeps a sorted list of the best and, beside it, a buffer
//           of what came since; a full buffer is sorted and merged into the list. Some k ln(V / k)
//           get in
//   merge   a block for a row does the same with the splits' lists
//
// 2 N V d operations; C is read once for every ROWS rows. 8 k bytes are written for a row and
// split: nothing grows with N V.
#include "cuda/launch.cuh"
#include "cuda/scores.cuh"
#include "cuda/search.cuh"
#include "cuda/topk.h"

namespace b4r::cuda {
namespace {

constexpr int64_t kNothing = INT64_MIN;  // below the keys of all items
constexpr int kMostBuffered = 256;

__device__ __forceinline__ int64_t key_of(float z, int64_t item) {
  if (z == -INFINITY) return kNothing;
  const int32_t bits = __float_as_int(z + 0.0f);  // -0 is 0
  const int32_t ordered = bits < 0 ? bits ^ INT32_MAX : bits;
  return static_cast<int64_t>(ordered) * (int64_t{1} << 32) + (0xFFFFFFFF - item);
}
__device__ __forceinline__ float score_of(int64_t key) {
  const int32_t ordered = static_cast<int32_t>(key >> 32);
  return __int_as_float(ordered < 0 ? ordered ^ INT32_MAX : ordered);
}
__device__ __forceinline__ int64_t item_of(int64_t key) { return 0xFFFFFFFF - (key & 0xFFFFFFFF); }

// The sizes of the list and of the buffer: powers of two.
struct Sizes {
  int k, kept, buffered;

  __host__ __device__ int keys() const { return kept + buffered; }
};

Sizes sizes_of(int64_t k) {
  int kept = 32;
  while (kept < k) kept *= 2;
  return {static_cast<int>(k), kept, kept < kMostBuffered ? kept : kMostBuffered};
}

// Of the pairs `stride` apart, the larger goes to the front, or to the back where the pair is to
// ascend.
template <class Ascends>
__device__ __forceinline__ void order_pairs(int64_t* keys, int count, int stride,
                                            const Ascends& ascends) {
  for (int i = threadIdx.x % 32; i < count / 2; i += 32) {
    const int first = i / stride * 2 * stride + i % stride, second = first + stride;
    const int64_t a = keys[first], b = keys[second];
    if (ascends(first) ? a > b : a < b) keys[first] = b, keys[second] = a;
  }
  __syncwarp();
}

// The best keys that a warp has met for a row: in shared memory a list, which descends, and behind
// it a buffer of those that came since. The threads of the warp call all functions together, and
// `waiting` and `worst` are the same in all of them.
struct Best {
  int64_t* list;
  int waiting;    // in the buffer
  int64_t worst;  // of the k best in the list: what is not better stays out

  __device__ __forceinline__ void begin(int64_t* keys, const Sizes& sizes) {
    list = keys, waiting = 0, worst = kNothing;
    for (int i = threadIdx.x % 32; i < sizes.kept; i += 32) list[i] = kNothing;
    __syncwarp();
  }

  // A key of each lane, where it enters.
  __device__ __forceinline__ void add(bool enters, int64_t key, const Sizes& sizes) {
    const uint32_t entering = __ballot_sync(kWarp, enters);
    if (entering == 0) return;
    if (waiting + __popc(entering) > sizes.buffered) merge(sizes);
    if (enters)
      list[sizes.kept + waiting + __popc(entering & ((1u << threadIdx.x % 32) - 1))] = key;
    waiting += __popc(entering);
  }

  // The buffer into the list.
  __device__ void merge(const Sizes& sizes) {
    int64_t* buffer = list + sizes.kept;
    for (int i = waiting + threadIdx.x % 32; i < sizes.buffered; i += 32) buffer[i] = kNothing;
    __syncwarp();
    // Bitonic sort (Batcher 1968), ascending.
    for (int size = 2; size <= sizes.buffered; size *= 2)
      for (int stride = size / 2; stride > 0; stride /= 2)
        order_pairs(buffer, sizes.buffered, stride, [&](int first) { return (first & size) == 0; });
    // Beside the list's end, which descends: the better of every pair are the best of both, and the
    // whole is bitonic again.
    int64_t* end = buffer - sizes.buffered;
    for (int i = threadIdx.x % 32; i < sizes.buffered; i += 32) end[i] = max(end[i], buffer[i]);
    __syncwarp();
    for (int stride = sizes.kept / 2; stride > 0; stride /= 2)
      order_pairs(list, sizes.kept, stride, [](int) { return false; });
    waiting = 0;
    worst = list[sizes.k - 1];
  }

  // All of a list of k keys that descends.
  __device__ __forceinline__ void add_list(const int64_t* keys, const Sizes& sizes) {
    for (int i = threadIdx.x % 32; i < blocks_of(sizes.k, 32) * 32; i += 32) {
      const int64_t key = i < sizes.k ? keys[i] : kNothing;
      if (__ballot_sync(kWarp, key > worst) == 0) return;
      add(key > worst, key, sizes);
    }
  }
};

// Whether a sorted list has an item.
__device__ __forceinline__ bool has(const int64_t* list, int64_t size, int64_t item) {
  const int64_t at = first_where(0, size, [=](int64_t i) { return list[i] >= item; });
  return at < size && list[at] == item;
}

constexpr int kScoreStride =
    kItems + 4;  // of a row's scores, so that the lanes of a store meet in no bank

template <class T, int ROWS>
constexpr size_t shared_bytes(int64_t d, const Sizes& sizes) {
  return scores_bytes<T, ROWS>(d) +
         ROWS * (sizes.keys() * sizeof(int64_t) + kScoreStride * sizeof(float));
}

template <class T, int ROWS>
__global__ void __launch_bounds__(kScoreThreads, 2)
    best_kernel(Catalogue<T> catalogue, const T* hidden, const int64_t* exclude,
                const int32_t* offsets, int64_t* p_best, int64_t rows, int64_t num_items,
                int64_t splits, int64_t items_of_split, Sizes sizes) {
  constexpr int kRowsOfWarp = ROWS / kScoreWarps;
  unsigned char* shared = shared_memory<unsigned char>();
  auto* keys = reinterpret_cast<int64_t*>(shared + scores_bytes<T, ROWS>(catalogue.d));
  auto* scores = reinterpret_cast<float*>(keys + ROWS * sizes.keys());
  const int64_t split = blockIdx.x % splits, first_row = blockIdx.x / splits * ROWS;
  const int count = static_cast<int>(min(int64_t{ROWS}, rows - first_row)), warp = threadIdx.x / 32,
            lane = threadIdx.x % 32;
  load_rows<T, ROWS>(hidden + first_row * catalogue.d, count, catalogue.d, catalogue.aligned,
                     shared);

  // Row u of a warp is row u kScoreWarps + warp of the block.
  Best best[kRowsOfWarp];
#pragma unroll
  for (int u = 0; u < kRowsOfWarp; ++u)
    best[u].begin(keys + (u * kScoreWarps + warp) * sizes.keys(), sizes);

  const int64_t begin = split * items_of_split, end = min(begin + items_of_split, num_items);
  for_scores<T, ROWS>(
      catalogue, end - begin, [&](int64_t item) { return begin + item; }, shared,
      [&](const Tile<T, ROWS>& tile, int64_t first) {
        tile.for_each(
            [&](int slot, int item, float z) { scores[tile.row(slot) * kScoreStride + item] = z; });
        __syncthreads();
#pragma unroll
        for (int u = 0; u < kRowsOfWarp; ++u) {
          const int row = u * kScoreWarps + warp;
          if (row >= count) continue;
          for (int place = lane; place < kItems; place += 32) {
            const int64_t item = begin + first + place;
            const int64_t key =
                item < end
                    ? key_of(catalogue.biased(scores[row * kScoreStride + place], item), item)
                    : kNothing;
            bool enters = key > best[u].worst;
            if (enters && exclude != nullptr) {
              const int64_t from = offsets[first_row + row];
              enters = !has(exclude + from, offsets[first_row + row + 1] - from, item);
            }
            best[u].add(enters, key, sizes);
          }
        }
      });
#pragma unroll
  for (int u = 0; u < kRowsOfWarp; ++u) {
    const int row = u * kScoreWarps + warp;
    if (row >= count) continue;
    best[u].merge(sizes);
    int64_t* to = p_best + ((first_row + row) * splits + split) * sizes.k;
    for (int i = lane; i < sizes.k; i += 32) to[i] = best[u].list[i];
  }
}

template <class T>
__global__ void __launch_bounds__(kScoreThreads, 2)
    merge_kernel(const int64_t* p_best, int64_t splits, Sizes sizes, T* scores,
                 int64_t* item_rows) {
  int64_t* keys = shared_memory<int64_t>();
  const int64_t row = blockIdx.x;
  const int warp = threadIdx.x / 32;
  Best best;
  best.begin(keys + warp * sizes.keys(), sizes);
  for (int64_t split = warp; split < splits; split += kScoreWarps)
    best.add_list(p_best + (row * splits + split) * sizes.k, sizes);
  best.merge(sizes);
  __syncthreads();
  if (warp > 0) return;
  for (int other = 1; other < kScoreWarps; ++other)
    best.add_list(keys + other * sizes.keys(), sizes);
  best.merge(sizes);
  for (int i = threadIdx.x; i < sizes.k; i += 32) {
    const int64_t key = best.list[i];
    scores[row * sizes.k + i] = from_float<T>(key == kNothing ? -INFINITY : score_of(key));
    item_rows[row * sizes.k + i] = key == kNothing ? -1 : item_of(key);
  }
}

constexpr int kManyRows = 32, kFewRows = 8;
constexpr int64_t kMostKeptOfMany = 64;  // more would leave room for one block on a multiprocessor

}  // namespace

int64_t rows_of_block(int64_t rows, int64_t k) {
  return rows > kFewRows && k <= kMostKeptOfMany ? kManyRows : kFewRows;
}

void topk(const ScoredItems& in, int64_t k, const int64_t* exclude, const int32_t* offsets,
          int64_t* best, void* scores, int64_t* item_rows, Stream stream) {
  const Sizes sizes = sizes_of(k);
  for_elements(in, [&](auto catalogue, const auto* hidden) {
    using T = typename decltype(catalogue)::Element;
    const auto run = [&](auto rows) {
      constexpr int kRows = decltype(rows)::value;
      launch("topk", best_kernel<T, kRows>, blocks_of(in.rows, kRows) * in.splits, kScoreThreads,
             shared_bytes<T, kRows>(in.d, sizes), stream, catalogue, hidden, exclude, offsets, best,
             in.rows, in.num_items, in.splits, items_of_split(in), sizes);
    };
    if (rows_of_block(in.rows, k) == kManyRows)
      run(std::integral_constant<int, kManyRows>{});
    else
      run(std::integral_constant<int, kFewRows>{});
    launch("topk_merge", merge_kernel<T>, in.rows, kScoreThreads,
           kScoreWarps * sizes.keys() * sizeof(int64_t), stream, best, in.splits, sizes,
           static_cast<T*>(scores), item_rows);
  });
}

}  // namespace b4r::cuda
