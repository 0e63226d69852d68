// One rendering: what it may still cost, and where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <deque>
#include <functional>

#include "model_loader/chat_template/namespace.h"

namespace fmaserver::chat {

/// The local time, which some templates print.
using LocalTime = std::function<std::tm()>;

/// Functions throw TemplateError when the rendering would cost more than it may.
class Run {
 public:
  /// `input_bytes`: what the messages have. A template may read and write a multiple of it.
  Run(size_t input_bytes, LocalTime local_time)
      : bytes_left_(kBytesAtLeast + kBytesForEach * static_cast<int64_t>(input_bytes)),
        local_time_(std::move(local_time)) {}

  /// Something small is done `count` times.
  void Step(int64_t count = 1);
  /// So many bytes are read or written.
  void Touch(size_t bytes);

  /// The line that is being rendered.
  void SetLine(int line) { line_ = line; }
  int line() const { return line_; }

  /// A macro begins or ends.
  void Enter();
  void Leave() { --depth_; }

  /// Lives as long as the rendering.
  Namespace* MakeNamespace() { return &namespaces_.emplace_back(); }

  std::tm Now() const { return local_time_(); }

 private:
  static constexpr int64_t kSteps = 4'000'000;
  static constexpr int64_t kBytesAtLeast = int64_t{16} << 20;
  static constexpr int64_t kBytesForEach = 64;
  static constexpr int kMaxCalls = 16;

  int64_t steps_left_ = kSteps;
  int64_t bytes_left_;
  int depth_ = 0;
  int line_ = 0;
  std::deque<Namespace> namespaces_;
  LocalTime local_time_;
};

}  // namespace fmaserver::chat
