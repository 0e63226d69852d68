// The names that a part of a template sees, and its rendering.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/run.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

/// Names and their values. The names' text belongs to the template, or outlives the rendering.
class Scope {
 public:
  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string_view, Value>> names_;
};

/// The template's own names, and those of the loops, or of the macro, that are being rendered.
class Frame {
 public:
  /// Both outlive the frame.
  Frame(Run& run, Scope& top) : run_(run), top_(top) {}

  Run& run() { return run_; }
  Scope& top() { return top_; }

  /// The value of a name, or null.
  const Value* Find(std::string_view name) const;
  /// Sets a name of the innermost scope.
  void Set(std::string_view name, Value value);

  void Push() { inner_.emplace_back(); }
  void Pop() { inner_.pop_back(); }

 private:
  Run& run_;
  Scope& top_;
  std::vector<Scope> inner_;
};

}  // namespace fmaserver::chat
