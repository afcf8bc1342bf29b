// One loop over independent tasks on several threads. What a task computes does not depend on who runs it, so results do not
// either.
//
// OpenMP, because torch's own thread pool is OpenMP's: sharing it keeps two pools from fighting for the cores. libgomp's threads do
// not survive a fork, and waiting for them would hang, so a forked child runs the loop alone.
#pragma once

#include <cstdint>

#if defined(_OPENMP)
#include <pthread.h>
#endif

namespace b4r {

#if defined(_OPENMP)
inline bool in_forked_child = false;
inline const int watch_forks = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
#endif

// How many tasks of `size` things each cover `count` of them.
inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Run task(0) ... task(tasks - 1) on up to `threads` threads, each taking the next one that is left.
template <class Task>
void parallel_for(int threads, int64_t tasks, const Task& task) {
#if defined(_OPENMP)
  if (threads > 1 && tasks > 1 && !in_forked_child) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < tasks; ++i) task(i);
    return;
  }
#else
  (void)threads;
#endif
  for (int64_t i = 0; i < tasks; ++i) task(i);
}

}  // namespace b4r
