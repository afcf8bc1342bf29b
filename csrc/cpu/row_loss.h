// The loss of one row of a softmax, and how far its target's probability is from 1.
#pragma once

#include <cmath>

namespace b4r {

// What a maximum begins at. Not -inf: less itself, that is NaN.
constexpr float kLowest = -1e30f;

struct RowLoss {
  double loss, q;
};

// From the sum over the others, total e^maximum, and the target's logit: with x = ln total +
// maximum - z_t the loss is softplus(x) and q = 1 - p_t = sigmoid(x).
inline RowLoss row_loss(double total, double maximum, double target_logit) {
  const double x = std::log(total) + (maximum - target_logit), e = std::exp(-std::fabs(x));
  return {(x > 0 ? x : 0) + std::log1p(e), x > 0 ? 1 / (1 + e) : (x <= 0 ? e / (1 + e) : x)};
}

}  // namespace b4r
