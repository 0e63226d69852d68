// What is wrong with a template or with what it is asked to render. Never leaves this room.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/refusal.h"

namespace fmaserver::chat {

/// Its text is a refusal without the place.
class TemplateError : public std::runtime_error {
 public:
  /// `line` counts from 1; 0: where the rendering is.
  TemplateError(int line, const std::string& message) : std::runtime_error(message), line_(line) {}

  template <typename T>
  TemplateError(int line, std::string_view what, const T& found, std::string_view allowed)
      : TemplateError(line, std::string(Refusal(what, found, allowed).message())) {}

  int line() const { return line_; }

 private:
  int line_;
};

}  // namespace fmaserver::chat
