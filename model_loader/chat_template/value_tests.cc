#include <algorithm>
#include <string>

#include "model_loader/chat_template/builtin.h"
#include "model_loader/chat_template/operators.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/text_operations.h"

namespace fmaserver::chat {
namespace {

using Given = std::span<const Value>;

Value IsDefined(Run& /*run*/, const Value& subject, Given /*given*/) {
  return !subject.IsUndefined();
}
Value IsUndefined(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.IsUndefined();
}
Value IsNone(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsNone(); }
Value IsBoolean(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsBool(); }
Value IsTrue(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.IsBool() && subject.Truth();
}
Value IsFalse(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.IsBool() && !subject.Truth();
}
Value IsInteger(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsInteger(); }
Value IsNumber(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsNumber(); }
Value IsString(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsText(); }
Value IsMapping(Run& /*run*/, const Value& subject, Given /*given*/) { return subject.IsDict(); }

/// What is undefined can be gone through too.
Value IsIterable(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.IsText() || subject.IsList() || subject.IsDict() || subject.IsUndefined();
}

Value IsCallable(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.function() != nullptr;
}

Value IsEqual(Run& run, const Value& subject, Given given) { return Equal(run, subject, given[0]); }
Value IsUnequal(Run& run, const Value& subject, Given given) {
  return !Equal(run, subject, given[0]);
}
Value IsLess(Run& /*run*/, const Value& subject, Given given) { return Less(subject, given[0]); }
Value IsGreater(Run& /*run*/, const Value& subject, Given given) { return Less(given[0], subject); }
Value IsAtMost(Run& /*run*/, const Value& subject, Given given) { return !Less(given[0], subject); }
Value IsAtLeast(Run& /*run*/, const Value& subject, Given given) {
  return !Less(subject, given[0]);
}

Value IsIn(Run& run, const Value& subject, Given given) { return Contains(run, given[0], subject); }

Value IsDivisible(Run& run, const Value& subject, Given given) {
  return !Arithmetic(run, "%", subject.Number("operand of divisibleby"), given[0].Number("divisor"))
              .Truth();
}
Value IsEven(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.Number("operand of even") % 2 == 0;
}
Value IsOdd(Run& /*run*/, const Value& subject, Given /*given*/) {
  return subject.Number("operand of odd") % 2 != 0;
}

/// Whether there is a letter that has cases, and none of the other case.
bool IsCase(const MarkedText& text, const MarkedText& mapped, const MarkedText& other) {
  return text.bytes() == mapped.bytes() && mapped.bytes() != other.bytes();
}
Value IsLower(Run& run, const Value& subject, Given /*given*/) {
  const MarkedText text = subject.Printed();
  return IsCase(text, Lowercase(run, text), Uppercase(run, text));
}
Value IsUpper(Run& run, const Value& subject, Given /*given*/) {
  const MarkedText text = subject.Printed();
  return IsCase(text, Uppercase(run, text), Lowercase(run, text));
}

constexpr std::array<Builtin, 34> kTests = {{
    {"!=", IsUnequal, {"other"}},
    {"<", IsLess, {"other"}},
    {"<=", IsAtMost, {"other"}},
    {"==", IsEqual, {"other"}},
    {">", IsGreater, {"other"}},
    {">=", IsAtLeast, {"other"}},
    {"boolean", IsBoolean},
    {"callable", IsCallable},
    {"defined", IsDefined},
    {"divisibleby", IsDivisible, {"num"}},
    {"eq", IsEqual, {"other"}},
    {"equalto", IsEqual, {"other"}},
    {"even", IsEven},
    {"false", IsFalse},
    {"ge", IsAtLeast, {"other"}},
    {"greaterthan", IsGreater, {"other"}},
    {"gt", IsGreater, {"other"}},
    {"in", IsIn, {"seq"}},
    {"integer", IsInteger},
    {"iterable", IsIterable},
    {"le", IsAtMost, {"other"}},
    {"lessthan", IsLess, {"other"}},
    {"lower", IsLower},
    {"lt", IsLess, {"other"}},
    {"mapping", IsMapping},
    {"ne", IsUnequal, {"other"}},
    {"none", IsNone},
    {"number", IsNumber},
    {"odd", IsOdd},
    {"sequence", IsIterable},
    {"string", IsString},
    {"true", IsTrue},
    {"undefined", IsUndefined},
    {"upper", IsUpper},
}};

}  // namespace

Builtins Tests() { return kTests; }

}  // namespace fmaserver::chat
