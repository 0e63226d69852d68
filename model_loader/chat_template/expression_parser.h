// The tokens in a tag become an expression.
#pragma once

#include <initializer_list>
#include <string_view>

#include "model_loader/chat_template/expression.h"
#include "model_loader/chat_template/token_stream.h"

namespace fmaserver::chat {

/// Functions take the tokens of what they are named after, and throw TemplateError. Operators bind
/// as in Jinja.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExpressionPtr Whole();
  /// One without "if ... else" at its end, which is a loop's "if" there.
  ExpressionPtr Or();
  /// Several make a tuple.
  ExpressionPtr Tuple();
  /// Filters behind `subject`, each with its "|".
  ExpressionPtr WithFilters(ExpressionPtr subject);

 private:
  class Deeper;

  /// Operands with any of `operations` between them: "a - b + c" is (a - b) + c.
  template <typename Operand>
  ExpressionPtr LeftToRight(std::initializer_list<std::string_view> operations, Operand operand);

  ExpressionPtr And();
  ExpressionPtr Not();
  ExpressionPtr Compare();
  ExpressionPtr Sum();
  ExpressionPtr Concatenation();
  ExpressionPtr Product();
  ExpressionPtr Power();
  ExpressionPtr Unary(bool with_filters);
  ExpressionPtr Primary();
  ExpressionPtr NameOrConstant();
  ExpressionPtr String();
  ExpressionPtr Integer();
  ExpressionPtr Bracketed();
  ExpressionPtr ListItems();
  ExpressionPtr DictItems();

  ExpressionPtr WithPostfix(ExpressionPtr object);
  ExpressionPtr Member(ExpressionPtr object);
  ExpressionPtr Subscript(ExpressionPtr object);
  ExpressionPtr Test(ExpressionPtr subject);
  CallSite TestArguments();
  CallSite Arguments();

  TokenStream& tokens_;
  int depth_ = 0;
};

}  // namespace fmaserver::chat
