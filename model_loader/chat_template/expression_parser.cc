#include "model_loader/chat_template/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

using Kind = Token::Kind;

template <typename Node, typename... Parts>
ExpressionPtr Make(int line, Parts&&... parts) {
  return std::make_unique<const Node>(line, std::forward<Parts>(parts)...);
}

const Builtin& Known(Builtins builtins, std::string_view what, const Token& token) {
  const Builtin* builtin = Find(builtins, token.text);
  if (builtin != nullptr) return *builtin;
  throw TemplateError(token.line, what, token.text, Names(builtins));
}

}  // namespace

/// Counts how deep the parser is, so that no template exhausts the stack.
class ExpressionParser::Deeper {
 public:
  explicit Deeper(ExpressionParser& parser) : depth_(parser.depth_) {
    if (++depth_ > kMaxDepth) {
      throw TemplateError(parser.tokens_.line(), "depth of an expression", Words{"larger"},
                          Concat("up to ", kMaxDepth));
    }
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  static constexpr int kMaxDepth = 100;
  int& depth_;
};

ExpressionPtr ExpressionParser::Whole() {
  ExpressionPtr value = Or();
  while (tokens_.IsName("if")) {
    const int line = tokens_.Take().line;
    ExpressionPtr condition = Or();
    ExpressionPtr otherwise = tokens_.SkipName("else") ? Whole() : nullptr;
    value = Make<Conditional>(line, std::move(condition), std::move(value), std::move(otherwise));
  }
  return value;
}

ExpressionPtr ExpressionParser::Tuple() {
  const int line = tokens_.line();
  ExpressionPtr first = Whole();
  if (!tokens_.IsOperator(",")) return first;
  std::vector<ExpressionPtr> items;
  items.push_back(std::move(first));
  while (tokens_.SkipOperator(",")) {
    if (tokens_.IsOperator(")") || tokens_.Is(Kind::kStatementEnd)) break;
    items.push_back(Whole());
  }
  return Make<ListDisplay>(line, std::move(items));
}

template <typename Operand>
ExpressionPtr ExpressionParser::LeftToRight(std::initializer_list<std::string_view> operations,
                                            Operand operand) {
  const auto is_next = [this](std::string_view operation) {
    return tokens_.IsOperator(operation) || tokens_.IsName(operation);
  };
  ExpressionPtr left = operand();
  while (std::any_of(operations.begin(), operations.end(), is_next)) {
    const Token& operation = tokens_.Take();
    left = Make<Binary>(operation.line, operation.text, std::move(left), operand());
  }
  return left;
}

ExpressionPtr ExpressionParser::Or() {
  const Deeper deeper(*this);
  return LeftToRight({"or"}, [this] { return And(); });
}

ExpressionPtr ExpressionParser::And() {
  return LeftToRight({"and"}, [this] { return Not(); });
}

ExpressionPtr ExpressionParser::Not() {
  if (!tokens_.IsName("not")) return Compare();
  const Deeper deeper(*this);
  const int line = tokens_.Take().line;
  return Make<chat::Unary>(line, "not", Not());
}

ExpressionPtr ExpressionParser::Compare() {
  constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  const int line = tokens_.line();
  ExpressionPtr first = Sum();
  Comparison::Rest rest;
  for (;;) {
    const bool known =
        tokens_.Is(Kind::kOperator) &&
        std::find(kOperators.begin(), kOperators.end(), tokens_.Peek().text) != kOperators.end();
    if (known || tokens_.IsName("in")) {
      std::string operation = tokens_.Take().text;
      rest.emplace_back(std::move(operation), Sum());
    } else if (tokens_.IsName("not") && tokens_.NameAfter() == "in") {
      tokens_.Take();
      tokens_.Take();
      rest.emplace_back("not in", Sum());
    } else {
      break;
    }
  }
  if (rest.empty()) return first;
  return Make<Comparison>(line, std::move(first), std::move(rest));
}

ExpressionPtr ExpressionParser::Sum() {
  return LeftToRight({"+", "-"}, [this] { return Concatenation(); });
}

ExpressionPtr ExpressionParser::Concatenation() {
  return LeftToRight({"~"}, [this] { return Product(); });
}

ExpressionPtr ExpressionParser::Product() {
  ExpressionPtr product = LeftToRight({"*", "//", "%"}, [this] { return Power(); });
  if (tokens_.IsOperator("/")) throw tokens_.Unexpected("//, which divides whole numbers");
  return product;
}

ExpressionPtr ExpressionParser::Power() {
  return LeftToRight({"**"}, [this] { return Unary(/*with_filters=*/true); });
}

ExpressionPtr ExpressionParser::Unary(bool with_filters) {
  const Deeper deeper(*this);
  const int line = tokens_.line();
  ExpressionPtr value;
  if (tokens_.SkipOperator("-")) {
    value = Make<chat::Unary>(line, "-", Unary(/*with_filters=*/false));
  } else if (tokens_.SkipOperator("+")) {
    value = Unary(/*with_filters=*/false);
  } else {
    value = Primary();
  }
  value = WithPostfix(std::move(value));
  return with_filters ? WithFilters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::Primary() {
  if (tokens_.Is(Kind::kName)) return NameOrConstant();
  if (tokens_.Is(Kind::kString)) return String();
  if (tokens_.Is(Kind::kInteger)) return Integer();
  if (tokens_.IsOperator("(")) return Bracketed();
  if (tokens_.IsOperator("[")) return ListItems();
  if (tokens_.IsOperator("{")) return DictItems();
  throw tokens_.Unexpected("a value");
}

ExpressionPtr ExpressionParser::NameOrConstant() {
  const Token& token = tokens_.Take();
  if (token.text == "true" || token.text == "True") return Make<Constant>(token.line, Value(true));
  if (token.text == "false" || token.text == "False") {
    return Make<Constant>(token.line, Value(false));
  }
  if (token.text == "none" || token.text == "None") return Make<Constant>(token.line, None{});
  return Make<Name>(token.line, token.text);
}

ExpressionPtr ExpressionParser::String() {
  const int line = tokens_.line();
  std::string text;
  while (tokens_.Is(Kind::kString)) text += tokens_.Take().text;
  return Make<Constant>(line, Written(text));
}

ExpressionPtr ExpressionParser::Integer() {
  const Token& token = tokens_.Take();
  int64_t number = 0;
  const auto read =
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
  if (read.ec == std::errc()) return Make<Constant>(token.line, number);
  throw TemplateError(token.line, "number", token.text, "whole numbers of 64 bits");
}

ExpressionPtr ExpressionParser::Bracketed() {
  const int line = tokens_.Take().line;
  if (tokens_.SkipOperator(")")) return Make<ListDisplay>(line, std::vector<ExpressionPtr>());
  ExpressionPtr inner = Tuple();
  tokens_.ExpectOperator(")");
  return inner;
}

ExpressionPtr ExpressionParser::ListItems() {
  const int line = tokens_.Take().line;
  std::vector<ExpressionPtr> items;
  while (!tokens_.IsOperator("]")) {
    items.push_back(Whole());
    if (!tokens_.SkipOperator(",")) break;
  }
  tokens_.ExpectOperator("]");
  return Make<ListDisplay>(line, std::move(items));
}

ExpressionPtr ExpressionParser::DictItems() {
  const int line = tokens_.Take().line;
  DictDisplay::Entries entries;
  while (!tokens_.IsOperator("}")) {
    ExpressionPtr key = Whole();
    tokens_.ExpectOperator(":");
    entries.emplace_back(std::move(key), Whole());
    if (!tokens_.SkipOperator(",")) break;
  }
  tokens_.ExpectOperator("}");
  return Make<DictDisplay>(line, std::move(entries));
}

ExpressionPtr ExpressionParser::WithPostfix(ExpressionPtr object) {
  for (;;) {
    if (tokens_.IsOperator(".")) {
      object = Member(std::move(object));
    } else if (tokens_.IsOperator("[")) {
      object = Subscript(std::move(object));
    } else if (tokens_.IsOperator("(")) {
      const int line = tokens_.line();
      object = Make<Call>(line, std::move(object), Arguments());
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::Member(ExpressionPtr object) {
  const int line = tokens_.Take().line;
  if (tokens_.Is(Kind::kInteger)) return Make<chat::Subscript>(line, std::move(object), Integer());
  if (!tokens_.Is(Kind::kName)) throw tokens_.Unexpected("a name");
  const Token& name = tokens_.Take();
  if (!tokens_.IsOperator("(")) return Make<MemberAccess>(line, std::move(object), name.text);
  const Builtin& method = Known(Methods(), "method", name);
  return Make<BuiltinCall>(line, method, std::move(object), Arguments());
}

ExpressionPtr ExpressionParser::Subscript(ExpressionPtr object) {
  const int line = tokens_.Take().line;
  std::vector<ExpressionPtr> bounds;
  bool is_slice = false;
  for (;;) {
    const bool none = tokens_.IsOperator(":") || tokens_.IsOperator("]");
    bounds.push_back(none ? nullptr : Whole());
    if (!tokens_.SkipOperator(":")) break;
    is_slice = true;
  }
  if (bounds.size() > 3 || (!is_slice && bounds[0] == nullptr)) {
    throw tokens_.Unexpected("[key] or [begin:end:step]");
  }
  tokens_.ExpectOperator("]");
  if (is_slice) return Make<SliceAccess>(line, std::move(object), std::move(bounds));
  return Make<chat::Subscript>(line, std::move(object), std::move(bounds[0]));
}

ExpressionPtr ExpressionParser::WithFilters(ExpressionPtr subject) {
  for (;;) {
    if (tokens_.SkipOperator("|")) {
      const int line = tokens_.line();
      if (!tokens_.Is(Kind::kName)) throw tokens_.Unexpected("the name of a filter");
      const Builtin& filter = Known(Filters(), "filter", tokens_.Take());
      CallSite site = tokens_.IsOperator("(") ? Arguments() : CallSite();
      subject = Make<BuiltinCall>(line, filter, std::move(subject), std::move(site));
    } else if (tokens_.SkipName("is")) {
      subject = Test(std::move(subject));
    } else if (tokens_.IsOperator("(")) {
      const int line = tokens_.line();
      subject = Make<Call>(line, std::move(subject), Arguments());
    } else {
      return subject;
    }
  }
}

ExpressionPtr ExpressionParser::Test(ExpressionPtr subject) {
  const int line = tokens_.line();
  const bool negated = tokens_.SkipName("not");
  if (!tokens_.Is(Kind::kName)) throw tokens_.Unexpected("the name of a test");
  const Builtin& test = Known(Tests(), "test", tokens_.Take());
  ExpressionPtr result = Make<BuiltinCall>(line, test, std::move(subject), TestArguments());
  return negated ? Make<chat::Unary>(line, "not", std::move(result)) : std::move(result);
}

/// A test's argument needs no brackets: "x is divisibleby 3".
CallSite ExpressionParser::TestArguments() {
  if (tokens_.IsOperator("(")) return Arguments();
  const bool is_word = tokens_.IsName("else") || tokens_.IsName("or") || tokens_.IsName("and") ||
                       tokens_.IsName("if") || tokens_.IsName("is") || tokens_.IsName("in") ||
                       tokens_.IsName("not");
  const bool begins = tokens_.Is(Kind::kName) || tokens_.Is(Kind::kString) ||
                      tokens_.Is(Kind::kInteger) || tokens_.IsOperator("[") ||
                      tokens_.IsOperator("{");
  CallSite site;
  if (begins && !is_word) site.positional.push_back(WithPostfix(Primary()));
  return site;
}

CallSite ExpressionParser::Arguments() {
  tokens_.ExpectOperator("(");
  CallSite site;
  while (!tokens_.IsOperator(")")) {
    const int line = tokens_.line();
    // "name=value", or a value that begins with a name.
    if (tokens_.Is(Kind::kName) && tokens_.OperatorAfter() == "=") {
      std::string name = tokens_.Take().text;
      tokens_.Take();
      site.named.emplace_back(std::move(name), Whole());
    } else if (!site.named.empty()) {
      throw TemplateError(line, "argument", Words{"without a name"}, "name=value behind others");
    } else {
      site.positional.push_back(Whole());
    }
    if (!tokens_.SkipOperator(",")) break;
  }
  tokens_.ExpectOperator(")");
  return site;
}

}  // namespace fmaserver::chat
