#include "model_loader/chat_template/operators.h"

#include <algorithm>
#include <limits>
#include <string>

#include "model_loader/chat_template/builtin.h"
#include "model_loader/chat_template/namespace.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/text_operations.h"
#include "model_loader/chat_template/whitespace.h"

namespace fmaserver::chat {
namespace {

TemplateError TooLarge() {
  return TemplateError(0, "number", Words{"larger"}, "whole numbers of 64 bits");
}

TemplateError CannotTake(std::string_view operation, const Value& a, const Value& b) {
  return TemplateError(0, Concat("operation ", operation),
                       Words{Concat(a.Kind(), " and ", b.Kind())},
                       "two numbers; + also of two texts or lists, * also of a text and a number");
}

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

int64_t Power(Run& run, int64_t base, int64_t exponent) {
  if (exponent < 0) throw TemplateError(0, "exponent", exponent, "0 or more");
  int64_t result = 1;
  for (int64_t i = 0; i < exponent && base != 1 && base != 0; ++i) {
    run.Step();
    if (__builtin_mul_overflow(result, base, &result)) throw TooLarge();
  }
  return base == 0 && exponent > 0 ? 0 : result;
}

int64_t OfNumbers(Run& run, std::string_view operation, int64_t a, int64_t b) {
  int64_t result = 0;
  bool fits = true;
  if (operation == "+") {
    fits = !__builtin_add_overflow(a, b, &result);
  } else if (operation == "-") {
    fits = !__builtin_sub_overflow(a, b, &result);
  } else if (operation == "*") {
    fits = !__builtin_mul_overflow(a, b, &result);
  } else if (operation == "**") {
    result = Power(run, a, b);
  } else if (b == 0) {
    throw TemplateError(0, "divisor", b, "other than 0");
  } else if (b == -1) {  // of the smallest number there is no opposite
    fits = operation == "%" || !__builtin_sub_overflow(int64_t{0}, a, &result);
  } else {
    const int64_t quotient = FloorDivide(a, b);
    result = operation == "//" ? quotient : a - quotient * b;
  }
  if (!fits) throw TooLarge();
  return result;
}

TemplateError CannotCompare(const Value& a, const Value& b) {
  return TemplateError(0, "comparison", Words{Concat(a.Kind(), " with ", b.Kind())},
                       "two numbers or two texts");
}

bool EqualDicts(Run& run, const Value& a, const Value& b) {
  run.Step(Length(a) * Length(b));
  return Length(a) == Length(b) &&
         std::all_of(a.entries().begin(), a.entries().end(), [&](const Entry& entry) {
           const Value* other = b.Find(entry.key.bytes());
           return other != nullptr && Equal(run, entry.value, *other);
         });
}

MarkedText Repeated(Run& run, const MarkedText& text, int64_t times) {
  MarkedText repeated;
  for (int64_t i = 0; i < times; ++i) {
    run.Step();
    run.Touch(text.size());
    repeated.Append(text);
  }
  return repeated;
}

Value Added(Run& run, const Value& a, const Value& b) {
  if (a.IsText()) {
    run.Touch(a.text().size() + b.text().size());
    MarkedText sum = a.text();
    sum.Append(b.text());
    return sum;
  }
  run.Step(Length(a) + Length(b));
  Items sum = a.items();
  sum.insert(sum.end(), b.items().begin(), b.items().end());
  return sum;
}

/// Where the character of this number begins.
size_t Offset(std::string_view text, int64_t character) {
  size_t offset = 0;
  for (; character > 0; --character) offset += CharacterLength(text.substr(offset));
  return offset;
}

Value TextSlice(Run& run, const MarkedText& text, int64_t first, int64_t last) {
  run.Touch(2 * text.size());
  if (first >= last) return MarkedText();
  return text.Slice(Offset(text.bytes(), first), Offset(text.bytes(), last));
}

/// A bound of a slice, which may count from the end.
int64_t Bound(const Value& given, int64_t size, int64_t least, int64_t most, int64_t otherwise) {
  if (given.IsUndefined() || given.IsNone()) return otherwise;
  int64_t bound = given.Number("bound of a slice");
  if (bound < 0) bound = bound < -size ? least : bound + size;
  return std::clamp(bound, least, most);
}

}  // namespace

Value Arithmetic(Run& run, std::string_view operation, const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    return OfNumbers(run, operation, a.Number(""), b.Number(""));
  }
  const bool alike = (a.IsText() && b.IsText()) || (a.IsList() && b.IsList());
  if (operation == "+" && alike) return Added(run, a, b);
  if (operation == "*" && a.IsText() && b.IsNumber()) return Repeated(run, a.text(), b.Number(""));
  if (operation == "*" && a.IsNumber() && b.IsText()) return Repeated(run, b.text(), a.Number(""));
  throw CannotTake(operation, a, b);
}

Value Negative(const Value& value) {
  int64_t result = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.Number("operand of -"), &result)) throw TooLarge();
  return result;
}

bool Equal(Run& run, const Value& a, const Value& b) {
  run.Step();
  if (a.IsNumber() && b.IsNumber()) return a.Number("") == b.Number("");
  if (a.IsText() && b.IsText()) {
    run.Touch(std::min(a.text().size(), b.text().size()));
    return a.text().bytes() == b.text().bytes();
  }
  if (a.IsList() && b.IsList()) {
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      [&run](const Value& x, const Value& y) { return Equal(run, x, y); });
  }
  if (a.IsDict() && b.IsDict()) return EqualDicts(run, a, b);
  if (a.space() != nullptr) return a.space() == b.space();
  if (a.function() != nullptr) return a.function() == b.function();
  return (a.IsNone() && b.IsNone()) || (a.IsUndefined() && b.IsUndefined());
}

bool Less(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) return a.Number("") < b.Number("");
  if (a.IsText() && b.IsText()) return a.text().bytes() < b.text().bytes();
  throw CannotCompare(a, b);
}

bool Contains(Run& run, const Value& whole, const Value& part) {
  if (whole.IsText()) {
    const MarkedText& text = TextIn(part, "what is looked for in a text");
    return Position(run, whole.text(), text) != std::string::npos;
  }
  if (whole.IsDict()) {
    run.Step(Length(whole));
    if (part.IsList() || part.IsDict()) {
      throw TemplateError(0, "what is looked for in a dictionary", Words{std::string(part.Kind())},
                          "a text");
    }
    return part.IsText() && whole.Find(part.text().bytes()) != nullptr;
  }
  const Items items = Iterated(run, whole);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& item) { return Equal(run, item, part); });
}

Value Member(const Value& value, std::string_view name) {
  if (value.IsUndefined()) {
    throw TemplateError(0, Quoted(value.undefined_name()), Words{"undefined"},
                        Concat("what has a ", Quoted(name)));
  }
  const Value* found = nullptr;
  if (value.IsDict()) found = value.Find(name);
  if (value.space() != nullptr) found = value.space()->Find(name);
  return found == nullptr ? Undefined{std::string(name)} : *found;
}

Value Item(Run& run, const Value& value, const Value& key) {
  run.Step(value.IsDict() ? Length(value) : 1);
  if (key.IsText()) return Member(value, key.text().bytes());
  if (value.IsUndefined()) return Member(value, "item");
  if (!key.IsNumber() || (!value.IsList() && !value.IsText())) return Undefined{"item"};
  const int64_t size = Length(value);
  int64_t index = key.Number("");
  if (index < 0) index += size;
  if (index < 0 || index >= size) return Undefined{"item"};
  if (value.IsList()) return value.items()[index];
  return Slice(run, value, index, index + 1, Undefined{});
}

Value Slice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (!value.IsText() && !value.IsList()) {
    throw TemplateError(0, "what is sliced", Words{std::string(value.Kind())}, "a list or a text");
  }
  const int64_t size = Length(value);
  const bool given = !step.IsUndefined() && !step.IsNone();
  const int64_t stride = given ? step.Number("step of a slice") : 1;
  if (stride == 0) throw TemplateError(0, "step of a slice", stride, "other than 0");
  const bool up = stride > 0;
  const int64_t first = Bound(begin, size, up ? 0 : -1, up ? size : size - 1, up ? 0 : size - 1);
  const int64_t last = Bound(end, size, up ? 0 : -1, up ? size : size - 1, up ? size : -1);
  if (value.IsText() && stride == 1) return TextSlice(run, value.text(), first, last);
  const Items items = Iterated(run, value);
  Items taken;
  for (int64_t at = first; up ? at < last : at > last;) {
    taken.push_back(items[at]);
    if (__builtin_add_overflow(at, stride, &at)) break;
  }
  if (value.IsText()) return Joined(run, taken, MarkedText());
  return taken;
}

int64_t Length(const Value& value) {
  if (value.IsText()) return CountCharacters(value.text());
  if (value.IsList()) return std::ssize(value.items());
  if (value.IsDict()) return std::ssize(value.entries());
  if (value.IsUndefined()) return 0;
  throw TemplateError(0, "what is counted", Words{std::string(value.Kind())},
                      "a list, a dictionary or a text");
}

}  // namespace fmaserver::chat
