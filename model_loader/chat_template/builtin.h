// Filters, tests and methods: what a template can do to a value by a fixed name.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "model_loader/chat_template/run.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

struct Builtin {
  static constexpr size_t kMaxParameters = 3;

  std::string_view name;
  /// `arguments` has kMaxParameters values, undefined where none was given.
  Value (*call)(Run& run, const Value& subject, std::span<const Value> arguments);
  std::array<std::string_view, kMaxParameters> parameters = {};  ///< the last may be empty
};

using Builtins = std::span<const Builtin>;

/// "x|trim", "x is string", "x.strip()".
Builtins Filters();
Builtins Tests();
Builtins Methods();

/// The one of this name, or null.
const Builtin* Find(Builtins builtins, std::string_view name);
std::string Names(Builtins builtins);

/// A text that `what` is about. Throws TemplateError for anything else.
const MarkedText& TextIn(const Value& value, std::string_view what);

/// What a loop runs over: a list's items, a dictionary's keys, a text's characters, nothing for
/// what is undefined. Throws TemplateError for anything else.
Items Iterated(Run& run, const Value& value);

}  // namespace fmaserver::chat
