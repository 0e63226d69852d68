// The tokens of a template, one after the other.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/token.h"

namespace fmaserver::chat {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek() const { return tokens_[next_]; }
  int line() const { return Peek().line; }
  const Token& Take() {
    const Token& token = tokens_[next_];
    if (token.kind != Token::Kind::kEnd) ++next_;
    return token;
  }

  bool Is(Token::Kind kind) const { return Peek().kind == kind; }
  bool IsName(std::string_view name) const { return Is(Token::Kind::kName) && Peek().text == name; }
  bool IsOperator(std::string_view text) const {
    return Is(Token::Kind::kOperator) && Peek().text == text;
  }
  /// The name, or the operator, behind the next token, or empty.
  std::string_view NameAfter() const { return After(Token::Kind::kName); }
  std::string_view OperatorAfter() const { return After(Token::Kind::kOperator); }

  bool SkipName(std::string_view name) { return IsName(name) && (Take(), true); }
  bool SkipOperator(std::string_view text) { return IsOperator(text) && (Take(), true); }

  void ExpectOperator(std::string_view text) {
    if (!SkipOperator(text)) throw Unexpected(text);
  }
  std::string ExpectName(std::string_view what) {
    if (!Is(Token::Kind::kName)) throw Unexpected(what);
    return Take().text;
  }
  void Expect(Token::Kind kind, std::string_view what) {
    if (!Is(kind)) throw Unexpected(what);
    Take();
  }

  TemplateError Unexpected(std::string_view allowed) const {
    if (Is(Token::Kind::kEnd)) {
      return TemplateError(line(), "template", Words{"over too early"}, allowed);
    }
    return TemplateError(line(), "what comes next", Peek().text.empty() ? "a tag" : Peek().text,
                         allowed);
  }

 private:
  std::string_view After(Token::Kind kind) const {
    const bool there = next_ + 1 < tokens_.size() && tokens_[next_ + 1].kind == kind;
    return there ? std::string_view(tokens_[next_ + 1].text) : std::string_view();
  }

  const std::vector<Token> tokens_;  // the last is kEnd
  size_t next_ = 0;
};

}  // namespace fmaserver::chat
