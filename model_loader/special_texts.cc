#include "model_loader/special_texts.h"

#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::model {

absl::StatusOr<chat::SpecialTexts> ParseSpecialTexts(std::string_view json,
                                                     std::string_view origin) {
  const absl::StatusOr<nlohmann::json> file = ParseJsonObject(json, origin);
  if (!file.ok()) return file.status();
  chat::SpecialTexts texts;
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    nlohmann::json value = file->value(name, nlohmann::json());
    if (value.is_object()) value = value.value("content", nlohmann::json());
    if (value.is_null()) continue;
    if (!value.is_string()) {
      return Refusal(At(origin, Quoted(name)), Words{Excerpt(value)}, "a text");
    }
    texts.emplace(name, value.get<std::string>());
  }
  return texts;
}

}  // namespace fmaserver::model
