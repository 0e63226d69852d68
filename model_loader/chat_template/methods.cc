#include <string>

#include "model_loader/chat_template/builtin.h"
#include "model_loader/chat_template/operators.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/text_operations.h"

namespace fmaserver::chat {
namespace {

using Given = std::span<const Value>;

const MarkedText& Subject(const Value& value) {
  return TextIn(value, "what a text's method is called on");
}

const Value& DictIn(const Value& value) {
  if (value.IsDict()) return value;
  throw TemplateError(0, "what a dictionary's method is called on",
                      Words{std::string(value.Kind())}, "a dictionary");
}

int64_t Most(const Value& given) { return given.IsUndefined() ? -1 : given.Number("count"); }

Value MethodCapitalize(Run& run, const Value& subject, Given /*given*/) {
  return Capitalized(run, Subject(subject));
}

Value CountIn(Run& run, const Value& subject, Given given) {
  TextIn(given[0], "what is counted");
  return std::ssize(Split(run, Subject(subject), given[0], -1)) - int64_t{1};
}

/// Whether `matches` one text, or one of several.
template <typename Matches>
bool AnyOf(const Value& given, Matches matches) {
  if (!given.IsList()) return matches(TextIn(given, "what a text may begin or end with").bytes());
  for (const Value& one : given.items()) {
    if (matches(TextIn(one, "what a text may begin or end with").bytes())) return true;
  }
  return false;
}

Value StartsWith(Run& /*run*/, const Value& subject, Given given) {
  const std::string& text = Subject(subject).bytes();
  return AnyOf(given[0], [&text](const std::string& part) { return text.starts_with(part); });
}

Value EndsWith(Run& /*run*/, const Value& subject, Given given) {
  const std::string& text = Subject(subject).bytes();
  return AnyOf(given[0], [&text](const std::string& part) { return text.ends_with(part); });
}

Value FindIn(Run& run, const Value& subject, Given given) {
  const MarkedText& text = Subject(subject);
  const size_t place = Position(run, text, TextIn(given[0], "what is looked for"));
  return place == std::string::npos ? int64_t{-1} : CountCharacters(text.Slice(0, place));
}

Value GetFrom(Run& run, const Value& subject, Given given) {
  Value found = Item(run, DictIn(subject), given[0]);
  if (!found.IsUndefined()) return found;
  return given[1].IsUndefined() ? None{} : given[1];
}

Value ItemsIn(Run& run, const Value& subject, Given given) {
  return Find(Filters(), "items")->call(run, DictIn(subject), given);
}

Value JoinItems(Run& run, const Value& subject, Given given) {
  return Joined(run, Iterated(run, given[0]), Subject(subject));
}

Value KeysOf(Run& run, const Value& subject, Given /*given*/) {
  return Iterated(run, DictIn(subject));
}

Value MethodLower(Run& run, const Value& subject, Given /*given*/) {
  return Lowercase(run, Subject(subject));
}

Value RemovePrefix(Run& run, const Value& subject, Given given) {
  const MarkedText& text = Subject(subject);
  run.Touch(text.size());
  const std::string& prefix = TextIn(given[0], "prefix").bytes();
  return text.Slice(text.bytes().starts_with(prefix) ? prefix.size() : 0, text.size());
}

Value RemoveSuffix(Run& run, const Value& subject, Given given) {
  const MarkedText& text = Subject(subject);
  run.Touch(text.size());
  const std::string& suffix = TextIn(given[0], "suffix").bytes();
  return text.Slice(0, text.size() - (text.bytes().ends_with(suffix) ? suffix.size() : 0));
}

Value MethodReplace(Run& run, const Value& subject, Given given) {
  return Replaced(run, Subject(subject), TextIn(given[0], "what is replaced"),
                  TextIn(given[1], "what replaces"), Most(given[2]));
}

Value SplitText(Run& run, const Value& subject, Given given) {
  return Split(run, Subject(subject), given[0], Most(given[1]));
}

Value SplitTextFromEnd(Run& run, const Value& subject, Given given) {
  return SplitFromEnd(run, Subject(subject), TextIn(given[0], "separator of rsplit"),
                      Most(given[1]));
}

Value Strip(Run& run, const Value& subject, Given given) {
  return Stripped(run, Subject(subject), given[0], Sides::kBoth);
}

Value StripLeft(Run& run, const Value& subject, Given given) {
  return Stripped(run, Subject(subject), given[0], Sides::kLeft);
}

Value StripRight(Run& run, const Value& subject, Given given) {
  return Stripped(run, Subject(subject), given[0], Sides::kRight);
}

Value MethodTitle(Run& run, const Value& subject, Given /*given*/) {
  return Titled(run, Subject(subject), "");
}

Value MethodUpper(Run& run, const Value& subject, Given /*given*/) {
  return Uppercase(run, Subject(subject));
}

Value ValuesOf(Run& run, const Value& subject, Given /*given*/) {
  Items values;
  for (const Entry& entry : DictIn(subject).entries()) values.push_back(entry.value);
  run.Step(std::ssize(values));
  return values;
}

constexpr std::array<Builtin, 21> kMethods = {{
    {"capitalize", MethodCapitalize},
    {"count", CountIn, {"sub"}},
    {"endswith", EndsWith, {"suffix"}},
    {"find", FindIn, {"sub"}},
    {"get", GetFrom, {"key", "default"}},
    {"items", ItemsIn},
    {"join", JoinItems, {"iterable"}},
    {"keys", KeysOf},
    {"lower", MethodLower},
    {"lstrip", StripLeft, {"chars"}},
    {"removeprefix", RemovePrefix, {"prefix"}},
    {"removesuffix", RemoveSuffix, {"suffix"}},
    {"replace", MethodReplace, {"old", "new", "count"}},
    {"rsplit", SplitTextFromEnd, {"sep", "maxsplit"}},
    {"rstrip", StripRight, {"chars"}},
    {"split", SplitText, {"sep", "maxsplit"}},
    {"startswith", StartsWith, {"prefix"}},
    {"strip", Strip, {"chars"}},
    {"title", MethodTitle},
    {"upper", MethodUpper},
    {"values", ValuesOf},
}};

}  // namespace

Builtins Methods() { return kMethods; }

}  // namespace fmaserver::chat
