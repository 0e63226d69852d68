#include "model_loader/chat_template/parser.h"

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "model_loader/chat_template/expression_parser.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/token_stream.h"

namespace fmaserver::chat {
namespace {

using Kind = Token::Kind;
using StatementPtr = std::unique_ptr<const Statement>;

constexpr std::string_view kStatements = "for, if, set, macro, break, continue, generation";

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(Tokenize(source)), expressions_(tokens_) {}

  Block Template() {
    Block block = Until({});
    if (!tokens_.Is(Kind::kEnd)) throw tokens_.Unexpected("the end of the template");
    return block;
  }

 private:
  static constexpr int kMaxDepth = 40;

  /// Statements up to one of `ends`, whose name is taken, or to the end of the template.
  Block Until(std::initializer_list<std::string_view> ends) {
    if (++depth_ > kMaxDepth) {
      throw TemplateError(tokens_.line(), "depth of nested statements", Words{"larger"},
                          Concat("up to ", kMaxDepth));
    }
    Block block;
    while (!tokens_.Is(Kind::kEnd)) {
      if (tokens_.Is(Kind::kText)) {
        block.push_back(std::make_unique<TextStatement>(tokens_.Take().text));
      } else if (tokens_.Is(Kind::kPrint)) {
        tokens_.Take();
        block.push_back(std::make_unique<PrintStatement>(expressions_.Tuple()));
        tokens_.Expect(Kind::kPrintEnd, "}}");
      } else {
        tokens_.Expect(Kind::kStatement, "a tag");
        if (EndsWith(ends)) break;
        block.push_back(OneStatement());
        EndTag();
      }
    }
    --depth_;
    return block;
  }

  /// Takes one of `ends`, which ended_ then is.
  bool EndsWith(std::initializer_list<std::string_view> ends) {
    for (const std::string_view end : ends) {
      if (!tokens_.SkipName(end)) continue;
      ended_ = end;
      return true;
    }
    return false;
  }

  /// The statements of a block that ends with `end` alone.
  Block Body(std::string_view end) {
    EndTag();
    Block body = Until({end});
    ExpectEnd();
    return body;
  }

  void ExpectEnd() {
    if (tokens_.Is(Kind::kEnd)) throw tokens_.Unexpected("the end of a block");
  }

  void EndTag() { tokens_.Expect(Kind::kStatementEnd, "%}"); }

  StatementPtr OneStatement() {
    const int line = tokens_.line();
    const std::string name = tokens_.ExpectName("a statement");
    if (name == "for") return For();
    if (name == "if") return If();
    if (name == "set") return Set();
    if (name == "macro") return Macro(line);
    if (name == "generation") return std::make_unique<PlainBlockStatement>(Body("endgeneration"));
    if (name == "break" || name == "continue") return LoopFlow(name, line);
    throw TemplateError(line, "statement", name, kStatements);
  }

  StatementPtr LoopFlow(const std::string& name, int line) {
    if (loops_ == 0) throw TemplateError(line, name, Words{"outside of a loop"}, "in a loop");
    return std::make_unique<FlowStatement>(name == "break" ? Flow::kBreak : Flow::kContinue);
  }

  StatementPtr For() {
    ForStatement::Parts parts;
    parts.target = Names();
    if (!tokens_.SkipName("in")) throw tokens_.Unexpected("in");
    parts.items = LoopItems();
    if (tokens_.SkipName("if")) parts.condition = expressions_.Whole();
    if (tokens_.IsName("recursive")) throw tokens_.Unexpected("%}");
    EndTag();
    ++loops_;
    parts.body = Until({"else", "endfor"});
    --loops_;
    ExpectEnd();
    if (ended_ == "else") parts.otherwise = Body("endfor");
    return std::make_unique<ForStatement>(std::move(parts));
  }

  ExpressionPtr LoopItems() {
    const int line = tokens_.line();
    ExpressionPtr first = expressions_.Or();
    if (!tokens_.IsOperator(",")) return first;
    std::vector<ExpressionPtr> items;
    items.push_back(std::move(first));
    while (tokens_.SkipOperator(",")) items.push_back(expressions_.Or());
    return std::make_unique<ListDisplay>(line, std::move(items));
  }

  StatementPtr If() {
    IfStatement::Branches branches;
    ended_ = "elif";
    while (ended_ == "elif") {
      ExpressionPtr condition = expressions_.Tuple();
      EndTag();
      Block body = Until({"elif", "else", "endif"});
      ExpectEnd();
      branches.emplace_back(std::move(condition), std::move(body));
    }
    if (ended_ == "else") branches.emplace_back(nullptr, Body("endif"));
    return std::make_unique<IfStatement>(std::move(branches));
  }

  StatementPtr Set() {
    Target target = Names();
    if (target.names.size() == 1 && tokens_.SkipOperator(".")) {
      target.space = std::exchange(target.names.front(), tokens_.ExpectName("a name"));
    }
    if (tokens_.SkipOperator("=")) {
      return std::make_unique<SetStatement>(std::move(target), expressions_.Tuple());
    }
    if (tokens_.IsOperator("|")) throw tokens_.Unexpected("= or %}");
    return std::make_unique<SetBlockStatement>(std::move(target), Body("endset"));
  }

  /// "a", "a, b" or "(a, b)".
  Target Names() {
    Target target{.line = tokens_.line(), .names = {}, .space = {}};
    const bool bracketed = tokens_.SkipOperator("(");
    do {
      target.names.push_back(tokens_.ExpectName("a name"));
    } while (tokens_.SkipOperator(","));
    if (bracketed) tokens_.ExpectOperator(")");
    return target;
  }

  StatementPtr Macro(int line) {
    if (loops_ > 0 || in_macro_) {
      throw TemplateError(line, "macro", Words{"inside of a loop or a macro"}, "macros outside");
    }
    MacroStatement::Parts parts;
    parts.name = tokens_.ExpectName("the name of a macro");
    tokens_.ExpectOperator("(");
    while (!tokens_.IsOperator(")")) {
      parts.parameters.push_back(tokens_.ExpectName("the name of a parameter"));
      parts.defaults.push_back(tokens_.SkipOperator("=") ? expressions_.Whole() : nullptr);
      if (!tokens_.SkipOperator(",")) break;
    }
    tokens_.ExpectOperator(")");
    in_macro_ = true;
    parts.body = Body("endmacro");
    in_macro_ = false;
    return std::make_unique<MacroStatement>(std::move(parts));
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  std::string_view ended_;
  int depth_ = 0;
  int loops_ = 0;
  bool in_macro_ = false;
};

}  // namespace

Block ParseTemplate(std::string_view source) { return Parser(source).Template(); }

}  // namespace fmaserver::chat
