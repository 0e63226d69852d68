// The one kind of value that a template can change: namespace(found=false).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

/// Belongs to a rendering, so that one which holds itself is freed too.
class Namespace {
 public:
  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> values_;
};

}  // namespace fmaserver::chat
