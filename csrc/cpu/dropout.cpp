// y = x scale where an element is kept, else 0. Its own backward, on the gradient.
//
// x, y: (rows, d) contiguous; y is overwritten. Bytes a number: 8; operations: 1, and 1.75 products
// of Philox.
#include "cpu/dropout.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"

namespace b4r {
namespace {

constexpr int64_t kRowsPerTask = 128;
constexpr int64_t kRows = 4;  // of which the masks are drawn at a time: they stay in L1

}  // namespace

void dropout(const float* x, float* y, int64_t rows, int64_t d, const Dropout& dropout,
             int threads) {
  parallel_for(threads, blocks_of(rows, kRowsPerTask), [&](int64_t task) {
    Scratch scratch;
    Keep* keep = reinterpret_cast<Keep*>(scratch.take(keep_count(kRows, d) / 2));
    const KeepDraw draw(dropout);
    const Vec scale = broadcast(dropout.scale);
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t first = task * kRowsPerTask; first < end; first += kRows) {
      const int64_t count = std::min(kRows, end - first);
      prefetch(x + first * d, count * d);
      keep_rows(draw, static_cast<uint32_t>(first), count, d, keep);
      for (int64_t r = 0; r < count; ++r) {
        for_columns(d, [&, at = (first + r) * d, mask = keep + r * keep_stride(d)](int64_t c,
                                                                                   auto columns) {
          columns.store(y + at + c, keep_where(mask + c, columns.load(x + at + c)) * scale);
        });
      }
    }
  });
}

}  // namespace b4r
