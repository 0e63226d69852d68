#include "model_loader/chat_template/frame.h"

namespace fmaserver::chat {

const Value* Scope::Find(std::string_view name) const {
  for (const auto& [known, value] : names_) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Scope::Set(std::string_view name, Value value) {
  for (auto& [known, old] : names_) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  names_.emplace_back(name, std::move(value));
}

const Value* Frame::Find(std::string_view name) const {
  for (auto scope = inner_.rbegin(); scope != inner_.rend(); ++scope) {
    if (const Value* value = scope->Find(name); value != nullptr) return value;
  }
  return top_.Find(name);
}

void Frame::Set(std::string_view name, Value value) {
  (inner_.empty() ? top_ : inner_.back()).Set(name, std::move(value));
}

}  // namespace fmaserver::chat
