#include "server/openai/embedding_request.h"

#include <algorithm>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

/// A text, or tokens.
absl::Status AddText(const Value& value, EmbeddingJob& job) {
  service::Input& input = job.request.texts.emplace_back();
  absl::Status status = value.json.is_string() ? value.To(input.text.emplace())
                                               : value.ToIds(job.vocabulary, input.ids.emplace());
  job.bytes += input.text.has_value() ? input.text->size() : input.ids->size() * sizeof(int32_t);
  return status;
}

absl::Status ReadTexts(const Value& value, EmbeddingJob& job) {
  const bool is_list = value.json.is_array() && !value.json.empty() &&
                       (value.json.front().is_string() || value.json.front().is_array());
  if (!is_list) return AddText(value, job);
  if (value.json.size() > engine::kMaxTexts) {
    return Refusal("input", Words{Concat(value.json.size(), " texts")},
                   FromTo<size_t>(1, engine::kMaxTexts));
  }
  for (size_t i = 0; i < value.json.size(); ++i) {
    const std::string name = Concat("input[", i, "]");
    if (absl::Status status = AddText({name, value.json[i]}, job); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadFormat(const Value& value, EmbeddingJob& job) {
  job.base64 = value.json == "base64";
  if (job.base64 || value.json == "float") return absl::OkStatus();
  return value.Refuse("\"float\" or \"base64\"");
}

absl::Status CheckDimensions(const Value& value, EmbeddingJob& job) {
  if (value.json == job.hidden_size) return absl::OkStatus();
  return value.Refuse(Concat(job.hidden_size, ", the numbers that this model's vectors have"));
}

absl::Status RefuseTruncation(const Value& value, EmbeddingJob& /*job*/) {
  return value.Refuse("unset; a text that is too long is refused");
}

constexpr EmbeddingField kFields[] = {
    {"model", [](const Value& value, EmbeddingJob& job) { return value.To(job.model); }},
    {"input", ReadTexts},
    {"encoding_format", ReadFormat},
    {"dimensions", CheckDimensions},
    {"add_special_tokens",
     [](const Value& value, EmbeddingJob& job) { return value.To(job.add_special_tokens); }},
    {"truncate_prompt_tokens", RefuseTruncation},
};

}  // namespace

std::span<const EmbeddingField> EmbeddingFields() { return kFields; }

absl::StatusOr<EmbeddingJob> ReadEmbeddingJob(const nlohmann::json& body,
                                              const models::ServedModel& model) {
  EmbeddingJob job{.model = model.name(),
                   .vocabulary = service::VocabularyOf(model),
                   .hidden_size = model.runner().config().hidden_size};
  for (const auto& [name, json] : body.items()) {
    if (json.is_null()) continue;
    const auto* const field = std::ranges::find(kFields, name, &EmbeddingField::name);
    if (field == std::end(kFields)) {
      job.ignored.push_back(name);
    } else if (absl::Status status = field->read({name, json}, job); !status.ok()) {
      return status;
    }
  }
  if (job.request.texts.empty()) {
    return Refusal("input", Words{"missing"}, "a text, tokens, or a list of either");
  }
  for (service::Input& input : job.request.texts) input.framed = job.add_special_tokens;
  return job;
}

}  // namespace fmaserver::openai
