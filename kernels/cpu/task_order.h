// The order in which threads take the tasks of a layer's attention, and what each of them waits
// for. A KV head that is divided needs its scans (divided_scans.h) and its beginning
// (head_parts.h). No thread waits for all others between these and the rest.
#pragma once

#include <atomic>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "kernels/cpu/divided_scans.h"
#include "kernels/cpu/head_parts.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::kernels::cpu {

class TaskOrder {
 public:
  enum class Kind { kScan, kBegin, kHead };

  struct Task {
    Kind kind;
    int64_t index;    ///< of DividedScans::parts(), HeadParts::divided() or HeadParts::all()
    int64_t kv_head;  ///< of all KV heads of all segments
  };

  /// For `segments` segments of `kv_heads` KV heads each.
  TaskOrder(int64_t segments, int64_t kv_heads, const DividedScans& scans, const HeadParts& heads,
            int threads)
      : needs_(static_cast<size_t>(segments * kv_heads)), left_(needs_.size()) {
    const auto count = std::ssize(needs_);
    // Heads that leave threads with nothing to do at the end come earlier where they can: while
    // the scans of as many others go on.
    const bool all_scan = count > 0 && scans.Groups(0, 0) > 0;
    const int64_t early = all_scan && count > threads ? count % threads : 0;
    const auto number = [=](const auto& of) { return of.segment * kv_heads + of.kv_head; };
    AddThose(Kind::kScan, scans.parts(), number, 0, count - early);
    AddThose(Kind::kBegin, heads.divided(), number, 0, count - early);
    AddThose(Kind::kHead, heads.all(), number, 0, early);
    AddThose(Kind::kScan, scans.parts(), number, count - early, count);
    AddThose(Kind::kBegin, heads.divided(), number, count - early, count);
    AddThose(Kind::kHead, heads.all(), number, early, count);
  }

  /// Each comes behind what it waits for.
  std::span<const Task> tasks() const { return tasks_; }

  /// Before the tasks of another layer.
  void Restart() {
    for (size_t i = 0; i < needs_.size(); ++i) {
      left_[i].store(needs_[i], std::memory_order_relaxed);
    }
  }

  /// Returns when all has ended that a task needs which was taken.
  void Await(const Task& task) const {
    if (task.kind != Kind::kHead) return;
    const std::atomic<int>& left = left_[task.kv_head];
    while (left.load(std::memory_order_acquire) > 0) ThreadPool::Pause();
  }

  void End(const Task& task) {
    if (task.kind != Kind::kHead) left_[task.kv_head].fetch_sub(1, std::memory_order_release);
  }

 private:
  /// Those of the KV heads [first, end).
  template <class Parts, class Number>
  void AddThose(Kind kind, const Parts& parts, const Number& number, int64_t first, int64_t end) {
    for (int64_t i = 0; i < std::ssize(parts); ++i) {
      const int64_t kv_head = number(parts[i]);
      if (kv_head < first || kv_head >= end) continue;
      tasks_.push_back({kind, i, kv_head});
      if (kind != Kind::kHead) ++needs_[kv_head];
    }
  }

  std::vector<Task> tasks_;
  std::vector<int> needs_;              // scans and beginnings of each KV head
  std::vector<std::atomic<int>> left_;  // of these, those that have not ended
};

}  // namespace fmaserver::kernels::cpu
