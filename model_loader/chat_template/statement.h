// The statements of a template, as they are rendered.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/expression.h"
#include "model_loader/chat_template/frame.h"
#include "model_loader/chat_template/function.h"

namespace fmaserver::chat {

/// What comes after a statement.
enum class Flow : uint8_t { kNext, kBreak, kContinue };

class Statement {
 public:
  virtual ~Statement() = default;
  /// Appends to `out`. Throws TemplateError.
  virtual Flow Render(Frame& frame, MarkedText& out) const = 0;
};

using Block = std::vector<std::unique_ptr<const Statement>>;

Flow RenderBlock(const Block& block, Frame& frame, MarkedText& out);

class TextStatement final : public Statement {
 public:
  explicit TextStatement(std::string text) : text_(std::move(text)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const std::string text_;
};

class PrintStatement final : public Statement {
 public:
  explicit PrintStatement(ExpressionPtr expression) : expression_(std::move(expression)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const ExpressionPtr expression_;
};

class IfStatement final : public Statement {
 public:
  /// The condition of "else" is null.
  using Branches = std::vector<std::pair<ExpressionPtr, Block>>;
  explicit IfStatement(Branches branches) : branches_(std::move(branches)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const Branches branches_;
};

/// What is assigned to: one name, several, or a name of a namespace.
struct Target {
  int line = 0;
  std::vector<std::string> names;
  std::string space;  ///< not empty: of this namespace, which has one name set

  void Assign(Frame& frame, const Value& value) const;
};

class ForStatement final : public Statement {
 public:
  struct Parts {
    Target target;
    ExpressionPtr items;
    ExpressionPtr condition;  ///< may be null
    Block body;
    Block otherwise;
  };
  explicit ForStatement(Parts parts) : parts_(std::move(parts)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  Items Chosen(Frame& frame) const;
  const Parts parts_;
};

class SetStatement final : public Statement {
 public:
  SetStatement(Target target, ExpressionPtr value)
      : target_(std::move(target)), value_(std::move(value)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const Target target_;
  const ExpressionPtr value_;
};

/// "{% set name %}...{% endset %}".
class SetBlockStatement final : public Statement {
 public:
  SetBlockStatement(Target target, Block body)
      : target_(std::move(target)), body_(std::move(body)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const Target target_;
  const Block body_;
};

/// Sees its arguments and the template's own names, none of a loop's.
class MacroStatement final : public Statement, public Function {
 public:
  struct Parts {
    std::string name;
    std::vector<std::string> parameters;
    std::vector<ExpressionPtr> defaults;  ///< one for each; may be null
    Block body;
  };
  explicit MacroStatement(Parts parts);
  Flow Render(Frame& frame, MarkedText& out) const override;
  Value Call(Frame& frame, const Arguments& arguments) const override;

 private:
  const Parts parts_;
  std::vector<std::string_view> parameters_;
};

/// "{% generation %}...{% endgeneration %}", which only training looks at.
class PlainBlockStatement final : public Statement {
 public:
  explicit PlainBlockStatement(Block body) : body_(std::move(body)) {}
  Flow Render(Frame& frame, MarkedText& out) const override;

 private:
  const Block body_;
};

/// "break" and "continue".
class FlowStatement final : public Statement {
 public:
  explicit FlowStatement(Flow flow) : flow_(flow) {}
  Flow Render(Frame& /*frame*/, MarkedText& /*out*/) const override { return flow_; }

 private:
  const Flow flow_;
};

}  // namespace fmaserver::chat
