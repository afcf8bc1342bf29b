// One loop over independent tasks on several threads. What a task computes does not depend on who
// runs it, so results do not either.
//
// OpenMP, because torch's own thread pool is OpenMP's: sharing it keeps two pools from fighting for
// the cores. libgomp's threads do not survive a fork, and waiting for them would hang, so a forked
// child runs the loop alone.
#pragma once

#include <cstdint>

#if defined(B4R_SANITIZE_THREAD)
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <pthread.h>
#endif

namespace b4r {

// How many tasks of `size` things each cover `count` of them.
inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

#if defined(B4R_SANITIZE_THREAD)

// ThreadSanitizer follows only what is compiled with it. libgomp is not: the end of each of its
// loops would be taken for a race. Neighbouring tasks go to different threads, and nothing orders
// those, so that a race between those shows on any schedule.
template <class Task>
void parallel_for(int threads, int64_t tasks, const Task& task) {
  std::vector<std::thread> others;
  const auto work = [&](int64_t thread) {
    for (int64_t i = thread; i < tasks; i += threads) task(i);
  };
  for (int64_t thread = 1; thread < threads && thread < tasks; ++thread)
    others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
}

template <class Task>
void parallel_for_again(int threads, int64_t tasks, const Task& task) {
  parallel_for(threads, tasks, task);
}

#else

#if defined(_OPENMP)
inline bool in_forked_child = false;
inline const int watch_forks = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
#endif

template <bool SAME_THREADS, class Task>
void run_tasks(int threads, int64_t tasks, const Task& task) {
#if defined(_OPENMP)
  if (threads > 1 && tasks > 1 && !in_forked_child) {
    if constexpr (SAME_THREADS) {
#pragma omp parallel for num_threads(threads) schedule(static)
      for (int64_t i = 0; i < tasks; ++i) task(i);
    } else {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
      for (int64_t i = 0; i < tasks; ++i) task(i);
    }
    return;
  }
#else
  (void)threads;
#endif
  for (int64_t i = 0; i < tasks; ++i) task(i);
}

// Run task(0) ... task(tasks - 1) on up to `threads` threads, each taking the next one that is
// left.
template <class Task>
void parallel_for(int threads, int64_t tasks, const Task& task) {
  run_tasks<false>(threads, tasks, task);
}

// The same for loop after loop over what a task's last run left in its core's cache: task i always
// has the same thread.
template <class Task>
void parallel_for_again(int threads, int64_t tasks, const Task& task) {
  run_tasks<true>(threads, tasks, task);
}

#endif

}  // namespace b4r
