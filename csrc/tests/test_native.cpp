// Every function of csrc/cpu, forward and backward, beside the same maths in plain loops of double;
// check.h says what is asked of each. Built under sanitizers, for each instruction set: sizes lie
// off every tile, vector and task, and at nothing at all.
#include <algorithm>
#include <numeric>
#include <tuple>

#include "cpu/adamw_rows.h"
#include "cpu/attention.h"
#include "cpu/cloze_mask.h"
#include "cpu/dropout.h"
#include "cpu/embedding_layer_norm.h"
#include "cpu/gelu_ffn.h"
#include "cpu/linear.h"
#include "cpu/linear_gelu_layer_norm.h"
#include "cpu/machine_limits.h"
#include "cpu/rank.h"
#include "cpu/residual_layer_norm.h"
#include "cpu/sample_negatives.h"
#include "cpu/sampled_softmax_loss.h"
#include "cpu/softmax_loss.h"
#include "cpu/topk.h"
#include "tests/check.h"

namespace b4r::tests {
namespace {

constexpr double kTolerance = 1e-5;
constexpr uint64_t kSeed = 0xF123456789ABCDEFu;
const Dropout kNone = {0, 0, 1.0f}, kFifth = {kSeed, 13107, 65536.0f / (65536 - 13107)};

// One call of Philox4x32-7, a word at a time (docs/dropout.md).
std::array<uint32_t, 4> random_call(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2,
                                    uint32_t c3) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 7; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
  }
  return {c0, c1, c2, c3};
}

// What dropout multiplies an element by.
double factor(const Dropout& dropout, int64_t row, int64_t column, int64_t group = 0) {
  const uint32_t word =
      random_call(dropout.seed, static_cast<uint32_t>(row), static_cast<uint32_t>(column / 8),
                  static_cast<uint32_t>(group), 0)[column % 8 / 2];
  return static_cast<int16_t>(word >> (column % 2 * 16)) >= dropout.threshold - 32768
             ? dropout.scale
             : 0.0;
}

void test_dropout(int64_t rows, int64_t d) {
  const Floats x = normal(rows * d);
  Numbers y = numbers(x);
  for (int64_t i = 0; i < rows * d; ++i) y[i] *= factor(kFifth, i / d, i % d);
  check(name("dropout", rows, d), Results<1>{y}, kTolerance,
        [&](int threads, float* y) { dropout(x.data(), y, rows, d, kFifth, threads); });
}

void test_linear(int64_t rows, int64_t in, int64_t out) {
  const Floats x = normal(rows * in), w = normal(out * in), b = normal(out),
               dy = normal(rows * out), ones(rows, 1.0f);
  Numbers y = product(rows, out, in, at(x, in), transposed(w, in));
  for (int64_t i = 0; i < rows * out; ++i) y[i] += b[i % out];
  const Numbers dx = product(rows, in, out, at(dy, out), at(w, in)),
                dw = product(out, in, rows, transposed(dy, out), at(x, in)),
                db = product(1, out, rows, at(ones, rows), at(dy, out));
  check(name("linear", rows, in, out), Results<4>{y, dx, dw, db}, kTolerance,
        [&](int threads, float* y, float* dx, float* dw, float* db) {
          linear(x.data(), w.data(), b.data(), y, {rows, in, out}, threads);
          linear_backward(dy.data(), x.data(), w.data(), dx, dw, db, {rows, in, out}, threads);
        });
}

// GELU and its derivative.
std::pair<double, double> gelu(double u, bool tanh) {
  if (tanh) {
    const double t = std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u));
    return {u * (1 + t) / 2,
            (1 + t) / 2 + u * (1 - t * t) / 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * u * u)};
  }
  const double cdf = std::erfc(-u / std::sqrt(2.0)) / 2;
  return {u * cdf, cdf + u * std::exp(-u * u / 2) / std::sqrt(2 * M_PI)};
}

void test_gelu_ffn(int64_t rows, int64_t d, int64_t f, bool tanh) {
  const Floats x = normal(rows * d, 2.0f), w1 = normal(f * d), b1 = normal(f), w2 = normal(d * f),
               b2 = normal(d), dy = normal(rows * d), ones(rows, 1.0f);
  Numbers a = product(rows, f, d, at(x, d), transposed(w1, d)),
          du = product(rows, f, d, at(dy, d), at(w2, f));
  for (int64_t i = 0; i < rows * f; ++i) {
    const auto [value, slope] = gelu(a[i] + b1[i % f], tanh);
    a[i] = value;
    du[i] *= slope;
  }
  Numbers y = product(rows, d, f, at(a, f), transposed(w2, f));
  for (int64_t i = 0; i < rows * d; ++i) y[i] += b2[i % d];
  const Numbers dx = product(rows, d, f, at(du, f), at(w1, d)),
                dw1 = product(f, d, rows, transposed(du, f), at(x, d)),
                db1 = product(1, f, rows, at(ones, rows), at(du, f)),
                dw2 = product(d, f, rows, transposed(dy, d), at(a, f)),
                db2 = product(1, d, rows, at(ones, rows), at(dy, d));
  check(name("gelu_ffn", rows, d, f, tanh), Results<6>{y, dx, dw1, db1, dw2, db2}, kTolerance,
        [&](int threads, float* y, float* dx, float* dw1, float* db1, float* dw2, float* db2) {
          gelu_ffn(x.data(), w1.data(), b1.data(), w2.data(), b2.data(), y, {rows, d, f}, tanh,
                   threads);
          gelu_ffn_backward(dy.data(), x.data(), w1.data(), b1.data(), w2.data(), dx, dw1, db1, dw2,
                            db2, {rows, d, f}, tanh, threads);
        });
}

constexpr float kEps = 1e-6f;

struct LayerNorm {
  Numbers y, mean, rstd, dz, dweight, dbias;
};

LayerNorm layer_norm(const Numbers& z, const Floats& weight, const Floats& bias, const Numbers& dy,
                     int64_t rows) {
  const int64_t d = static_cast<int64_t>(weight.size());
  LayerNorm norm{z, Numbers(rows), Numbers(rows), z, Numbers(d), Numbers(d)};
  for (int64_t r = 0; r < rows; ++r) {
    double total = 0, squares = 0, g = 0, gn = 0;
    for (int64_t c = 0; c < d; ++c) total += z[r * d + c];
    const double mean = norm.mean[r] = total / d;
    for (int64_t c = 0; c < d; ++c) squares += (z[r * d + c] - mean) * (z[r * d + c] - mean);
    const double rstd = norm.rstd[r] = 1 / std::sqrt(squares / d + kEps);
    for (int64_t c = 0; c < d; ++c) {
      const double n = (z[r * d + c] - mean) * rstd, dy_c = dy[r * d + c];
      norm.y[r * d + c] = n * weight[c] + bias[c];
      g += dy_c * weight[c];
      gn += dy_c * weight[c] * n;
      norm.dweight[c] += dy_c * n;
      norm.dbias[c] += dy_c;
    }
    for (int64_t c = 0; c < d; ++c)
      norm.dz[r * d + c] =
          rstd * (dy[r * d + c] * weight[c] - g / d - (z[r * d + c] - mean) * rstd * gn / d);
  }
  return norm;
}

void test_residual_layer_norm(int64_t rows, int64_t d, const Dropout& drop) {
  const Floats x = normal(rows * d), sublayer = normal(rows * d), weight = normal(d),
               bias = normal(d), dy = normal(rows * d);
  Numbers z = numbers(x);
  for (int64_t i = 0; i < rows * d; ++i) z[i] += sublayer[i] * factor(drop, i / d, i % d);
  const LayerNorm norm = layer_norm(z, weight, bias, numbers(dy), rows);
  Numbers dsublayer = norm.dz;
  for (int64_t i = 0; i < rows * d; ++i) dsublayer[i] *= factor(drop, i / d, i % d);
  check(name("residual_layer_norm", rows, d, drop.threshold),
        Results<7>{norm.y, norm.mean, norm.rstd, norm.dz, dsublayer, norm.dweight, norm.dbias},
        kTolerance,
        [&](int threads, float* y, float* mean, float* rstd, float* dx, float* dsublayer,
            float* dweight, float* dbias) {
          residual_layer_norm(x.data(), sublayer.data(), weight.data(), bias.data(), y, mean, rstd,
                              rows, d, kEps, drop, threads);
          residual_layer_norm_backward(dy.data(), x.data(), sublayer.data(), weight.data(), mean,
                                       rstd, dx, dsublayer, dweight, dbias, rows, d, drop, threads);
        });
}

void test_gelu_layer_norm(int64_t rows, int64_t d, bool tanh) {
  const Floats u = normal(rows * d, 2.0f), weight = normal(d), bias = normal(d),
               dy = normal(rows * d);
  Numbers z(rows * d), slope(rows * d);
  for (int64_t i = 0; i < rows * d; ++i) std::tie(z[i], slope[i]) = gelu(u[i], tanh);
  const LayerNorm norm = layer_norm(z, weight, bias, numbers(dy), rows);
  Numbers du = norm.dz;
  for (int64_t i = 0; i < rows * d; ++i) du[i] *= slope[i];
  check(name("gelu_layer_norm", rows, d, tanh),
        Results<6>{norm.y, norm.mean, norm.rstd, du, norm.dweight, norm.dbias}, kTolerance,
        [&](int threads, float* y, float* mean, float* rstd, float* du, float* dweight,
            float* dbias) {
          gelu_layer_norm(u.data(), weight.data(), bias.data(), y, mean, rstd, rows, d, kEps, tanh,
                          threads);
          gelu_layer_norm_backward(dy.data(), u.data(), weight.data(), mean, rstd, du, dweight,
                                   dbias, rows, d, tanh, threads);
        });
}

void test_embedding_layer_norm(int64_t tokens, int64_t d, int64_t items, int64_t positions,
                               const Dropout& drop) {
  const Rows value = uniform(tokens, items), position = uniform(tokens, positions);
  const Floats item_table = normal(items * d), position_table = normal(positions * d),
               weight = normal(d), bias = normal(d), dy = normal(tokens * d);
  Numbers z(tokens * d), dropped = numbers(dy);
  for (int64_t i = 0; i < tokens * d; ++i) {
    z[i] =
        double{item_table[value[i / d] * d + i % d]} + position_table[position[i / d] * d + i % d];
    dropped[i] *= factor(drop, i / d, i % d);
  }
  LayerNorm norm = layer_norm(z, weight, bias, dropped, tokens);
  Numbers ditems(items * d), dpositions(positions * d);
  for (int64_t i = 0; i < tokens * d; ++i) {
    norm.y[i] *= factor(drop, i / d, i % d);
    ditems[value[i / d] * d + i % d] += norm.dz[i];
    dpositions[position[i / d] * d + i % d] += norm.dz[i];
  }
  const Embeddings in = {value.data(),          position.data(), item_table.data(),
                         position_table.data(), tokens,          d};
  check(name("embedding_layer_norm", tokens, d, items, positions, drop.threshold),
        Results<7>{norm.y, norm.mean, norm.rstd, ditems, dpositions, norm.dweight, norm.dbias},
        kTolerance,
        [&](int threads, float* y, float* mean, float* rstd, float* ditems, float* dpositions,
            float* dweight, float* dbias) {
          embedding_layer_norm(in, weight.data(), bias.data(), y, mean, rstd, kEps, drop, threads);
          embedding_layer_norm_backward(dy.data(), in, value.data(), items, positions,
                                        weight.data(), mean, rstd, ditems, dpositions, dweight,
                                        dbias, drop, threads);
        });
}

std::vector<int32_t> offsets(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu(lengths.size() + 1);
  std::partial_sum(lengths.begin(), lengths.end(), cu.begin() + 1);
  return cu;
}

// q, k and v in three buffers, or the last `joined` of them in the last buffer, side by side token
// by token.
template <class T>
std::array<Heads<T>, 3> heads_in(const std::array<T*, 3>& buffers, int64_t width, int joined) {
  std::array<Heads<T>, 3> heads;
  for (int part = 0, alone = 3 - joined; part < 3; ++part)
    heads[part] = part < alone ? Heads<T>{buffers[part], width}
                               : Heads<T>{buffers[2] + (part - alone) * width, joined * width};
  return heads;
}

// One row of q against the keys of its sequence: adds to dk and dv, writes the rest, and gives the
// row's lse.
double attention_row(const std::array<Heads<const float>, 3>& in,
                     const std::array<Heads<double>, 3>& gradient, const float* dout, double* out,
                     const AttentionShape& s, const Dropout& drop, int64_t row, int64_t first,
                     int64_t keys, int64_t head) {
  const auto of = [&](const auto& heads, int64_t token) {
    return heads.data + token * heads.token + head * s.d;
  };
  const auto dot = [&](const float* a, const float* b) {
    return std::inner_product(a, a + s.d, b, 0.0);
  };
  const float* q = of(in[0], row);
  Numbers p(keys), dp(keys);
  for (int64_t j = 0; j < keys; ++j) p[j] = s.scale * dot(q, of(in[1], first + j));
  const double maximum = keys > 0 ? *std::max_element(p.begin(), p.end()) : 0.0;
  double total = 0, delta = 0;
  for (int64_t j = 0; j < keys; ++j) total += p[j] = std::exp(p[j] - maximum);
  for (int64_t j = 0; j < keys; ++j) {
    p[j] /= total;
    dp[j] = factor(drop, row, j, head) * dot(dout, of(in[2], first + j));
    delta += p[j] * dp[j];
  }
  for (int64_t j = 0; j < keys; ++j) {
    const double kept = p[j] * factor(drop, row, j, head), ds = s.scale * p[j] * (dp[j] - delta);
    for (int64_t c = 0; c < s.d; ++c) {
      out[c] += kept * of(in[2], first + j)[c];
      of(gradient[2], first + j)[c] += kept * dout[c];
      of(gradient[0], row)[c] += ds * of(in[1], first + j)[c];
      of(gradient[1], first + j)[c] += ds * q[c];
    }
  }
  return std::log(total) + maximum;
}

// row_counts and key_counts: of each sequence. deviation: of q, k and v; above 1 the scores need
// their maximum taken off.
void test_attention(const std::vector<int32_t>& row_counts, const std::vector<int32_t>& key_counts,
                    int64_t heads, int64_t d, int joined, const Dropout& drop,
                    float deviation = 0.5f) {
  const std::vector<int32_t> cu_q = offsets(row_counts), cu_k = offsets(key_counts);
  const int64_t rows = cu_q.back(), tokens = cu_k.back(), width = heads * d,
                sequences = static_cast<int64_t>(row_counts.size());
  const AttentionShape s = {cu_q.data(), cu_k.data(), sequences,
                            heads,       d,           1 / std::sqrt(static_cast<float>(d))};
  const std::array<int64_t, 3> sizes = {joined < 3 ? rows * width : 0,
                                        joined < 2 ? tokens * width : 0,
                                        tokens * width * std::max(joined, 1)};
  const std::array<Floats, 3> buffers = {normal(sizes[0], deviation), normal(sizes[1], deviation),
                                         normal(sizes[2], deviation)};
  const auto in = heads_in<const float>({buffers[0].data(), buffers[1].data(), buffers[2].data()},
                                        width, joined);
  const Floats dout = normal(rows * width);

  Results<5> expected = {Numbers(rows * width), Numbers(heads * rows), Numbers(sizes[0]),
                         Numbers(sizes[1]), Numbers(sizes[2])};
  const auto gradient =
      heads_in<double>({expected[2].data(), expected[3].data(), expected[4].data()}, width, joined);
  for (int64_t b = 0; b < sequences; ++b)
    for (int64_t row = cu_q[b]; row < cu_q[b + 1]; ++row)
      for (int64_t head = 0; head < heads; ++head)
        expected[1][head * rows + row] = attention_row(in, gradient, &dout[row * width + head * d],
                                                       &expected[0][row * width + head * d], s,
                                                       drop, row, cu_k[b], key_counts[b], head);
  check(name("attention", rows, tokens, heads, d, joined, drop.threshold), expected, 3 * kTolerance,
        [&](int threads, float* out, float* lse, float* dq, float* dk, float* dv) {
          attention(in[0], in[1], in[2], {out, width}, lse, s, drop, threads);
          const auto gradient = heads_in<float>({dq, dk, dv}, width, joined);
          attention_backward({dout.data(), width}, in[0], in[1], in[2], {out, width}, lse,
                             gradient[0], gradient[1], gradient[2], s, drop, threads);
        });
}

// {loss, dhidden, lse, ditems, dbias} over each row's target, and the negatives that are not its
// target.
Results<5> softmax_losses(const SampledInput& in, int64_t items, const Floats& dloss) {
  const int64_t d = in.d;
  Numbers loss(in.rows), dhidden(in.rows * d), lse(in.rows), ditems(items * d);
  Numbers dbias(in.bias != nullptr ? items : 0);
  for (int64_t i = 0; i < in.rows; ++i) {
    if (in.targets[i] < 0) continue;
    const float* h = in.hidden + i * d;
    Rows item = {in.targets[i]};
    Numbers p = {0.0};
    for (int64_t k = in.shared ? 0 : i * in.count, left = in.count; left > 0; ++k, --left) {
      if (in.negatives[k] == in.targets[i]) continue;
      item.push_back(in.negatives[k]);
      p.push_back(in.log_q != nullptr ? -in.log_q[k] : 0.0);
    }
    for (size_t j = 0; j < item.size(); ++j)
      p[j] += std::inner_product(h, h + d, in.items + item[j] * d,
                                 in.bias != nullptr ? double{in.bias[item[j]]} : 0.0);
    const double maximum = *std::max_element(p.begin(), p.end()), target_logit = p[0];
    double total = 0;
    for (double& x : p) total += x = std::exp(x - maximum);
    lse[i] = std::log(total) + maximum;
    loss[i] = lse[i] - target_logit;
    for (size_t j = 0; j < item.size(); ++j) {
      const double dlogit = p[j] / total - (j == 0);
      for (int64_t c = 0; c < d; ++c) {
        dhidden[i * d + c] += dlogit * in.items[item[j] * d + c];
        ditems[item[j] * d + c] += dloss[i] * dlogit * h[c];
      }
      if (in.bias != nullptr) dbias[item[j]] += dloss[i] * dlogit;
    }
  }
  return {loss, dhidden, lse, ditems, dbias};
}

constexpr int64_t kFull = -1;  // the loss over all items, in the place of a number of negatives

// Row 0 and every `unlabelled`-th after it have no target.
void test_softmax_losses(int64_t rows, int64_t d, int64_t items, int64_t negatives,
                         int64_t unlabelled, bool with_bias) {
  const Floats hidden = normal(rows * d), table = normal(items * d), bias = normal(items),
               dloss = normal(rows), ones(rows, 1.0f);
  const float* b = with_bias ? bias.data() : nullptr;
  Rows targets = uniform(rows, items);
  for (int64_t i = 0; i < rows; i += unlabelled) targets[i] = -100;
  const std::string sizes = name("", rows, d, items, negatives, unlabelled, with_bias);
  if (negatives != kFull) {
    for (const bool shared : {true, false}) {
      const Rows drawn = uniform(shared ? negatives : rows * negatives, items);
      const Floats log_q = normal(static_cast<int64_t>(drawn.size()));
      const SampledInput in = {hidden.data(), table.data(), b, targets.data(), drawn.data(),
                               log_q.data(),  rows,         d, negatives,      shared};
      check((shared ? "shared negatives" : "private negatives") + sizes,
            softmax_losses(in, items, dloss), kTolerance,
            [&](int threads, float* loss, float* dhidden, float* lse, float* ditems, float* dbias) {
              sampled_softmax_loss(in, loss, dhidden, lse, threads);
              sampled_softmax_loss_backward(dloss.data(), in, loss, lse,
                                            {targets.data(), drawn.data(), items, ditems, dbias},
                                            threads);
            });
    }
    return;
  }
  Rows all(items);
  std::iota(all.begin(), all.end(), 0);
  const SampledInput over_all = {hidden.data(), table.data(), b, targets.data(), all.data(),
                                 nullptr,       rows,         d, items,          true};
  const SoftmaxInput in = {hidden.data(), table.data(), b, targets.data(), rows, d, items};
  check("softmax_loss" + sizes, softmax_losses(over_all, items, dloss), kTolerance,
        [&](int threads, float* loss, float* dhidden, float* lse, float* ditems, float* dbias) {
          softmax_loss(in, loss, dhidden, lse, threads);
          softmax_loss_backward(dloss.data(), in, loss, lse, ditems, dbias, threads);
        });
  const auto [loss, dhidden, lse, ditems, dbias] = softmax_losses(over_all, items, ones);
  const Numbers sum = {std::accumulate(loss.begin(), loss.end(), 0.0)};
  check("softmax_loss_sum" + sizes, Results<4>{sum, dhidden, ditems, dbias}, kTolerance,
        [&](int threads, float* loss, float* dhidden, float* ditems, float* dbias) {
          expect(softmax_loss_sum(in, nullptr, loss, dhidden, ditems, dbias, threads),
                 "softmax_loss_sum takes a small catalogue");
        });
  auto [losses, weighted_dhidden, unused, weighted_ditems, weighted_dbias] =
      softmax_losses(over_all, items, dloss);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < d; ++k) weighted_dhidden[i * d + k] *= dloss[i];
  const Numbers weighted = {std::inner_product(losses.begin(), losses.end(), dloss.begin(), 0.0)};
  check("weighted softmax_loss_sum" + sizes,
        Results<4>{weighted, weighted_dhidden, weighted_ditems, weighted_dbias}, kTolerance,
        [&](int threads, float* loss, float* dhidden, float* ditems, float* dbias) {
          softmax_loss_sum(in, dloss.data(), loss, dhidden, ditems, dbias, threads);
        });
}

void test_softmax_loss_sum_leaves_a_large_catalogue_alone() {
  float number = 7.0f;
  const int64_t target = 0;
  expect(!softmax_loss_sum({&number, &number, nullptr, &target, 1, 1, 200000}, nullptr, &number,
                           &number, &number, nullptr, 2) &&
             number == 7.0f,
         "softmax_loss_sum leaves a large catalogue alone");
}

void test_sample_negatives(int64_t count, int64_t items) {
  std::array<double, kExp2Terms> exp2{1.0};
  for (int term = 1; term < kExp2Terms; ++term) exp2[term] = exp2[term - 1] * M_LN2 / term;
  Rows counts = uniform(items, 3), cumulative(items);
  counts[0] = 1;
  std::partial_sum(counts.begin(), counts.end(), cumulative.begin());
  Numbers even(count), popular(count), logarithmic(count);
  for (int64_t n = 0; n < count; ++n) {
    const auto words = random_call(kSeed, static_cast<uint32_t>(n / 2), 0, 0, 0);
    const uint64_t w = words[2 * (n % 2)] | uint64_t{words[2 * (n % 2) + 1]} << 32;
    const int64_t passed =
        static_cast<int64_t>((w >> 1) % static_cast<uint64_t>(cumulative.back()));
    even[n] = static_cast<double>((w >> 1) % static_cast<uint64_t>(items));
    popular[n] = static_cast<double>(
        std::upper_bound(cumulative.begin(), cumulative.end(), passed) - cumulative.begin());
    logarithmic[n] = std::fmin(
        std::floor(std::pow(items + 1.0, static_cast<double>(w >> 11) * 0x1p-53)) - 1, items - 1.0);
  }
  check(name("sample_negatives", count, items), Results<3>{even, popular, logarithmic}, 0.0,
        [&](int threads, int64_t* even, int64_t* popular, int64_t* logarithmic) {
          sample_uniform(even, count, items, kSeed, threads);
          sample_popularity(popular, count, cumulative.data(), items, kSeed, threads);
          sample_log_uniform(logarithmic, count, items, std::log2(items + 1.0), exp2.data(), kSeed,
                             threads);
        });
}

void test_cloze_mask(const std::vector<int32_t>& lengths) {
  const int64_t sequences = static_cast<int64_t>(lengths.size());
  const ClozeRule rule = {int64_t{1} << 30, int64_t{1} << 31, 1000,
                          kSeed};  // a quarter of the tokens, half of the sequences
  const std::vector<int32_t> cu = offsets(lengths);
  const Rows values = uniform(cu.back(), 999);
  const auto word = [&](int64_t i, uint32_t stream) {
    return int64_t{random_call(rule.seed, static_cast<uint32_t>(i / 4), 0, 0, stream)[i % 4]};
  };
  Numbers inputs = numbers(values), labels(values.size(), -100.0);
  for (int64_t b = 0; b < sequences; ++b) {
    int64_t smallest = INT64_MAX;
    for (int64_t t = cu[b]; t < cu[b + 1]; ++t) smallest = std::min(smallest, word(t, 0));
    const bool last_only = word(b, 1) < rule.last_only_threshold;
    for (int64_t t = cu[b]; t < cu[b + 1]; ++t) {
      if (last_only ? t < cu[b + 1] - 1
                    : word(t, 0) >= rule.mask_threshold && word(t, 0) > smallest)
        continue;
      labels[t] = inputs[t];
      inputs[t] = static_cast<double>(rule.mask_id);
    }
  }
  check(name("cloze_mask", sequences), Results<2>{inputs, labels}, 0.0,
        [&](int threads, int64_t* inputs, int64_t* labels) {
          cloze_mask(values.data(), cu.data(), inputs, labels, sequences, rule, threads);
        });
}

// excluded: items left out for each row. candidates: items of each of `lists`, which are none, one
// for all or one a row.
void test_topk_and_rank(int64_t rows, int64_t items, int64_t d, int64_t k, int64_t excluded,
                        int64_t lists, int64_t candidates) {
  const Floats hidden = small_integers(rows * d), table = small_integers(items * d);
  Floats bias = small_integers(items);
  if (items > 90) bias[31] = NAN, bias[89] = -INFINITY;
  const Rows exclude = uniform(rows * excluded, items), chosen = uniform(lists * candidates, items),
             targets = uniform(rows, items);
  const auto among = [](const Rows& items, int64_t list, int64_t size, int64_t item) {
    const auto first = items.begin() + list * size;
    return std::find(first, first + size, item) != first + size;
  };
  Numbers scores(rows * k, -INFINITY), best(rows * k, -1.0), ranks(rows, 1.0);
  for (int64_t row = 0; row < rows; ++row) {
    const float* h = hidden.data() + row * d;
    Numbers z(items);
    for (int64_t j = 0; j < items; ++j) {
      z[j] = std::inner_product(h, h + d, table.data() + j * d, double{bias[j]});
      if (std::isnan(z[j])) z[j] = -INFINITY;
    }
    Rows order;
    for (int64_t j = 0; j < items; ++j) {
      if (among(exclude, row, excluded, j)) continue;
      ranks[row] += j != targets[row] && z[j] >= z[targets[row]];
      if ((lists == 0 || among(chosen, lists == 1 ? 0 : row, candidates, j)) && z[j] != -INFINITY)
        order.push_back(j);
    }
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return z[a] > z[b]; });
    for (int64_t i = 0; i < std::min<int64_t>(k, order.size()); ++i) {
      scores[row * k + i] = z[order[i]];
      best[row * k + i] = static_cast<double>(order[i]);
    }
  }
  const Scoring scoring = {hidden.data(), table.data(), bias.data(), rows, items, d};
  const auto item_lists = [](const Rows& items, int64_t lists, int64_t size, int threads) {
    return ItemLists(
        items.data(), size > 0 ? lists : 0, [size](int64_t list) { return list * size; }, threads);
  };
  const std::string sizes = name("", rows, items, d, k, excluded, lists, candidates);
  check("topk" + sizes, Results<2>{scores, best}, 0.0,
        [&](int threads, float* scores, int64_t* best) {
          topk(scoring, k, item_lists(exclude, rows, excluded, threads),
               item_lists(chosen, lists, candidates, threads), scores, best, threads);
        });
  check("rank" + sizes, Results<1>{ranks}, 0.0, [&](int threads, int64_t* ranks) {
    rank(scoring, targets.data(), item_lists(exclude, rows, excluded, threads), ranks, threads);
  });
}

void test_adamw_rows(int64_t count, int64_t d, int64_t items) {
  const AdamW adamw = {0.1, 0.8, 0.95, 1e-3, 0.3, 3};
  const Floats table = normal(items * d), first = normal(items * d), gradient = normal(count * d);
  Floats second = normal(items * d);
  for (float& x : second) x *= x;
  Rows rows(count);
  for (int64_t i = 0; i < count; ++i) rows[i] = items - 1 - i;
  Numbers p = numbers(table), m = numbers(first), v = numbers(second);
  for (int64_t i = 0; i < count * d; ++i) {
    const int64_t at = rows[i / d] * d + i % d;
    m[at] = adamw.beta1 * m[at] + (1 - adamw.beta1) * gradient[i];
    v[at] = adamw.beta2 * v[at] + (1 - adamw.beta2) * gradient[i] * gradient[i];
    const double corrected = v[at] / (1 - std::pow(adamw.beta2, adamw.step));
    p[at] -=
        adamw.rate * (adamw.weight_decay * p[at] + m[at] / (1 - std::pow(adamw.beta1, adamw.step)) /
                                                       (std::sqrt(corrected) + adamw.eps));
  }
  check(name("adamw_rows", count, d, items), Results<3>{p, m, v}, kTolerance,
        [&](int threads, float* p, float* m, float* v) {
          std::copy(table.begin(), table.end(), p);
          std::copy(first.begin(), first.end(), m);
          std::copy(second.begin(), second.end(), v);
          adamw_rows(p, m, v, rows.data(), gradient.data(), count, d, adamw, threads);
        });
}

void test_machine_limits() {
  expect(fma_rate(1e-3, 7) > 0.0, "fma_rate is positive");
  const Floats read((1 << 18) + 31, 1.0f);
  expect(read_bandwidth(read.data(), static_cast<int64_t>(read.size()), 7) > 0.0,
         "read_bandwidth is positive");
}

void test_all() {
  test_dropout(0, 5);
  test_dropout(5, 0);  // once a division by zero
  test_dropout(1, 1);
  test_dropout(7, 16);
  test_dropout(300, 33);

  test_linear(0, 7, 5);
  test_linear(7, 0, 5);  // once a division by zero
  test_linear(7, 5, 0);
  test_linear(1, 1, 1);
  test_linear(97, 31, 16);
  test_linear(300, 33, 97);

  test_gelu_ffn(0, 7, 5, false);
  test_gelu_ffn(7, 5, 0, false);  // once a division by zero
  test_gelu_ffn(7, 0, 5, false);
  test_gelu_ffn(1, 1, 1, true);
  test_gelu_ffn(17, 16, 300, true);  // hidden columns in two slabs
  test_gelu_ffn(300, 33, 31, false);
  test_gelu_ffn(97, 3, 5500, false);  // rows in two chunks

  test_residual_layer_norm(0, 5, kFifth);
  test_residual_layer_norm(1, 3, kNone);
  test_residual_layer_norm(7, 16, kFifth);
  test_residual_layer_norm(129, 97, kNone);
  test_residual_layer_norm(300, 33, kFifth);

  test_gelu_layer_norm(0, 5, false);
  test_gelu_layer_norm(7, 16, true);
  test_gelu_layer_norm(129, 33, false);

  test_embedding_layer_norm(0, 5, 7, 3, kFifth);
  test_embedding_layer_norm(1, 3, 1, 1, kNone);
  test_embedding_layer_norm(17, 16, 97, 31, kFifth);
  test_embedding_layer_norm(600, 7, 3, 97, kFifth);
  test_embedding_layer_norm(300, 33, 8000, 2, kNone);  // two tasks of zeros

  const std::vector<int32_t> odd = {0, 1, 33, 7, 0, 16, 17}, few = {0, 1, 5, 7, 0, 2, 0};
  test_attention({}, {}, 2, 8, 0, kNone);
  test_attention({0, 3}, {5, 0}, 1, 8, 0,
                 kFifth);  // took -1 rows of scratch for a sequence without any
  test_attention(odd, odd, 3, 7, 0, kFifth);
  test_attention(odd, odd, 2, 16, 3, kFifth);
  test_attention(few, odd, 2, 33, 2, kFifth);
  test_attention(odd, odd, 1, 31, 3, kNone, 3.0f);
  test_attention({31}, {31}, 1, 97, 0, kFifth, 2.0f);
  test_attention({31}, {31}, 2, 128, 3, kNone);
  test_attention({31}, {31}, 1, 1, 0, kNone);
  test_attention({33}, {2800}, 1, 8, 0, kFifth);  // two blocks of rows

  test_softmax_losses(0, 8, 7, kFull, 3, true);
  test_softmax_losses(5, 7, 33, kFull, 1, true);  // no row with a target
  test_softmax_losses(5, 7, 33, 31, 1, true);
  test_softmax_losses(7, 8, 1, kFull, 9, true);  // no item but the target
  test_softmax_losses(7, 3, 1, 5, 3, true);
  test_softmax_losses(17, 8, 97, 0, 3, true);  // no negative
  test_softmax_losses(2, 16, 3000, kFull, 2, false);
  test_softmax_losses(17, 31, 97, kFull, 3, true);
  test_softmax_losses(450, 33, 300, kFull, 7, true);  // three chunks of rows
  test_softmax_losses(210, 17, 400, 211, 7, true);
  test_softmax_losses(33, 97, 31, 97, 5, false);
  test_softmax_loss_sum_leaves_a_large_catalogue_alone();

  test_sample_negatives(0, 7);
  test_sample_negatives(1, 1);
  test_sample_negatives(97, 31);
  test_sample_negatives(4097, 1000003);

  test_cloze_mask({});
  test_cloze_mask({0});
  test_cloze_mask({1});
  std::vector<int32_t> many = {0, 1, 0, 97, 33};
  for (int32_t length = 0; length < 60; ++length) many.push_back(length % 17);
  test_cloze_mask(many);

  test_topk_and_rank(0, 33, 8, 5, 0, 0, 0);
  test_topk_and_rank(1, 1, 1, 1, 1, 0, 0);
  test_topk_and_rank(1, 3000, 16, 10, 33, 0, 0);
  test_topk_and_rank(5, 97, 33, 200, 7, 0, 0);
  test_topk_and_rank(17, 500, 7, 16, 97, 0, 0);
  test_topk_and_rank(300, 97, 31, 9, 0, 0, 0);
  test_topk_and_rank(6, 333, 16, 7, 5, 6, 40);
  test_topk_and_rank(33, 97, 4, 50, 31, 33, 17);
  test_topk_and_rank(40, 200, 97, 3, 1, 1, 31);
  test_topk_and_rank(2, 50, 17, 5, 500, 0, 0);  // nearly everything left out

  test_adamw_rows(0, 8, 5);
  test_adamw_rows(1, 1, 1);
  test_adamw_rows(97, 33, 300);

  test_machine_limits();  // whose threads once wrote one variable
}

}  // namespace
}  // namespace b4r::tests

int main() {
  b4r::tests::test_all();
  return b4r::tests::failures > 0;
}
