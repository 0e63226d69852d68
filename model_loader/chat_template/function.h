// What a template can call by its name: its macros, and functions that are there for all.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/frame.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

struct Arguments {
  Items positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

class Function {
 public:
  virtual ~Function() = default;
  virtual Value Call(Frame& frame, const Arguments& arguments) const = 0;

  /// The arguments in the order of `parameters`, undefined where there is none. Throws
  /// TemplateError for others.
  static Items Bound(std::string_view function, const std::vector<std::string_view>& parameters,
                     const Arguments& arguments);
};

/// The function of this name, or null: range, namespace, raise_exception, strftime_now.
const Function* FindFunction(std::string_view name);

}  // namespace fmaserver::chat
