// The loss of one row of a softmax, and how far its target's probability is from 1.
#pragma once

#include <cmath>

namespace b4r {

struct RowLoss {
  double loss, q;
};

// From the sum over the others, s e^most, and the target's logit: with x = ln s + most - z_t the loss is softplus(x) and q = 1 -
// p_t = sigmoid(x).
inline RowLoss row_loss(double s, double most, double target_logit) {
  const double x = std::log(s) + (most - target_logit), e = std::exp(-std::fabs(x));
  return {(x > 0 ? x : 0) + std::log1p(e), x > 0 ? 1 / (1 + e) : (x <= 0 ? e / (1 + e) : x)};
}

}  // namespace b4r
