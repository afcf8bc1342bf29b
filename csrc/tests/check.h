// What the test program does with every kernel: runs it again and with 1, 2 and 7 threads, and asks
// for the same bits, for the numbers of plain loops in double, and for the rounding and flushing of
// floats as it was.
//
// Whatever a kernel reads or writes is a vector of exactly that many numbers, so that
// AddressSanitizer sees one too far on either side; what it is to write holds NaN or kUnwritten
// before. Empty ones are null, as torch's are.
#pragma once

#include <array>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace b4r::tests {

using Floats = std::vector<float>;
using Rows = std::vector<int64_t>;
using Numbers = std::vector<double>;  // holds every float and every row exactly

constexpr int64_t kUnwritten = INT64_MIN;
inline std::mt19937_64 generator;

inline Floats normal(int64_t count, float deviation = 0.5f) {
  Floats numbers(count);
  for (float& x : numbers) x = std::normal_distribution<float>(0.0f, deviation)(generator);
  return numbers;
}

inline Rows uniform(int64_t count, int64_t below) {
  Rows rows(count);
  for (int64_t& row : rows) row = static_cast<int64_t>(generator() % static_cast<uint64_t>(below));
  return rows;
}

// Their products and sums are exact in float, and often equal.
inline Floats small_integers(int64_t count) {
  const Rows rows = uniform(count, 5);
  Floats numbers(rows.begin(), rows.end());
  for (float& x : numbers) x -= 2.0f;
  return numbers;
}

template <class T>
Numbers numbers(const std::vector<T>& values) {
  return Numbers(values.begin(), values.end());
}

// The name of a case: its op, and its sizes as they stand in test_all.
template <class... Sizes>
std::string name(std::string op, Sizes... sizes) {
  ((op += " " + std::to_string(sizes)), ...);
  return op;
}

inline int failures = 0;

inline void expect(bool right, const std::string& what) {
  if (right) return;
  ++failures;
  std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

// What a kernel writes, numbers or rows; null where there is nothing to write.
struct Output {
  Floats numbers;
  Rows rows;
  bool holds_rows = false;

  explicit Output(size_t size) : numbers(size, NAN), rows(size, kUnwritten) {}
  operator float*() { return numbers.empty() ? nullptr : numbers.data(); }
  operator int64_t*() {
    holds_rows = true;
    return rows.empty() ? nullptr : rows.data();
  }
  Numbers result() const {
    return holds_rows ? Numbers(rows.begin(), rows.end()) : Numbers(numbers.begin(), numbers.end());
  }
};

template <size_t N>
using Results = std::array<Numbers, N>;

template <class Run, size_t N, size_t... I>
Results<N> results_of(const Run& run, int threads, const Results<N>& expected,
                      std::index_sequence<I...>) {
  std::array<Output, N> outputs = {Output(expected[I].size())...};
  run(threads, outputs[I]...);
  return {outputs[I].result()...};
}

// Every number within a share of the largest; infinities and NaN where they are to be. What is 0 in
// double may be a multiple of 2^-126, where the kernels' exp2 ends.
inline void expect_close(const std::string& name, const Numbers& result, const Numbers& expected,
                         double tolerance) {
  constexpr double kLeast = 1e-30;
  double largest = 0.0;
  for (const double x : expected)
    largest = std::isfinite(x) ? std::fmax(largest, std::fabs(x)) : largest;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double is = result[i], should = expected[i];
    if (is == should || (std::isnan(is) && std::isnan(should)) ||
        std::fabs(is - should) <= tolerance * largest + kLeast)
      continue;
    char values[100];
    std::snprintf(values, sizeof values, "[%zu] is %.9g, not %.9g", i, is, should);
    return expect(false, name + values);
  }
}

// Rounding, flushing of subnormal numbers and masks of exceptions; not the flags of exceptions that
// have been.
inline unsigned float_control() {
#if defined(__SSE2__)
  return _mm_getcsr() & ~static_cast<unsigned>(_MM_EXCEPT_MASK);
#else
  return static_cast<unsigned>(std::fegetround());
#endif
}

// run(threads, outputs...): a kernel, or its forward and backward, with one output of the size of
// each expected result.
template <size_t N, class Run>
void check(const std::string& name, const Results<N>& expected, double tolerance, const Run& run) {
  const auto results = [&](int threads) {
    return results_of(run, threads, expected, std::make_index_sequence<N>{});
  };
  const unsigned control = float_control();
  const int rounding = std::fegetround();
  const Results<N> first = results(1);
  for (size_t r = 0; r < N; ++r)
    expect_close(name + ": result " + std::to_string(r), first[r], expected[r], tolerance);
  for (const int threads : {1, 2, 7}) {
    const Results<N> again = results(threads);
    for (size_t r = 0; r < N; ++r)
      expect(first[r].empty() || std::memcmp(again[r].data(), first[r].data(),
                                             first[r].size() * sizeof(double)) == 0,
             name + ": other bits in result " + std::to_string(r) + " with " +
                 std::to_string(threads) + " threads");
  }
  expect(float_control() == control && std::fegetround() == rounding,
         name + ": rounding or flushing of floats has changed");
}

// Element (i, j) of a matrix with this many columns, and of its transpose.
template <class T>
auto at(const std::vector<T>& matrix, int64_t columns) {
  return [&matrix, columns](int64_t i, int64_t j) {
    return static_cast<double>(matrix[i * columns + j]);
  };
}
template <class T>
auto transposed(const std::vector<T>& matrix, int64_t columns) {
  return [&matrix, columns](int64_t i, int64_t j) {
    return static_cast<double>(matrix[j * columns + i]);
  };
}

// The matrix (rows, columns) of sum over k < depth of a(i, k) b(k, j).
template <class A, class B>
Numbers product(int64_t rows, int64_t columns, int64_t depth, const A& a, const B& b) {
  Numbers c(rows * columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < columns; ++j) c[i * columns + j] += a(i, k) * b(k, j);
  return c;
}

}  // namespace b4r::tests
