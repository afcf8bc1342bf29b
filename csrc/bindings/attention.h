#pragma once

#include "bindings/bind.h"
#include "cpu/attention.h"

inline void bind_attention(pybind11::module_& m) {
  m.def(
      "attention",
      [](Address q, int64_t q_token, Address k, int64_t k_token, Address v, int64_t v_token,
         Address out, Address lse, Address cu_q, Address cu_k, int64_t sequences, int64_t heads,
         int64_t d, float scale, int64_t seed, int32_t threshold, int threads) {
        b4r::attention({q, q_token}, {k, k_token}, {v, v_token}, {out, heads * d}, lse,
                       {cu_q, cu_k, sequences, heads, d, scale}, dropout(seed, threshold), threads);
      },
      without_gil());
  m.def(
      "attention_backward",
      [](Address dout, Address q, int64_t q_token, Address k, int64_t k_token, Address v,
         int64_t v_token, Address dq, int64_t dq_token, Address dk, int64_t dk_token, Address dv,
         int64_t dv_token, Address out, Address lse, Address cu_q, Address cu_k, int64_t sequences,
         int64_t heads, int64_t d, float scale, int64_t seed, int32_t threshold, int threads) {
        const int64_t token = heads * d;
        b4r::attention_backward({dout, token}, {q, q_token}, {k, k_token}, {v, v_token},
                                {out, token}, lse, {dq, dq_token}, {dk, dk_token}, {dv, dv_token},
                                {cu_q, cu_k, sequences, heads, d, scale}, dropout(seed, threshold),
                                threads);
      },
      without_gil());
}
