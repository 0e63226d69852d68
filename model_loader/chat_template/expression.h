// The expressions of a template, as they are evaluated.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/builtin.h"
#include "model_loader/chat_template/frame.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

class Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

class Expression {
 public:
  virtual ~Expression() = default;
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  /// Throws TemplateError.
  Value Evaluate(Frame& frame) const;

  int line() const { return line_; }

 protected:
  explicit Expression(int line) : line_(line) {}

  /// Takes a part of this one, which may be null. Throws TemplateError when they nest too deep.
  ExpressionPtr Adopt(ExpressionPtr part);

 private:
  static constexpr int kMaxDepth = 100;

  virtual Value Compute(Frame& frame) const = 0;

  const int line_;
  int depth_ = 1;
};

class Constant final : public Expression {
 public:
  Constant(int line, Value value) : Expression(line), value_(std::move(value)) {}

 private:
  Value Compute(Frame& frame) const override;
  const Value value_;
};

class Name final : public Expression {
 public:
  Name(int line, std::string name) : Expression(line), name_(std::move(name)) {}

 private:
  Value Compute(Frame& frame) const override;
  const std::string name_;
};

class ListDisplay final : public Expression {
 public:
  ListDisplay(int line, std::vector<ExpressionPtr> items);

 private:
  Value Compute(Frame& frame) const override;
  std::vector<ExpressionPtr> items_;
};

class DictDisplay final : public Expression {
 public:
  using Entries = std::vector<std::pair<ExpressionPtr, ExpressionPtr>>;
  DictDisplay(int line, Entries entries);

 private:
  Value Compute(Frame& frame) const override;
  Entries entries_;
};

/// "not x" and "-x".
class Unary final : public Expression {
 public:
  Unary(int line, std::string operation, ExpressionPtr operand)
      : Expression(line), operation_(std::move(operation)), operand_(Adopt(std::move(operand))) {}

 private:
  Value Compute(Frame& frame) const override;
  const std::string operation_;
  const ExpressionPtr operand_;
};

/// Arithmetic, "and", "or" and "~".
class Binary final : public Expression {
 public:
  Binary(int line, std::string operation, ExpressionPtr left, ExpressionPtr right)
      : Expression(line),
        operation_(std::move(operation)),
        left_(Adopt(std::move(left))),
        right_(Adopt(std::move(right))) {}

 private:
  Value Compute(Frame& frame) const override;
  const std::string operation_;
  const ExpressionPtr left_;
  const ExpressionPtr right_;
};

/// "a < b <= c", "a in b", "a not in b".
class Comparison final : public Expression {
 public:
  using Rest = std::vector<std::pair<std::string, ExpressionPtr>>;
  Comparison(int line, ExpressionPtr first, Rest rest);

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr first_;
  Rest rest_;
};

/// "then if condition else otherwise"; `otherwise` may be null.
class Conditional final : public Expression {
 public:
  Conditional(int line, ExpressionPtr condition, ExpressionPtr then, ExpressionPtr otherwise)
      : Expression(line),
        condition_(Adopt(std::move(condition))),
        then_(Adopt(std::move(then))),
        otherwise_(Adopt(std::move(otherwise))) {}

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr condition_;
  const ExpressionPtr then_;
  const ExpressionPtr otherwise_;
};

/// "object.name".
class MemberAccess final : public Expression {
 public:
  MemberAccess(int line, ExpressionPtr object, std::string name)
      : Expression(line), object_(Adopt(std::move(object))), name_(std::move(name)) {}

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr object_;
  const std::string name_;
};

/// "object[key]".
class Subscript final : public Expression {
 public:
  Subscript(int line, ExpressionPtr object, ExpressionPtr key)
      : Expression(line), object_(Adopt(std::move(object))), key_(Adopt(std::move(key))) {}

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr object_;
  const ExpressionPtr key_;
};

/// "object[begin:end:step]"; bounds may be null.
class SliceAccess final : public Expression {
 public:
  SliceAccess(int line, ExpressionPtr object, std::vector<ExpressionPtr> bounds);

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr object_;
  std::vector<ExpressionPtr> bounds_;  // three
};

/// The arguments between the brackets of a call.
struct CallSite {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

/// "function(...)".
class Call final : public Expression {
 public:
  Call(int line, ExpressionPtr function, CallSite site);

 private:
  Value Compute(Frame& frame) const override;
  const ExpressionPtr function_;
  CallSite site_;
};

/// A filter, a test or a method.
class BuiltinCall final : public Expression {
 public:
  /// Throws TemplateError for arguments that the builtin does not take.
  BuiltinCall(int line, const Builtin& builtin, ExpressionPtr subject, CallSite site);

 private:
  Value Compute(Frame& frame) const override;
  const Builtin& builtin_;
  const ExpressionPtr subject_;
  std::array<ExpressionPtr, Builtin::kMaxParameters> arguments_;
};

}  // namespace fmaserver::chat
