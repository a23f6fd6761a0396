// SPDX-License-Identifier: BSL-1.0
// A few threads that share numbered tasks: `run(tasks, f)` calls f(task, worker) once for every task and then returns.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// What the cpu backend needs of threads; a host program may bring its own. Every task in [0, tasks) runs once, with a
/// worker number in [0, threads()) that no other running task has, and all are done when `run` returns. What a task
/// does never depends on the number of threads: that is how results come out the same for 1 and for 64.
template <class P>
concept parallel_for = requires(P& pool, index_t tasks, void (*task)(index_t, int)) {
  { pool.threads() } -> std::convertible_to<int>;
  pool.run(tasks, task);
};

/// The threads of a `cpu::device`. The caller works too, so `threads` counts it. `run` may be called by one thread at a
/// time; a `run` inside a task is done by that task's thread alone. An exception of a task comes out of `run`: that of
/// the lowest task which threw. Idle threads look out for work for about 30 µs, then sleep.
class thread_pool {
 public:
  /// `threads` 0: as many as the machine has.
  explicit thread_pool(int threads = 0) {
    if (threads < 0 || threads > 1024)
      throw error(errc::bad_argument, "threads", join("expected 0 to 1024 threads, found ", threads));
    if (threads == 0) threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));
    try {
      ids_.resize(static_cast<std::size_t>(threads));
      helpers_.reserve(static_cast<std::size_t>(threads - 1));
      for (int worker = 1; worker < threads; ++worker) helpers_.emplace_back([this, worker] { help(worker); });
    } catch (const std::system_error&) {
      stop();
      throw error(errc::device, "threads", join("the system refused to start ", threads, " threads; ask for fewer"));
    } catch (...) {
      stop();
      throw;
    }
    for (std::size_t i = 0; i < helpers_.size(); ++i) ids_[i + 1] = helpers_[i].get_id();
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() { stop(); }

  [[nodiscard]] int threads() const noexcept { return static_cast<int>(ids_.size()); }

  /// Calls f(task, worker) for every task in [0, tasks).
  template <class F>
  void run(index_t tasks, F&& f) {
    if (tasks <= 0) return;
    if (running_.load(std::memory_order_relaxed)) return alone(tasks, f, this_worker());
    if (tasks == 1 || helpers_.empty()) {
      const busy guard(running_);
      ids_[0] = std::this_thread::get_id();
      return alone(tasks, f, 0);
    }
    constexpr index_t most = index_t{1} << 30;  // a ticket counts tasks in 32 bits
    for (index_t first = 0; first < tasks; first += most) {
      auto shifted = [&f, first](index_t task, int worker) { f(first + task, worker); };
      share(std::min(most, tasks - first), shifted);
    }
  }

 private:
  /// True while a run lasts, so that a run inside it is recognised.
  class busy {
   public:
    explicit busy(std::atomic<bool>& flag) : flag_(flag) { flag_.store(true, std::memory_order_relaxed); }
    busy(const busy&) = delete;
    busy& operator=(const busy&) = delete;
    ~busy() { flag_.store(false, std::memory_order_relaxed); }

   private:
    std::atomic<bool>& flag_;
  };

  template <class F>
  static void alone(index_t tasks, F& f, int worker) {
    for (index_t task = 0; task < tasks; ++task) f(task, worker);
  }

  template <class F>
  void share(index_t tasks, F& f) {
    const busy guard(running_);
    ids_[0] = std::this_thread::get_id();
    context_.store(&f, std::memory_order_relaxed);
    call_.store([](void* context, index_t task, int worker) { (*static_cast<F*>(context))(task, worker); },
                std::memory_order_relaxed);
    tasks_.store(tasks, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    failed_.store(false, std::memory_order_relaxed);
    const std::uint64_t open = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;  // even: open, odd: closed
    ticket_.store(open << 32);
    if (sleepers_.load() > 0) {
      {
        const std::lock_guard lock(mutex_);
      }  // a helper between its last look and its sleep is waited for
      wake_.notify_all();
    }
    work(0);
    if (!look_out([&] { return done_.load(std::memory_order_acquire) == tasks; })) {
      std::unique_lock lock(mutex_);
      caller_sleeps_.store(true);
      finished_.wait(lock, [&] { return done_.load() == tasks; });
      caller_sleeps_.store(false);
    }
    ticket_.store((open + 1) << 32);
    if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  /// Takes tasks of the open job until none is left. A ticket is (job, next task): whoever moves it on from the job
  /// whose description was read owns a task of that very job, so a description read too late is never used.
  void work(int worker) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      if ((ticket >> 32) % 2 != 0) return;
      const auto call = call_.load(std::memory_order_relaxed);
      void* const context = context_.load(std::memory_order_relaxed);
      const index_t tasks = tasks_.load(std::memory_order_relaxed);
      const auto task = static_cast<index_t>(ticket & 0xffffffffu);
      if (task >= tasks) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      try {
        if (!failed_.load(std::memory_order_relaxed)) call(context, task, worker);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failed_.load(std::memory_order_relaxed) || task < failed_task_) {
          failure_ = std::current_exception();
          failed_task_ = task;
        }
        failed_.store(true, std::memory_order_relaxed);
      }
      if (done_.fetch_add(1) + 1 == tasks && caller_sleeps_.load()) {
        {
          const std::lock_guard lock(mutex_);
        }
        finished_.notify_all();
      }
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void help(int worker) {
    std::uint64_t last = 1;  // the job that was seen last
    const auto news = [&] {
      const std::uint64_t job = ticket_.load() >> 32;
      return job % 2 == 0 && job != last;
    };
    for (;;) {
      if (!look_out([&] { return news() || stopping_.load(); })) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return news() || stopping_.load(); });
        sleepers_.fetch_sub(1);
      }
      if (stopping_.load()) return;
      last = ticket_.load() >> 32;
      work(worker);
    }
  }

  /// Waits busily for a short while; false when it was not enough.
  template <class Condition>
  static bool look_out(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(30);
    do {
      for (int i = 0; i < 64; ++i) {
        if (condition()) return true;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    return condition();
  }
  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  [[nodiscard]] int this_worker() const noexcept {
    const auto found = std::find(ids_.begin(), ids_.end(), std::this_thread::get_id());
    return found == ids_.end() ? 0 : static_cast<int>(found - ids_.begin());
  }

  void stop() noexcept {
    {
      const std::lock_guard lock(mutex_);
      stopping_.store(true);
    }
    wake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  std::atomic<std::uint64_t> ticket_ = std::uint64_t{1} << 32;
  std::atomic<void (*)(void*, index_t, int)> call_ = nullptr;
  std::atomic<void*> context_ = nullptr;
  std::atomic<index_t> tasks_ = 0;
  alignas(64) std::atomic<index_t> done_ = 0;
  std::atomic<int> sleepers_ = 0;
  std::atomic<bool> running_ = false, failed_ = false, stopping_ = false, caller_sleeps_ = false;
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::exception_ptr failure_;
  index_t failed_task_ = 0;
  std::vector<std::thread::id> ids_;
  std::vector<std::thread> helpers_;
};

}  // namespace plumb::inline v0
