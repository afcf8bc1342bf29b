// The softmax loss over a target t and K negatives n_k of each row's own: z_k = h . C_(n_k) +
// b_(n_k) - log q_k, z_t = h . C_t + b_t. With m, s and O the maximum, sum and weighted sum of rows
// of C, over the negatives that are not the target, x = log s + m - z_t and q = sigmoid(x): loss =
// softplus(x), dloss/dh = q (O / s - C_t), lse = x + z_t + softplus(-x). Backward, for row r of the
// table, over its entries: dC_r = sum dz h, db_r = sum dz, where dz = e^(z - lse) dloss for a
// negative, -q dloss for a target.
//
// hidden (N, d), items (V, d), negatives (N, K). A group of G lanes holds a row, 16 bytes a lane
// and piece. Accumulation is fp32.
//
//   forward    a block for a row of h. Each of its groups takes negatives, several at a time; the
//              rows that it has read serve for z and, e^z known, for O. K d numbers are read and 4
//              K d operations made: L2, or the memory beyond it, is the limit
//   backward   entries come sorted by the row that they add to. A warp takes 32 of them: of a run
//              of one row it reads C_r once, and for every entry h, out of which come z, dz and
//              what is added: no logit is stored. N K d numbers are read, 4 operations on each.
//              Runs that end in other warps leave partial sums
//   join       adds up the partial sums of every run that has some, in order: no atomics, the same
//              bits every time
#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/sampled_softmax_loss.h"
#include "cuda/search.cuh"

namespace b4r::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLowest =
    -1e30f;  // below all logits, and no infinity: its difference to itself is a number
constexpr int kWarps = 4, kThreads = kWarps * 32;
constexpr int kEntries = 32;  // of a warp in the backward, one a lane

// How the lanes of a group share a row: lane l has elements VECTOR l to VECTOR (l + 1) - 1 of each
// of PIECES pieces.
template <class T, int VECTOR, int LANES, int PIECES>
struct Row {
  static constexpr int kLanes = LANES, kNumbers = PIECES * VECTOR;
  using Element = T;
  using Piece = Elements<T, VECTOR>;

  static __device__ __forceinline__ int column(int piece) {
    return (piece * LANES + threadIdx.x % LANES) * VECTOR;
  }

  Piece pieces[PIECES];

  __device__ __forceinline__ void load(const T* row, int64_t d) {
#pragma unroll
    for (int p = 0; p < PIECES; ++p)
      pieces[p] = column(p) < d ? *reinterpret_cast<const Piece*>(row + column(p)) : Piece{};
  }

  __device__ __forceinline__ float operator[](int i) const {
    return to_float(pieces[i / VECTOR].x[i % VECTOR]);
  }

  // In every lane of the group.
  static __device__ __forceinline__ float dot(const Row& a, const float (&b)[kNumbers]) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) sum = fmaf(a[i], b[i], sum);
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2)
      sum += __shfl_xor_sync(kWarp, sum, offset);
    return sum;
  }

  __device__ __forceinline__ void to_floats(float (&x)[kNumbers]) const {
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) x[i] = (*this)[i];
  }

  // use(column, i) for the elements of this lane.
  template <class Use>
  static __device__ __forceinline__ void for_columns(int64_t d, const Use& use) {
#pragma unroll
    for (int i = 0; i < kNumbers; ++i)
      if (column(i / VECTOR) + i % VECTOR < d) use(column(i / VECTOR) + i % VECTOR, i);
  }
};

template <class T>
struct Sampled {
  const T *hidden, *items, *bias;
  const int64_t *targets, *negatives;
  const float* log_q;
  int64_t num_negatives, d;

  __device__ __forceinline__ float bias_of(int64_t item) const {
    return bias == nullptr ? 0.0f : to_float(bias[item]);
  }
  __device__ __forceinline__ float log_q_of(int64_t negative) const {
    return log_q == nullptr ? 0.0f : log_q[negative];
  }
};

// An entry of the backward: row n's negative k, entry n (K + 1) + k; or its target, where k = K.
template <class T>
struct Entry {
  int64_t row, negative;  // negative: n K + k
  bool is_target;

  __device__ __forceinline__ Entry(const Sampled<T>& in, int64_t entry) {
    const int64_t of_row = in.num_negatives + 1;
    // A division of 64 bits takes several times one of 32.
    row = (entry | of_row) >> 32 == 0 ? static_cast<uint32_t>(entry) / static_cast<uint32_t>(of_row)
                                      : entry / of_row;
    negative = entry - row;
    is_target = entry - row * of_row == in.num_negatives;
  }
};

// Maximum, sum and weighted sum of some negatives.
template <int NUMBERS>
struct Sums {
  float maximum = kLowest, total = 0.0f, acc[NUMBERS] = {};

  __device__ __forceinline__ void rescale(float new_maximum) {
    const float factor = exp2f((maximum - new_maximum) * kLog2E);
    total *= factor;
#pragma unroll
    for (int i = 0; i < NUMBERS; ++i) acc[i] *= factor;
    maximum = new_maximum;
  }

  template <class Value>
  __device__ __forceinline__ void add(float other_maximum, float other_total,
                                      const Value& other_acc) {
    rescale(fmaxf(maximum, other_maximum));
    const float factor = exp2f((other_maximum - maximum) * kLog2E);
    total = fmaf(other_total, factor, total);
#pragma unroll
    for (int i = 0; i < NUMBERS; ++i) acc[i] = fmaf(other_acc(i), factor, acc[i]);
  }
};

// At least one block: or ptxas spills to have more of them.
template <class Row>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(Sampled<typename Row::Element> in, float* p_loss,
                   typename Row::Element* p_dhidden, float* p_lse) {
  using T = typename Row::Element;
  constexpr int kLanes = Row::kLanes, kNumbers = Row::kNumbers, kGroups = kThreads / kLanes;
  constexpr int kAtATime = kNumbers <= 16 ? 4 : 2;  // negatives of a group that are under way
  const int64_t row = blockIdx.x, target = in.targets[row];
  T* dhidden = p_dhidden + row * in.d;
  if (target < 0) {
    if (threadIdx.x == 0) p_loss[row] = p_lse[row] = 0.0f;
    for (int64_t column = threadIdx.x; column < in.d; column += kThreads)
      dhidden[column] = from_float<T>(0.0f);
    return;
  }
  float h[kNumbers];
  Row loaded;
  loaded.load(in.hidden + row * in.d, in.d);
  loaded.to_floats(h);

  Sums<kNumbers> sums;
  const int group = threadIdx.x / kLanes;
  for (int64_t start = 0; start < in.num_negatives; start += kGroups * kAtATime) {
    Row c[kAtATime];
    float z[kAtATime];
    int64_t item[kAtATime];
#pragma unroll
    for (int u = 0; u < kAtATime; ++u) {
      const int64_t place = start + u * kGroups + group;
      item[u] = place < in.num_negatives ? in.negatives[row * in.num_negatives + place] : target;
      c[u].load(in.items + item[u] * in.d, in.d);
    }
#pragma unroll
    for (int u = 0; u < kAtATime; ++u) {
      const int64_t place = start + u * kGroups + group;
      z[u] = Row::dot(c[u], h);
      if (item[u] != target)
        z[u] = z[u] + in.bias_of(item[u]) - in.log_q_of(row * in.num_negatives + place);
      else
        z[u] = -INFINITY;
    }
    float maximum = sums.maximum;
#pragma unroll
    for (int u = 0; u < kAtATime; ++u) maximum = fmaxf(maximum, z[u]);
    sums.rescale(maximum);
#pragma unroll
    for (int u = 0; u < kAtATime; ++u) {
      const float e = exp2f((z[u] - maximum) * kLog2E);
      sums.total += e;
#pragma unroll
      for (int i = 0; i < kNumbers; ++i) sums.acc[i] = fmaf(e, c[u][i], sums.acc[i]);
    }
  }

  // The groups of a warp, then, through shared memory, the warps.
#pragma unroll
  for (int offset = kLanes; offset < 32; offset *= 2) {
    float others[kNumbers];
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) others[i] = __shfl_xor_sync(kWarp, sums.acc[i], offset);
    sums.add(__shfl_xor_sync(kWarp, sums.maximum, offset),
             __shfl_xor_sync(kWarp, sums.total, offset), [&](int i) { return others[i]; });
  }
  constexpr int kOfWarp = 2 + kNumbers * kLanes;
  float* shared = shared_memory<float>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % kLanes;
  if (threadIdx.x % 32 < kLanes) {
    float* own = shared + warp * kOfWarp;
    if (lane == 0) own[0] = sums.maximum, own[1] = sums.total;
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) own[2 + i * kLanes + lane] = sums.acc[i];
  }
  __syncthreads();
  if (warp > 0) return;
  for (int other = 1; other < kWarps; ++other) {
    const float* theirs = shared + other * kOfWarp;
    sums.add(theirs[0], theirs[1], [&](int i) { return theirs[2 + i * kLanes + lane]; });
  }

  loaded.load(in.items + target * in.d, in.d);
  const float z_target = Row::dot(loaded, h) + in.bias_of(target);
  const float others = sums.maximum + logf(sums.total), x = others - z_target,
              near = expf(-fabsf(x)), rest = log1pf(near);
  const float q = (x < 0.0f ? near : 1.0f) / (1.0f + near),
              share = sums.total == 0.0f ? 0.0f : 1.0f / sums.total;
  if (threadIdx.x >= kLanes) return;
  // A comparison, unlike fmaxf, keeps what is not a number.
  if (threadIdx.x == 0) {
    p_loss[row] = (x < 0.0f ? 0.0f : x) + rest;
    p_lse[row] = (x < 0.0f ? z_target : others) + rest;
  }
  Row::for_columns(in.d, [&](int column, int i) {
    dhidden[column] = from_float<T>(q * (sums.acc[i] * share - loaded[i]));
  });
}

// What entries add up to.
template <int NUMBERS>
struct Gradient {
  float rows[NUMBERS] = {}, bias = 0.0f;
};

struct Incoming {
  const float *dloss, *loss, *lse;
  const int64_t *ordered, *order;
  int64_t entries;
};

template <class Row>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Sampled<typename Row::Element> in, Incoming incoming,
                    typename Row::Element* ditems, typename Row::Element* dbias, float* partials) {
  using T = typename Row::Element;
  constexpr int kLanes = Row::kLanes, kNumbers = Row::kNumbers, kGroups = 32 / kLanes;
  const int64_t chunk = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32, begin = chunk * kEntries;
  if (begin >= incoming.entries) return;
  const int lane = threadIdx.x % 32, group = lane / kLanes,
            count = static_cast<int>(min(int64_t{kEntries}, incoming.entries - begin));
  const int64_t at = begin + min(lane, count - 1);
  const int64_t own_row = incoming.ordered[at], own_entry = incoming.order[at];
  const int64_t before = begin > 0 ? incoming.ordered[begin - 1] : -1;
  const int64_t behind = begin + count < incoming.entries ? incoming.ordered[begin + count] : -1;
  const int64_t previous = __shfl_up_sync(kWarp, own_row, 1);
  const uint32_t firsts = __ballot_sync(kWarp, lane < count && (lane == 0 || own_row != previous));

  for (int first = 0; first < count;) {
    const uint32_t later = first == 31 ? 0 : firsts >> (first + 1);
    const int last = later == 0 ? count : first + __ffs(later);
    const int64_t r = __shfl_sync(kWarp, own_row, first);
    if (r >= 0) {
      const Entry<T> any(
          in, __shfl_sync(kWarp, own_entry, first));  // of the run: each names the same item
      const int64_t item = any.is_target ? in.targets[any.row] : in.negatives[any.negative];
      float c[kNumbers];
      Row loaded;
      loaded.load(in.items + item * in.d, in.d);
      loaded.to_floats(c);
      const float bias = in.bias_of(item);
      Gradient<kNumbers> sum;
      for (int start = first; start < last; start += kGroups) {
        const Entry<T> entry(in, __shfl_sync(kWarp, own_entry, min(start + group, last - 1)));
        Row h;
        h.load(in.hidden + entry.row * in.d, in.d);
        const float z = Row::dot(h, c) + bias, dloss = incoming.dloss[entry.row];
        float dz = 0.0f;
        if (start + group < last) {
          if (entry.is_target)
            dz = expm1f(-incoming.loss[entry.row]) * dloss;
          else if (item != in.targets[entry.row])
            dz =
                exp2f((z - in.log_q_of(entry.negative) - incoming.lse[entry.row]) * kLog2E) * dloss;
        }
        sum.bias += dz;
#pragma unroll
        for (int i = 0; i < kNumbers; ++i) sum.rows[i] = fmaf(dz, h[i], sum.rows[i]);
      }
#pragma unroll
      for (int offset = kLanes; offset < 32; offset *= 2) {
        sum.bias += __shfl_xor_sync(kWarp, sum.bias, offset);
#pragma unroll
        for (int i = 0; i < kNumbers; ++i)
          sum.rows[i] += __shfl_xor_sync(kWarp, sum.rows[i], offset);
      }
      const bool began_before = first == 0 && before == r, goes_on = last == count && behind == r;
      if (lane < kLanes) {
        if (began_before || goes_on) {
          float* partial = partials + (2 * chunk + (began_before ? 0 : 1)) * (in.d + 1);
          Row::for_columns(in.d, [&](int column, int i) { partial[column] = sum.rows[i]; });
          if (lane == 0) partial[in.d] = sum.bias;
        } else {
          Row::for_columns(in.d, [&](int column, int i) {
            ditems[r * in.d + column] = from_float<T>(sum.rows[i]);
          });
          if (lane == 0 && dbias != nullptr) dbias[r] = from_float<T>(sum.bias);
        }
      }
    }
    first = last;
  }
}

// A block for a chunk of entries, which has work where a run begins in the chunk and goes on behind
// it. partials: of chunk c, the sum of the run that began before it stands at 2 c, that of the one
// that goes on behind it, if it begins there, at 2 c + 1.
template <class T>
__global__ void __launch_bounds__(kThreads)
    join_kernel(const int64_t* ordered, int64_t entries, int64_t d, const float* partials,
                T* ditems, T* dbias) {
  const int64_t chunk = blockIdx.x, begin = chunk * kEntries, end = begin + kEntries;
  if (end >= entries) return;
  const int64_t r = ordered[end - 1];
  if (r < 0 || ordered[end] != r || (begin > 0 && ordered[begin - 1] == r)) return;
  // The chunks that the run goes on into: each begins with it.
  const int64_t behind = first_where(chunk + 1, blocks_of(entries, kEntries),
                                     [=](int64_t c) { return ordered[c * kEntries] != r; });
  // Each warp adds up a part of them, one after the other.
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t chunks = behind - (chunk + 1), part = blocks_of(chunks, kWarps);
  const int64_t first = chunk + 1 + warp * part, last = min(behind, first + part);
  float* shared = shared_memory<float>();
  for (int64_t column = lane; column <= d; column += 32) {
    float sum = 0.0f;
#pragma unroll 4
    for (int64_t other = first; other < last; ++other)
      sum += partials[2 * other * (d + 1) + column];
    shared[warp * (d + 1) + column] = sum;
  }
  __syncthreads();
  for (int64_t column = threadIdx.x; column <= d; column += kThreads) {
    float sum = partials[(2 * chunk + 1) * (d + 1) + column];
    for (int other = 0; other < kWarps; ++other) sum += shared[other * (d + 1) + column];
    if (column < d)
      ditems[r * d + column] = from_float<T>(sum);
    else if (dbias != nullptr)
      dbias[r] = from_float<T>(sum);
  }
}

template <class T>
Sampled<T> sampled(const SampledRows& in) {
  return {static_cast<const T*>(in.hidden),
          static_cast<const T*>(in.items),
          static_cast<const T*>(in.bias),
          in.targets,
          in.negatives,
          in.log_q,
          in.num_negatives,
          in.d};
}

template <class T>
constexpr int kVector = 16 / sizeof(T);

// call(Row{}) for the narrowest row of at least d columns: in vectors where every row is aligned to
// 16 bytes.
template <class Call>
void for_row(const SampledRows& in, const Call& call) {
  for_dtype(in.dtype, [&](auto element) {
    using T = decltype(element);
    constexpr int V = kVector<T>;
    if (in.d % V != 0 || !aligned(in.hidden) || !aligned(in.items)) {
      if (in.d <= 128) return call(Row<T, 1, 32, 4>{});
      return call(Row<T, 1, 32, 16>{});
    }
    if (in.d <= 8 * V) return call(Row<T, V, 8, 1>{});
    if (in.d <= 16 * V) return call(Row<T, V, 16, 1>{});
    if (in.d <= 32 * V) return call(Row<T, V, 32, 1>{});
    if (in.d <= 64 * V) return call(Row<T, V, 32, 2>{});
    return call(Row<T, V, 32, 4>{});
  });
}

}  // namespace

int64_t most_columns(Dtype dtype, bool in_vectors) {
  return in_vectors && dtype != Dtype::fp32 ? 1024 : 512;
}

void sampled_softmax_loss(const SampledRows& in, float* loss, void* dhidden, float* lse,
                          Stream stream) {
  for_row(in, [&](auto row) {
    using Row = decltype(row);
    using T = typename Row::Element;
    const size_t shared = kWarps * (2 + Row::kNumbers * Row::kLanes) * sizeof(float);
    launch("sampled_softmax_loss", forward_kernel<Row>, in.rows, kThreads, shared, stream,
           sampled<T>(in), loss, static_cast<T*>(dhidden), lse);
  });
}

int64_t partials_size(const SampledRows& in) {
  return 2 * blocks_of(in.rows * (in.num_negatives + 1), kEntries) * (in.d + 1);
}

void sampled_softmax_loss_backward(const SampledRows& in, const float* dloss, const float* loss,
                                   const float* lse, const int64_t* ordered, const int64_t* order,
                                   void* ditems, void* dbias, float* partials, Stream stream) {
  const int64_t entries = in.rows * (in.num_negatives + 1), chunks = blocks_of(entries, kEntries);
  for_row(in, [&](auto row) {
    using Row = decltype(row);
    using T = typename Row::Element;
    launch("sampled_softmax_loss_backward", backward_kernel<Row>, blocks_of(chunks, kWarps),
           kThreads, 0, stream, sampled<T>(in), Incoming{dloss, loss, lse, ordered, order, entries},
           static_cast<T*>(ditems), static_cast<T*>(dbias), partials);
  });
  for_dtype(in.dtype, [&](auto element) {
    using T = decltype(element);
    const size_t shared = kWarps * (in.d + 1) * sizeof(float);
    launch("join_sums", join_kernel<T>, chunks, kThreads, shared, stream, ordered, entries, in.d,
           partials, static_cast<T*>(ditems), static_cast<T*>(dbias));
  });
}

}  // namespace b4r::cuda
