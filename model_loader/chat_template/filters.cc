#include <algorithm>
#include <charconv>
#include <string>

#include "model_loader/chat_template/builtin.h"
#include "model_loader/chat_template/json_text.h"
#include "model_loader/chat_template/operators.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/text_operations.h"

namespace fmaserver::chat {
namespace {

using Given = std::span<const Value>;

Value Absolute(Run& /*run*/, const Value& subject, Given /*given*/) {
  const int64_t number = subject.Number("operand of abs");
  return number < 0 ? Negative(number) : Value(number);
}

Value Capitalize(Run& run, const Value& subject, Given /*given*/) {
  return Capitalized(run, subject.Printed());
}

Value Default(Run& /*run*/, const Value& subject, Given given) {
  const bool replace = subject.IsUndefined() || (given[1].Truth() && !subject.Truth());
  if (!replace) return subject;
  return given[0].IsUndefined() ? MarkedText() : given[0];
}

Value DictSort(Run& run, const Value& subject, Given /*given*/) {
  if (!subject.IsDict()) {
    throw TemplateError(0, "operand of dictsort", Words{std::string(subject.Kind())},
                        "a dictionary");
  }
  std::vector<std::pair<std::string, Value>> sorted;
  for (const Entry& entry : subject.entries()) {
    sorted.emplace_back(Lowercase(run, entry.key).bytes(), Items{entry.key, entry.value});
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Items pairs;
  for (auto& [key, pair] : sorted) pairs.push_back(std::move(pair));
  return pairs;
}

Value First(Run& run, const Value& subject, Given /*given*/) {
  const Items items = Iterated(run, subject);
  return items.empty() ? Undefined{"first"} : items.front();
}

Value Last(Run& run, const Value& subject, Given /*given*/) {
  const Items items = Iterated(run, subject);
  return items.empty() ? Undefined{"last"} : items.back();
}

Value ToInteger(Run& /*run*/, const Value& subject, Given given) {
  if (subject.IsNumber()) return subject.Number("");
  Value otherwise = given[0].IsUndefined() ? Value(int64_t{0}) : given[0];
  if (!subject.IsText()) return otherwise;
  const std::string& text = subject.text().bytes();
  int64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = read.ec == std::errc() && read.ptr == text.data() + text.size();
  return whole ? Value(number) : otherwise;
}

Value ItemsOf(Run& run, const Value& subject, Given /*given*/) {
  Items pairs;
  if (subject.IsUndefined()) return pairs;
  if (!subject.IsDict()) {
    throw TemplateError(0, "operand of items", Words{std::string(subject.Kind())}, "a dictionary");
  }
  run.Step(Length(subject));
  for (const Entry& entry : subject.entries()) {
    pairs.emplace_back(Items{entry.key, entry.value});
  }
  return pairs;
}

Value Attribute(Run& run, const Value& item, const Value& path) {
  return path.IsUndefined() ? item : Item(run, item, path);
}

Value Join(Run& run, const Value& subject, Given given) {
  Items items = Iterated(run, subject);
  for (Value& item : items) item = Attribute(run, item, given[1]);
  return Joined(run, items, given[0].Printed());
}

Value LengthOf(Run& run, const Value& subject, Given /*given*/) {
  if (subject.IsText()) run.Touch(subject.text().size());
  return Length(subject);
}

Value ToList(Run& run, const Value& subject, Given /*given*/) { return Iterated(run, subject); }

Value Lower(Run& run, const Value& subject, Given /*given*/) {
  return Lowercase(run, subject.Printed());
}

Value Upper(Run& run, const Value& subject, Given /*given*/) {
  return Uppercase(run, subject.Printed());
}

/// "map('upper')" and "map(attribute='name')".
Value Map(Run& run, const Value& subject, Given given) {
  Items items = Iterated(run, subject);
  const Builtin* filter = nullptr;
  if (given[1].IsUndefined()) {
    const std::string& name = TextIn(given[0], "filter of map").bytes();
    filter = Find(Filters(), name);
    if (filter == nullptr) throw TemplateError(0, "filter of map", name, Names(Filters()));
  }
  const std::array<Value, Builtin::kMaxParameters> none;
  for (Value& item : items) {
    if (filter != nullptr) {
      item = filter->call(run, item, none);
    } else {
      const Value found = Attribute(run, item, given[1]);
      item = found.IsUndefined() ? given[2] : found;
    }
  }
  return items;
}

Value Replace(Run& run, const Value& subject, Given given) {
  const int64_t most = given[2].IsUndefined() ? -1 : given[2].Number("count of replace");
  return Replaced(run, subject.Printed(), given[0].Printed(), given[1].Printed(), most);
}

Value Reverse(Run& run, const Value& subject, Given /*given*/) {
  return Slice(run, subject, Undefined{}, Undefined{}, int64_t{-1});
}

Value Same(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.IsText() ? subject : Value(subject.Printed());
}

/// The items for which the test `name`, or without one their truth, is `wanted`.
Items Chosen(Run& run, const Value& subject, const Value& attribute, const Value& name,
             const Value& argument, bool wanted) {
  const Builtin* test = nullptr;
  if (!name.IsUndefined()) {
    const std::string& text = TextIn(name, "test").bytes();
    test = Find(Tests(), text);
    if (test == nullptr) throw TemplateError(0, "test", text, Names(Tests()));
  }
  std::array<Value, Builtin::kMaxParameters> arguments;
  arguments[0] = argument;
  Items chosen;
  for (const Value& item : Iterated(run, subject)) {
    const Value tested = Attribute(run, item, attribute);
    const bool is = test == nullptr ? tested.Truth() : test->call(run, tested, arguments).Truth();
    if (is == wanted) chosen.push_back(item);
  }
  return chosen;
}

Value Select(Run& run, const Value& subject, Given given) {
  return Chosen(run, subject, Undefined{}, given[0], given[1], true);
}

Value Reject(Run& run, const Value& subject, Given given) {
  return Chosen(run, subject, Undefined{}, given[0], given[1], false);
}

Value SelectAttribute(Run& run, const Value& subject, Given given) {
  return Chosen(run, subject, given[0], given[1], given[2], true);
}

Value RejectAttribute(Run& run, const Value& subject, Given given) {
  return Chosen(run, subject, given[0], given[1], given[2], false);
}

Value Title(Run& run, const Value& subject, Given /*given*/) {
  return Titled(run, subject.Printed(), "- \t\n\v\f\r({[<");
}

Value Json(Run& run, const Value& subject, Given given) {
  const bool one_line = given[0].IsUndefined() || given[0].IsNone();
  return ToJson(run, subject, one_line ? -1 : given[0].Number("indent of tojson"));
}

Value Trim(Run& run, const Value& subject, Given given) {
  return Stripped(run, subject.Printed(), given[0], Sides::kBoth);
}

Value Unique(Run& run, const Value& subject, Given /*given*/) {
  Items unique;
  for (const Value& item : Iterated(run, subject)) {
    run.Step(std::ssize(unique));
    const bool known = std::any_of(unique.begin(), unique.end(),
                                   [&](const Value& one) { return Equal(run, one, item); });
    if (!known) unique.push_back(item);
  }
  return unique;
}

constexpr std::array<Builtin, 28> kFilters = {{
    {"abs", Absolute},
    {"capitalize", Capitalize},
    {"count", LengthOf},
    {"d", Default, {"default_value", "boolean"}},
    {"default", Default, {"default_value", "boolean"}},
    {"dictsort", DictSort},
    {"first", First},
    {"int", ToInteger, {"default"}},
    {"items", ItemsOf},
    {"join", Join, {"d", "attribute"}},
    {"last", Last},
    {"length", LengthOf},
    {"list", ToList},
    {"lower", Lower},
    {"map", Map, {"filter", "attribute", "default"}},
    {"reject", Reject, {"test", "argument"}},
    {"rejectattr", RejectAttribute, {"attribute", "test", "argument"}},
    {"replace", Replace, {"old", "new", "count"}},
    {"reverse", Reverse},
    {"safe", Same},
    {"select", Select, {"test", "argument"}},
    {"selectattr", SelectAttribute, {"attribute", "test", "argument"}},
    {"string", Same},
    {"title", Title},
    {"tojson", Json, {"indent"}},
    {"trim", Trim, {"chars"}},
    {"unique", Unique},
    {"upper", Upper},
}};

}  // namespace

Builtins Filters() { return kFilters; }

}  // namespace fmaserver::chat
