#include "model_loader/chat_template/expression.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "model_loader/chat_template/function.h"
#include "model_loader/chat_template/operators.h"
#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

Value OrUndefined(const ExpressionPtr& expression, Frame& frame) {
  return expression == nullptr ? Undefined{"value"} : expression->Evaluate(frame);
}

bool Compares(Frame& frame, const std::string& operation, const Value& a, const Value& b) {
  if (operation == "==") return Equal(frame.run(), a, b);
  if (operation == "!=") return !Equal(frame.run(), a, b);
  if (operation == "<") return Less(a, b);
  if (operation == ">") return Less(b, a);
  if (operation == "<=") return !Less(b, a);
  if (operation == ">=") return !Less(a, b);
  return Contains(frame.run(), b, a) == (operation == "in");
}

}  // namespace

Value Expression::Evaluate(Frame& frame) const {
  frame.run().Step();
  frame.run().SetLine(line_);
  return Compute(frame);
}

ExpressionPtr Expression::Adopt(ExpressionPtr part) {
  if (part == nullptr) return part;
  depth_ = std::max(depth_, part->depth_ + 1);
  if (depth_ <= kMaxDepth) return part;
  throw TemplateError(line_, "depth of an expression", Words{"larger"},
                      Concat("up to ", kMaxDepth));
}

Value Constant::Compute(Frame& /*frame*/) const { return value_; }

Value Name::Compute(Frame& frame) const {
  if (const Value* value = frame.Find(name_); value != nullptr) return *value;
  if (const Function* function = FindFunction(name_); function != nullptr) return function;
  return Undefined{name_};
}

ListDisplay::ListDisplay(int line, std::vector<ExpressionPtr> items)
    : Expression(line), items_(std::move(items)) {
  for (ExpressionPtr& item : items_) item = Adopt(std::move(item));
}

Value ListDisplay::Compute(Frame& frame) const {
  Items items;
  for (const ExpressionPtr& item : items_) items.push_back(item->Evaluate(frame));
  return items;
}

DictDisplay::DictDisplay(int line, Entries entries)
    : Expression(line), entries_(std::move(entries)) {
  for (auto& [key, value] : entries_) {
    key = Adopt(std::move(key));
    value = Adopt(std::move(value));
  }
}

Value DictDisplay::Compute(Frame& frame) const {
  chat::Entries entries;
  for (const auto& [key, value] : entries_) {
    const MarkedText name = TextIn(key->Evaluate(frame), "key of a dictionary");
    Value item = value->Evaluate(frame);
    frame.run().Step(std::ssize(entries));
    const auto known = std::find_if(entries.begin(), entries.end(), [&name](const Entry& entry) {
      return entry.key.bytes() == name.bytes();
    });
    if (known == entries.end()) {
      entries.push_back({name, std::move(item)});
    } else {
      known->value = std::move(item);
    }
  }
  return entries;
}

Value Unary::Compute(Frame& frame) const {
  const Value value = operand_->Evaluate(frame);
  return operation_ == "-" ? Negative(value) : Value(!value.Truth());
}

Value Binary::Compute(Frame& frame) const {
  Value left = left_->Evaluate(frame);
  if (operation_ == "and") return left.Truth() ? right_->Evaluate(frame) : left;
  if (operation_ == "or") return left.Truth() ? left : right_->Evaluate(frame);
  const Value right = right_->Evaluate(frame);
  if (operation_ != "~") return Arithmetic(frame.run(), operation_, left, right);
  return Arithmetic(frame.run(), "+", left.Printed(), right.Printed());
}

Comparison::Comparison(int line, ExpressionPtr first, Rest rest)
    : Expression(line), first_(Adopt(std::move(first))), rest_(std::move(rest)) {
  for (auto& [operation, operand] : rest_) operand = Adopt(std::move(operand));
}

Value Comparison::Compute(Frame& frame) const {
  Value left = first_->Evaluate(frame);
  for (const auto& [operation, operand] : rest_) {
    Value right = operand->Evaluate(frame);
    if (!Compares(frame, operation, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Conditional::Compute(Frame& frame) const {
  return condition_->Evaluate(frame).Truth() ? then_->Evaluate(frame)
                                             : OrUndefined(otherwise_, frame);
}

Value MemberAccess::Compute(Frame& frame) const { return Member(object_->Evaluate(frame), name_); }

Value Subscript::Compute(Frame& frame) const {
  const Value object = object_->Evaluate(frame);
  return Item(frame.run(), object, key_->Evaluate(frame));
}

SliceAccess::SliceAccess(int line, ExpressionPtr object, std::vector<ExpressionPtr> bounds)
    : Expression(line), object_(Adopt(std::move(object))), bounds_(std::move(bounds)) {
  for (ExpressionPtr& bound : bounds_) bound = Adopt(std::move(bound));
  bounds_.resize(3);
}

Value SliceAccess::Compute(Frame& frame) const {
  const Value object = object_->Evaluate(frame);
  const Value begin = OrUndefined(bounds_[0], frame);
  const Value end = OrUndefined(bounds_[1], frame);
  return Slice(frame.run(), object, begin, end, OrUndefined(bounds_[2], frame));
}

Call::Call(int line, ExpressionPtr function, CallSite site)
    : Expression(line), function_(Adopt(std::move(function))), site_(std::move(site)) {
  for (ExpressionPtr& argument : site_.positional) argument = Adopt(std::move(argument));
  for (auto& [name, argument] : site_.named) argument = Adopt(std::move(argument));
}

Value Call::Compute(Frame& frame) const {
  const Value callee = function_->Evaluate(frame);
  if (callee.function() == nullptr) {
    throw TemplateError(line(), "what is called", Words{std::string(callee.Kind())},
                        "a macro, range, namespace, raise_exception and strftime_now");
  }
  Arguments arguments;
  for (const ExpressionPtr& argument : site_.positional) {
    arguments.positional.push_back(argument->Evaluate(frame));
  }
  for (const auto& [name, argument] : site_.named) {
    arguments.named.emplace_back(name, argument->Evaluate(frame));
  }
  return callee.function()->Call(frame, arguments);
}

BuiltinCall::BuiltinCall(int line, const Builtin& builtin, ExpressionPtr subject, CallSite site)
    : Expression(line), builtin_(builtin), subject_(Adopt(std::move(subject))) {
  const auto& parameters = builtin.parameters;
  const size_t count = std::find(parameters.begin(), parameters.end(), "") - parameters.begin();
  if (site.positional.size() > count) {
    throw TemplateError(line, Concat("number of arguments of ", builtin.name),
                        site.positional.size(), Concat("up to ", count));
  }
  for (size_t i = 0; i < site.positional.size(); ++i) {
    arguments_[i] = Adopt(std::move(site.positional[i]));
  }
  for (auto& [name, argument] : site.named) {
    const auto* const known = std::find(parameters.begin(), parameters.begin() + count, name);
    if (known == parameters.begin() + count) {
      throw TemplateError(line, Concat("argument of ", builtin.name), name, "names that it has");
    }
    arguments_[known - parameters.begin()] = Adopt(std::move(argument));
  }
}

Value BuiltinCall::Compute(Frame& frame) const {
  const Value subject = subject_->Evaluate(frame);
  std::array<Value, Builtin::kMaxParameters> arguments;
  for (size_t i = 0; i < arguments.size(); ++i) arguments[i] = OrUndefined(arguments_[i], frame);
  return builtin_.call(frame.run(), subject, arguments);
}

}  // namespace fmaserver::chat
