// The values of a template's expressions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model_loader/chat_template/marked_text.h"

namespace fmaserver::chat {

class Function;
class Namespace;
class Value;

/// What a name or a key means that there is not.
struct Undefined {
  std::string name;
};
struct None {};

/// A list or a tuple, and a dictionary in the order of its keys. Never changed once made, and
/// nested at most kMaxValueDepth deep.
struct List;
struct Dict;
struct Entry;

using Items = std::vector<Value>;
using Entries = std::vector<Entry>;

using TextPtr = std::shared_ptr<const MarkedText>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;

inline constexpr int kMaxValueDepth = 32;

class Value {
 public:
  Value() : value_(Undefined{"value"}) {}
  Value(Undefined undefined) : value_(std::move(undefined)) {}  // NOLINT: so are the next ones
  Value(None none) : value_(none) {}                            // NOLINT
  Value(bool truth) : value_(truth) {}                          // NOLINT
  Value(int64_t number) : value_(number) {}                     // NOLINT
  Value(MarkedText text);                                       // NOLINT
  Value(Items items);                                           // NOLINT
  Value(Entries entries);                                       // NOLINT
  Value(Namespace* space) : value_(space) {}                    // NOLINT: lives as long as the run
  Value(const Function* function) : value_(function) {}         // NOLINT: likewise
  Value(const char* text) = delete;

  bool IsUndefined() const { return std::holds_alternative<Undefined>(value_); }
  bool IsNone() const { return std::holds_alternative<None>(value_); }
  bool IsBool() const { return std::holds_alternative<bool>(value_); }
  bool IsInteger() const { return std::holds_alternative<int64_t>(value_); }
  bool IsText() const { return std::holds_alternative<TextPtr>(value_); }
  bool IsList() const { return std::holds_alternative<ListPtr>(value_); }
  bool IsDict() const { return std::holds_alternative<DictPtr>(value_); }

  /// The value, which must be of the kind.
  const MarkedText& text() const { return *std::get<TextPtr>(value_); }
  const Items& items() const;
  const Entries& entries() const;
  /// The value under a key, or null.
  const Value* Find(std::string_view key) const;
  /// Null, unless it is one.
  Namespace* space() const;
  const Function* function() const;
  const std::string& undefined_name() const { return std::get<Undefined>(value_).name; }

  /// True and false are numbers too. Throws TemplateError for anything else; `what` names it.
  int64_t Number(std::string_view what) const;
  bool IsNumber() const { return IsInteger() || IsBool(); }

  bool Truth() const;
  /// As a template prints it. Throws TemplateError for what has no text.
  MarkedText Printed() const;
  /// "a text", "a list", ... for messages.
  std::string_view Kind() const;
  int depth() const;

 private:
  std::variant<Undefined, None, bool, int64_t, TextPtr, ListPtr, DictPtr, Namespace*,
               const Function*>
      value_;
};

struct Entry {
  MarkedText key;
  Value value;
};

struct List {
  Items items;
  int depth = 1;
};

struct Dict {
  Entries entries;
  int depth = 1;
};

/// Text that the template wrote.
inline Value Written(std::string_view text) { return MarkedText(std::string(text)); }

}  // namespace fmaserver::chat
