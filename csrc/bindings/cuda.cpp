// The Python module of the CUDA kernels. It is compiled without CUDA: the launchers' headers know
// none.
#include "bindings/address.h"
#include "cuda/cloze_mask.h"
#include "cuda/rank.h"
#include "cuda/sample_negatives.h"
#include "cuda/sampled_softmax_loss.h"
#include "cuda/topk.h"

namespace py = pybind11;
namespace cuda = b4r::cuda;

// Raises RuntimeError with CUDA's own words where a launch fails.
PYBIND11_MODULE(_cuda, m) {
  // The device type of the tensors that the kernels take. The tests build the same sources for the
  // CPU.
  m.attr("DEVICE") = B4R_DEVICE;
  m.attr("MOST_KEPT") = cuda::kMostKept;
  m.attr("MOST_COLUMNS") = cuda::kMostColumns;
  m.attr("ITEMS_OF_BLOCK") = cuda::kItems;
  py::enum_<cuda::Dtype>(m, "Dtype")
      .value("fp32", cuda::Dtype::fp32)
      .value("bf16", cuda::Dtype::bf16)
      .value("fp16", cuda::Dtype::fp16);

  m.def(
      "cloze_mask",
      [](Address values, Address cu_seqlens, Address inputs, Address labels, int64_t sequences,
         uint64_t threshold, uint64_t last_threshold, int64_t mask_id, Address seed,
         Address stream) {
        cuda::cloze_mask(values, cu_seqlens, inputs, labels, sequences, threshold, last_threshold,
                         mask_id, seed, stream);
      },
      without_gil());

  py::class_<cuda::Draws>(m, "Draws")
      .def(py::init([](Address rows, Address log_q, int64_t count, double expected, Address seed) {
        return cuda::Draws{rows, log_q, count, expected, seed};
      }));
  m.def(
      "sample_uniform",
      [](const cuda::Draws& draws, int64_t num_items, Address stream) {
        cuda::sample_uniform(draws, num_items, stream);
      },
      without_gil());
  m.def(
      "sample_log_uniform",
      [](const cuda::Draws& draws, int64_t num_items, double log2_size, Address exp2,
         Address stream) { cuda::sample_log_uniform(draws, num_items, log2_size, exp2, stream); },
      without_gil());
  m.def("guide_size", &cuda::guide_size);
  m.def(
      "sample_popularity",
      [](const cuda::Draws& draws, Address counts, Address cumulative, int64_t num_items,
         Address guide, Address stream) {
        cuda::sample_popularity(draws, counts, cumulative, num_items, guide, stream);
      },
      without_gil());

  py::class_<cuda::SampledRows>(m, "SampledRows")
      .def(py::init([](cuda::Dtype dtype, Address hidden, Address items, Address bias,
                       Address targets, Address negatives, Address log_q, int64_t rows,
                       int64_t num_negatives, int64_t d) {
        return cuda::SampledRows{dtype,     hidden, items, bias,          targets,
                                 negatives, log_q,  rows,  num_negatives, d};
      }))
      .def("partials_size", &cuda::partials_size);
  m.def("most_columns", &cuda::most_columns);
  m.def(
      "sampled_softmax_loss",
      [](const cuda::SampledRows& in, Address loss, Address dhidden, Address lse, Address stream) {
        cuda::sampled_softmax_loss(in, loss, dhidden, lse, stream);
      },
      without_gil());
  m.def(
      "sampled_softmax_loss_backward",
      [](const cuda::SampledRows& in, Address dloss, Address loss, Address lse, Address ordered,
         Address order, Address ditems, Address dbias, Address partials, Address stream) {
        cuda::sampled_softmax_loss_backward(in, dloss, loss, lse, ordered, order, ditems, dbias,
                                            partials, stream);
      },
      without_gil());

  py::class_<cuda::ScoredItems>(m, "ScoredItems")
      .def(py::init([](cuda::Dtype dtype, Address hidden, Address items, Address bias, int64_t rows,
                       int64_t num_items, int64_t d, int64_t splits) {
        return cuda::ScoredItems{dtype, hidden, items, bias, rows, num_items, d, splits};
      }));
  m.def("rows_of_block", &cuda::rows_of_block);
  m.def(
      "topk",
      [](const cuda::ScoredItems& in, int64_t k, Address exclude, Address offsets, Address best,
         Address scores, Address rows,
         Address stream) { cuda::topk(in, k, exclude, offsets, best, scores, rows, stream); },
      without_gil());
  m.attr("ROWS_OF_RANK") = cuda::kRowsOfRank;
  m.def(
      "count_not_below",
      [](const cuda::ScoredItems& in, Address targets, Address counts, Address stream) {
        cuda::count_not_below(in, targets, counts, stream);
      },
      without_gil());
  m.def(
      "subtract_excluded",
      [](const cuda::ScoredItems& in, Address targets, Address exclude, Address offsets,
         Address ranks,
         Address stream) { cuda::subtract_excluded(in, targets, exclude, offsets, ranks, stream); },
      without_gil());
}
