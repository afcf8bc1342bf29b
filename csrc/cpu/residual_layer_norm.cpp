// y = n weight + bias with z = x + factor sublayer, n = (z - mean) rstd, for each row of d numbers; factor is 0 or 1 / keep rate.
// Backward, with g = dy weight: dz = rstd (g - avg(g) - n avg(g n)), dx = dz, dsublayer = factor dz,
//   dweight = sum over rows of dy n, dbias = sum over rows of dy.
//
// x, sublayer, y, dy, dx, dsublayer: (rows, d) contiguous. mean, rstd: (rows,). weight, bias, dweight, dbias: (d,).
// partials: (tasks, 2, d), overwritten: the weight gradients of each task, added up in the order of the tasks.
// Everything written is overwritten, nothing is added to. Bytes a row: forward 12 d, backward 20 d; some 10 and 20 operations a
// number, and 1.75 products of Philox: the memory is the limit.
#include "cpu/residual_layer_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"

namespace b4r {
namespace {

// The dropout factors of one row at a time; 1 for all where nothing is dropped.
class RowFactors {
 public:
  RowFactors(const Dropout& dropout, int64_t d) : dropout_(dropout), d_(d), factors_(d + kDropoutColumns, 1.0f) {}

  const float* of(int64_t row) {
    if (dropout_.threshold > 0) dropout_factors(dropout_, static_cast<uint32_t>(row), 0, d_, factors_.data());
    return factors_.data();
  }

 private:
  const Dropout& dropout_;
  int64_t d_;
  std::vector<float> factors_;
};

int64_t tasks_of(int64_t rows) { return (rows + kNormRowsPerTask - 1) / kNormRowsPerTask; }

}  // namespace

void residual_layer_norm(const float* x, const float* sublayer, const float* weight, const float* bias, float* y, float* mean,
                         float* rstd, int64_t rows, int64_t d, float eps, const Dropout& dropout, int threads) {
  parallel_for(threads, tasks_of(rows), [&](int64_t task) {
    RowFactors factors(dropout, d);
    for (int64_t row = task * kNormRowsPerTask; row < std::min(rows, (task + 1) * kNormRowsPerTask); ++row) {
      const float *xr = x + row * d, *sr = sublayer + row * d, *factor = factors.of(row);
      float* yr = y + row * d;
      float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < d; ++c) sum += yr[c] = xr[c] + sr[c] * factor[c];
      const float average = sum / static_cast<float>(d);
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < d; ++c) squares += (yr[c] - average) * (yr[c] - average);
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(d) + eps);
#pragma omp simd
      for (int64_t c = 0; c < d; ++c) yr[c] = (yr[c] - average) * scale * weight[c] + bias[c];
      mean[row] = average;
      rstd[row] = scale;
    }
  });
}

void residual_layer_norm_backward(const float* dy, const float* x, const float* sublayer, const float* weight, const float* mean,
                                  const float* rstd, float* dx, float* dsublayer, float* dweight, float* dbias, float* partials,
                                  int64_t rows, int64_t d, const Dropout& dropout, int threads) {
  const int64_t tasks = tasks_of(rows);
  parallel_for(threads, tasks, [&](int64_t task) {
    RowFactors factors(dropout, d);
    float *task_dweight = partials + task * 2 * d, *task_dbias = task_dweight + d;
    std::fill(task_dweight, task_dweight + 2 * d, 0.0f);
    for (int64_t row = task * kNormRowsPerTask; row < std::min(rows, (task + 1) * kNormRowsPerTask); ++row) {
      const float *dyr = dy + row * d, *xr = x + row * d, *sr = sublayer + row * d, *factor = factors.of(row);
      float *dxr = dx + row * d, *dsr = dsublayer + row * d;
      float g_sum = 0.0f, gn_sum = 0.0f;
      // dx holds n until the sums are known.
#pragma omp simd reduction(+ : g_sum, gn_sum)
      for (int64_t c = 0; c < d; ++c) {
        const float n = (xr[c] + sr[c] * factor[c] - mean[row]) * rstd[row], g = dyr[c] * weight[c];
        dxr[c] = n;
        g_sum += g;
        gn_sum += g * n;
        task_dweight[c] += dyr[c] * n;
        task_dbias[c] += dyr[c];
      }
      const float g_average = g_sum / static_cast<float>(d), gn_average = gn_sum / static_cast<float>(d);
#pragma omp simd
      for (int64_t c = 0; c < d; ++c) {
        const float dz = rstd[row] * (dyr[c] * weight[c] - g_average - dxr[c] * gn_average);
        dxr[c] = dz;
        dsr[c] = dz * factor[c];
      }
    }
  });
  std::fill(dweight, dweight + d, 0.0f);
  std::fill(dbias, dbias + d, 0.0f);
  for (int64_t task = 0; task < tasks; ++task) {
    for (int64_t c = 0; c < d; ++c) {
      dweight[c] += partials[task * 2 * d + c];
      dbias[c] += partials[task * 2 * d + d + c];
    }
  }
}

}  // namespace b4r
