#include "model_loader/chat_template/value.h"

#include <algorithm>

#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

int Nested(int depth) {
  if (depth <= kMaxValueDepth) return depth;
  throw TemplateError(0, "depth of nested lists", Words{"larger"},
                      Concat("up to ", kMaxValueDepth));
}

}  // namespace

Value::Value(MarkedText text) : value_(std::make_shared<const MarkedText>(std::move(text))) {}

Value::Value(Items items) {
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  value_ = std::make_shared<const List>(List{std::move(items), Nested(depth)});
}

Value::Value(Entries entries) {
  int depth = 1;
  for (const Entry& entry : entries) depth = std::max(depth, entry.value.depth() + 1);
  value_ = std::make_shared<const Dict>(Dict{std::move(entries), Nested(depth)});
}

const Items& Value::items() const { return std::get<ListPtr>(value_)->items; }
const Entries& Value::entries() const { return std::get<DictPtr>(value_)->entries; }

const Value* Value::Find(std::string_view key) const {
  for (const Entry& entry : entries()) {
    if (entry.key.bytes() == key) return &entry.value;
  }
  return nullptr;
}

Namespace* Value::space() const {
  const auto* space = std::get_if<Namespace*>(&value_);
  return space == nullptr ? nullptr : *space;
}

const Function* Value::function() const {
  const auto* function = std::get_if<const Function*>(&value_);
  return function == nullptr ? nullptr : *function;
}

int Value::depth() const {
  if (IsList()) return std::get<ListPtr>(value_)->depth;
  if (IsDict()) return std::get<DictPtr>(value_)->depth;
  return 0;
}

int64_t Value::Number(std::string_view what) const {
  if (IsInteger()) return std::get<int64_t>(value_);
  if (IsBool()) return std::get<bool>(value_) ? 1 : 0;
  throw TemplateError(0, what, Words{std::string(Kind())}, "a whole number");
}

bool Value::Truth() const {
  if (IsUndefined() || IsNone()) return false;
  if (IsNumber()) return Number("") != 0;
  if (IsText()) return text().size() > 0;
  if (IsList()) return !items().empty();
  if (IsDict()) return !entries().empty();
  return true;
}

MarkedText Value::Printed() const {
  if (IsText()) return text();
  if (IsUndefined()) return {};
  if (IsNone()) return MarkedText("None");
  if (IsBool()) return MarkedText(std::get<bool>(value_) ? "True" : "False");
  if (IsInteger()) return MarkedText(Concat(std::get<int64_t>(value_)));
  throw TemplateError(0, "what is printed", Words{std::string(Kind())},
                      "texts and numbers; tojson and join make texts of lists");
}

std::string_view Value::Kind() const {
  if (IsUndefined()) return "undefined";
  if (IsNone()) return "none";
  if (IsBool()) return "true or false";
  if (IsInteger()) return "a number";
  if (IsText()) return "a text";
  if (IsList()) return "a list";
  if (IsDict()) return "a dictionary";
  return space() != nullptr ? "a namespace" : "a function";
}

}  // namespace fmaserver::chat
