#include "server/openai/value.h"

#include <limits>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::openai {

absl::Status Value::Refuse(std::string_view allowed) const {
  return Refusal(name, Words{Excerpt(json)}, allowed);
}

absl::Status Value::To(bool& place) const {
  if (!json.is_boolean()) return Refuse("true or false");
  place = json.get<bool>();
  return absl::OkStatus();
}

absl::Status Value::To(double& place) const {
  if (!json.is_number()) return Refuse("a number");
  place = json.get<double>();
  return absl::OkStatus();
}

absl::Status Value::To(float& place) const {
  double number = 0;
  if (absl::Status status = To(number); !status.ok()) return status;
  constexpr double kMost = std::numeric_limits<float>::max();
  if (!(number >= -kMost && number <= kMost)) return Refuse("a number of 32 bits");
  place = static_cast<float>(number);
  return absl::OkStatus();
}

absl::Status Value::To(int64_t& place) const {
  const std::optional<int64_t> number = AsInteger(json);
  if (!number.has_value()) return Refuse("a whole number of 64 bits");
  place = *number;
  return absl::OkStatus();
}

absl::Status Value::To(int32_t& place) const {
  const std::optional<int64_t> number = AsInteger(json);
  if (!number.has_value() || !std::in_range<int32_t>(*number)) {
    return Refuse("a whole number of 32 bits");
  }
  place = static_cast<int32_t>(*number);
  return absl::OkStatus();
}

absl::Status Value::To(std::string& place) const {
  if (!json.is_string()) return Refuse("a text");
  place = json.get_ref<const std::string&>();
  return absl::OkStatus();
}

absl::Status Value::ToIds(const service::Vocabulary& vocabulary,
                          std::vector<int32_t>& place) const {
  if (!json.is_array()) return Refuse("a list of token ids");
  std::vector<uint32_t> ids;
  ids.reserve(json.size());
  for (const nlohmann::json& item : json) {
    const std::optional<int64_t> id = AsInteger(item);
    if (!id.has_value() || !std::in_range<uint32_t>(*id)) {
      return Value{Concat(name, "[", ids.size(), "]"), item}.Refuse(
          FromTo<int64_t>(0, vocabulary.size - 1));
    }
    ids.push_back(static_cast<uint32_t>(*id));
  }
  auto checked = service::CheckIds(ToAbsl(name), ids, vocabulary);
  if (!checked.ok()) return checked.status();
  place = *std::move(checked);
  return absl::OkStatus();
}

}  // namespace fmaserver::openai
