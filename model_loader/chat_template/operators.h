// What operators and brackets do to values, as in Python.
#pragma once

#include <string_view>

#include "model_loader/chat_template/run.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

/// `operation` is one of + - * // % **. Throws TemplateError for values that it does not take, and
/// for numbers that do not fit into 64 bits.
Value Arithmetic(Run& run, std::string_view operation, const Value& a, const Value& b);
Value Negative(const Value& value);

/// Python's ==, and < for numbers and texts, which throws TemplateError for others.
bool Equal(Run& run, const Value& a, const Value& b);
bool Less(const Value& a, const Value& b);

/// "part in whole".
bool Contains(Run& run, const Value& whole, const Value& part);

/// "value.name" and "value[key]": undefined where there is none. Throws TemplateError for an
/// undefined value.
Value Member(const Value& value, std::string_view name);
Value Item(Run& run, const Value& value, const Value& key);

/// "value[begin:end:step]"; what is undefined or none was not given.
Value Slice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step);

/// How many items, keys or characters there are.
int64_t Length(const Value& value);

}  // namespace fmaserver::chat
