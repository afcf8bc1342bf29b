// That the fibers do what a GPU does, as CUDA's programming guide and the PTX manual have it, and
// see what they promise to see. tests/cuda_on_cpu/test_runtime.py runs this, under sanitizers too.
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "cuda/ptx.cuh"

using namespace b4r::cuda;

namespace {

constexpr unsigned kAll = 0xFFFFFFFFu;
int failures = 0;

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

void run(int blocks, int threads, size_t shared, const std::function<void()>& body) {
  on_cpu::launch(dim3(blocks), dim3(threads), shared, body);
}

// The launch ends with a fault that says this.
void expect_fault(const char* says, int threads, const std::function<void()>& body) {
  try {
    run(1, threads, 256, body);
  } catch (const std::runtime_error& error) {
    return expect(std::string(error.what()).find(says) != std::string::npos, error.what());
  }
  expect(false, says);
}

void places() {
  std::vector<int> seen(3 * 64);
  run(3, 64, 0,
      [&] { seen[blockIdx.x * blockDim.x + threadIdx.x] += 1 + static_cast<int>(gridDim.x); });
  for (int count : seen) expect(count == 4, "every thread of every block runs once");
}

void barriers() {
  std::vector<float> sums(2 * 96);
  run(2, 96, 96 * sizeof(float), [&] {
    auto* shared = shared_memory<float>();
    expect(std::isnan(shared[threadIdx.x]), "a block's shared memory begins as NaN");
    __syncthreads();
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < 96; ++i) sum += shared[i];
    sums[blockIdx.x * 96 + threadIdx.x] = sum;
  });
  for (float sum : sums)
    expect(sum == 95 * 96 / 2, "behind a barrier of the block lies what all threads wrote");

  run(1, 64, 64 * sizeof(int), [&] {
    auto* shared = shared_memory<int>();
    shared[threadIdx.x] = threadIdx.x;
    __syncwarp();
    expect(shared[threadIdx.x ^ 1] == static_cast<int>(threadIdx.x ^ 1),
           "behind a barrier of the warp lies what its lanes wrote");
  });
}

void collectives() {
  run(1, 64, 0, [] {
    const int lane = threadIdx.x % 32, value = 100 + static_cast<int>(threadIdx.x);
    const int first = 100 + static_cast<int>(threadIdx.x) / 32 * 32;
    expect(__shfl_sync(kAll, value, 5) == first + 5, "a shuffle takes one lane's value");
    expect(__shfl_xor_sync(kAll, value, 8) == first + (lane ^ 8), "a shuffle by exclusive or");
    expect(__shfl_up_sync(kAll, value, 1) == first + (lane == 0 ? 0 : lane - 1),
           "a shuffle from the lane below, or its own");
    expect(__ballot_sync(kAll, lane % 3 == 0) == 0x49249249u, "a vote has one bit a lane");
    expect(__reduce_add_sync(kAll, value) == 32 * first + 31 * 16, "a sum over the lanes");
    expect(__reduce_min_sync(kAll, static_cast<unsigned>(value)) == static_cast<unsigned>(first),
           "the least of the lanes");
    // A lane may be one collective ahead of another that still reads.
    for (int i = 0; i < 9; ++i)
      expect(__shfl_xor_sync(kAll, value + i, 1) == first + (lane ^ 1) + i,
             "one shuffle after the other");
  });
}

void atomics() {
  int sum = 0;
  run(5, 64, 0, [&] { atomicAdd(&sum, 1); });
  expect(sum == 5 * 64, "atomic additions of all blocks");
}

void numbers() {
  expect(__float2bfloat16_rn(1.00390625f).bits == 0x3F80 &&
             __float2bfloat16_rn(1.01171875f).bits == 0x3F82,
         "bf16 rounds ties to even");
  expect(std::isnan(__bfloat162float(__float2bfloat16_rn(NAN))), "bf16 keeps NaN");
  expect(__half2float(__float2half_rn(65504.0f)) == 65504.0f &&
             std::isinf(__half2float(__float2half_rn(65520.0f))),
         "fp16 ends at 65504");
  expect(__clzll(0) == 64 && __clzll(1) == 63 && __ffs(8) == 4 && __popc(0xF0u) == 4,
         "bits are counted");
}

// 16 bytes of numbers from `first` on for every thread.
void copies() {
  alignas(16) static float numbers[64 * 4];
  for (int i = 0; i < 64 * 4; ++i) numbers[i] = static_cast<float>(i);
  run(1, 64, 2 * 64 * 16, [] {
    auto* shared = shared_memory<float>();
    const int at = static_cast<int>(threadIdx.x) * 4;
    copy_async(shared + at, numbers + at, true);
    commit_copies();
    copy_async(shared + 256 + at, numbers, false);
    commit_copies();
    if (!on_cpu::copies_are_eager())
      expect(std::isnan(shared[at]), "a copy has not landed before it is waited for");
    wait_for_copies<1>();
    expect(shared[at + 3] == numbers[at + 3], "a copy has landed when all but a newer group have");
    if (!on_cpu::copies_are_eager())
      expect(std::isnan(shared[256 + at]), "the newer group has not");
    wait_for_copies<0>();
    expect(shared[256 + at] == 0.0f, "what does not exist is 0");
    __syncthreads();
    expect(shared[(at + 4) % 256] == numbers[(at + 4) % 256],
           "behind a barrier lie the others' copies");
  });
}

// PTX manual, "Warp-level matrix load": lanes 8 m to 8 m + 7 name the rows of matrix m, and lane l
// receives of every matrix the elements 2 (l mod 4) and the next of row l div 4.
template <int MATRICES>
void loads_of_matrices() {
  run(1, 32, MATRICES * 8 * 16, [] {
    auto* shared = shared_memory<uint16_t>();
    for (int i = threadIdx.x; i < MATRICES * 64; i += 32) shared[i] = static_cast<uint16_t>(i);
    __syncwarp();
    const int lane = threadIdx.x;
    uint32_t r[MATRICES];
    load_matrices(r, shared + lane % (MATRICES * 8) * 8);
    for (int m = 0; m < MATRICES; ++m) {
      const uint32_t low = m * 64 + lane / 4 * 8 + lane % 4 * 2;
      expect(r[m] == (low | (low + 1) << 16), "ldmatrix gives each lane its elements");
    }
  });
}

float value(uint16_t bits, __half) { return __half2float({bits}); }
float value(uint16_t bits, __nv_bfloat16) { return __bfloat162float({bits}); }
uint16_t bits_of(float x, __half) { return __float2half_rn(x).bits; }
uint16_t bits_of(float x, __nv_bfloat16) { return __float2bfloat16_rn(x).bits; }

// PTX manual, "Matrix fragments for mma.m16n8k16 with floating point type", as its tables have it:
// groupID = lane >> 2, threadID_in_group = lane % 4, and element i of a fragment.
template <class T>
void products() {
  float a[16][16], b[16][8], expected[16][8] = {}, c[16][8] = {};
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      a[i][k] = value(bits_of(static_cast<float>(std::sin(16 * i + k)), T{}), T{});
  for (int k = 0; k < 16; ++k)
    for (int j = 0; j < 8; ++j)
      b[k][j] = value(bits_of(static_cast<float>(std::cos(8 * k + 3 * j)), T{}), T{});
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      for (int k = 0; k < 16; ++k) expected[i][j] += a[i][k] * b[k][j];

  run(1, 32, 0, [&] {
    const int group = static_cast<int>(threadIdx.x) >> 2,
              in_group = static_cast<int>(threadIdx.x) % 4;
    uint32_t of_a[4] = {}, of_b[2] = {};
    for (int i = 0; i < 8; ++i) {
      const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
      const int column = i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
      of_a[i / 2] |= uint32_t{bits_of(a[row][column], T{})} << 16 * (i % 2);
    }
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8, column = group;
      of_b[i / 2] |= uint32_t{bits_of(b[row][column], T{})} << 16 * (i % 2);
    }
    float of_c[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    multiply_add(of_c, of_a, of_b, T{});
    for (int i = 0; i < 4; ++i) c[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = of_c[i];
  });
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      expect(std::fabs(c[i][j] - 1.0f - expected[i][j]) < 1e-4f,
             "mma.m16n8k16 multiplies and adds");
}

void faults() {
  expect_fault("have ended", 64, [] {
    if (threadIdx.x != 7) __syncthreads();
  });
  expect_fault("has ended", 64, [] {
    if (threadIdx.x != 7) __syncwarp();
  });
  expect_fault("different collectives", 32, [] {
    if (threadIdx.x < 16)
      __ballot_sync(kAll, true);
    else
      __syncwarp();
  });
  expect_fault("waits at a barrier of the block", 32, [] {
    if (threadIdx.x < 16)
      __syncthreads();
    else
      __syncwarp();
  });
  expect_fault("part of a warp", 32, [] { __shfl_sync(0xFFu, 1, 0); });
  alignas(16) static const float numbers[8] = {};
  expect_fault("misaligned asynchronous copy", 32,
               [] { copy_async(shared_memory<float>(), numbers + 1, true); });
  expect_fault("misaligned row", 32, [] {
    uint32_t r[4];
    load_matrices(r, shared_memory<uint16_t>() + 1);
  });
  if (!on_cpu::copies_are_eager()) {
    expect_fault("copies under way", 32, [] {
      if (threadIdx.x == 0) copy_async(shared_memory<float>(), numbers, true);
    });
  }
  expect(cudaFuncSetAttribute(nullptr, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) !=
             cudaSuccess,
         "no block has a megabyte of shared memory");
}

}  // namespace

int main() {
  places();
  barriers();
  collectives();
  atomics();
  numbers();
  copies();
  loads_of_matrices<2>();
  loads_of_matrices<4>();
  products<__half>();
  products<__nv_bfloat16>();
  faults();
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
