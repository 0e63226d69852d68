#include "model_loader/chat_template/builtin.h"

#include <algorithm>

#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/text_operations.h"

namespace fmaserver::chat {

const Builtin* Find(Builtins builtins, std::string_view name) {
  const auto found = std::find_if(builtins.begin(), builtins.end(),
                                  [name](const Builtin& one) { return one.name == name; });
  return found == builtins.end() ? nullptr : &*found;
}

std::string Names(Builtins builtins) {
  std::string names;
  for (const Builtin& builtin : builtins) {
    names += Concat(names.empty() ? "" : ", ", builtin.name);
  }
  return names;
}

const MarkedText& TextIn(const Value& value, std::string_view what) {
  if (value.IsText()) return value.text();
  throw TemplateError(0, what, Words{std::string(value.Kind())}, "a text");
}

Items Iterated(Run& run, const Value& value) {
  if (value.IsUndefined()) return {};
  if (value.IsText()) return Characters(run, value.text());
  Items items;
  if (value.IsList()) {
    items = value.items();
  } else if (value.IsDict()) {
    for (const Entry& entry : value.entries()) items.emplace_back(entry.key);
  } else {
    throw TemplateError(0, "what is gone through", Words{std::string(value.Kind())},
                        "a list, a dictionary or a text");
  }
  run.Step(static_cast<int64_t>(items.size()));
  return items;
}

}  // namespace fmaserver::chat
