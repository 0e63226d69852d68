#include "server/openai/fields.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

using nlohmann::json;

engine::GenerateRequest& Options(GenerateJob& job) { return job.request.options; }
engine::SamplingParams& Sampling(GenerateJob& job) { return job.request.options.sampling; }

absl::Status ReadTopK(const Value& value, GenerateJob& job) {
  int64_t k = 0;
  if (absl::Status status = value.To(k); !status.ok()) return status;
  if (k < -1) return value.Refuse("0 or -1 (all), or 1 and more");
  Sampling(job).top_k = k == -1 ? 0 : service::TopK(k, job.vocabulary);
  return absl::OkStatus();
}

absl::Status ReadSeed(const Value& value, GenerateJob& job) {
  int64_t seed = 0;
  absl::Status status = value.To(seed);
  if (status.ok()) Sampling(job).seed = static_cast<uint64_t>(seed);
  return status;
}

absl::Status ReadLogitBias(const Value& value, GenerateJob& job) {
  if (!value.json.is_object()) return value.Refuse("an object of token ids and biases");
  for (const auto& [key, bias] : value.json.items()) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(key, &id)) {
      return Refusal("logit_bias", key, "token ids as names of fields");
    }
    if (id >= job.vocabulary.size) return service::IdNotAllowed("logit_bias", id, job.vocabulary);
    const std::string name = Concat("logit_bias[", id, "]");
    absl::Status status = Value{name, bias}.To(Sampling(job).logit_bias[static_cast<int32_t>(id)]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadStop(const Value& value, GenerateJob& job) {
  std::vector<std::string>& stop = Options(job).stop;
  if (value.json.is_string()) return value.To(stop.emplace_back());
  if (!value.json.is_array()) return value.Refuse("a text or a list of texts");
  for (const json& text : value.json) {
    const std::string name = Concat("stop[", stop.size(), "]");
    if (absl::Status status = Value{name, text}.To(stop.emplace_back()); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status ReadStreamOptions(const Value& value, GenerateJob& job) {
  if (!value.json.is_object()) return value.Refuse("an object");
  for (const auto& [key, option] : value.json.items()) {
    if (option.is_null()) continue;
    const std::string name = Concat("stream_options.", key);
    absl::Status status;
    if (key == "include_usage") {
      status = Value{name, option}.To(job.include_usage);
    } else if (key == "continuous_usage_stats") {
      status = Value{name, option}.To(job.continuous_usage);
    } else {
      job.ignored.push_back(name);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadResponseFormat(const Value& value, GenerateJob& /*job*/) {
  if (value.json.is_object() && value.json.value("type", json()) == "text") return absl::OkStatus();
  return value.Refuse("{\"type\":\"text\"}; other formats are not supported");
}

absl::Status ReadToolChoice(const Value& value, GenerateJob& /*job*/) {
  if (value.json == "none" || value.json == "auto") return absl::OkStatus();
  return value.Refuse("\"none\"; tools are not supported");
}

constexpr Field kCommon[] = {
    {"model", [](const Value& v, GenerateJob& job) { return v.To(job.model); }},
    // How tokens are chosen.
    {"temperature", [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).temperature); }},
    {"top_p", [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).top_p); }},
    {"top_k", ReadTopK},
    {"min_p", [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).min_p); }},
    {"repetition_penalty",
     [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).repetition_penalty); }},
    {"frequency_penalty",
     [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).frequency_penalty); }},
    {"presence_penalty",
     [](const Value& v, GenerateJob& j) { return v.To(Sampling(j).presence_penalty); }},
    {"logit_bias", ReadLogitBias},
    {"allowed_token_ids",
     [](const Value& v, GenerateJob& j) {
       return v.ToIds(j.vocabulary, Sampling(j).allowed_token_ids);
     }},
    {"banned_token_ids",
     [](const Value& v, GenerateJob& j) {
       return v.ToIds(j.vocabulary, Sampling(j).banned_token_ids);
     }},
    {"seed", ReadSeed},
    {"n", [](const Value& v, GenerateJob& j) { return v.To(Options(j).n); }},
    // Where they end.
    {"max_tokens", [](const Value& v, GenerateJob& j) { return v.To(Options(j).max_tokens); }},
    {"min_tokens", [](const Value& v, GenerateJob& j) { return v.To(Options(j).min_tokens); }},
    {"ignore_eos", [](const Value& v, GenerateJob& j) { return v.To(Options(j).ignore_eos); }},
    {"stop", ReadStop},
    {"stop_token_ids",
     [](const Value& v, GenerateJob& j) {
       return v.ToIds(j.vocabulary, Options(j).stop_token_ids);
     }},
    {"include_stop_str_in_output",
     [](const Value& v, GenerateJob& j) { return v.To(Options(j).include_stop); }},
    {"time_limit_seconds",
     [](const Value& v, GenerateJob& j) { return v.To(Options(j).time_limit_seconds); }},
    // What else is asked.
    {"prompt_logprobs",
     [](const Value& v, GenerateJob& j) { return v.To(Options(j).prompt_logprobs.emplace()); }},
    {"priority", [](const Value& v, GenerateJob& j) { return v.To(Options(j).priority); }},
    {"cache_salt", [](const Value& v, GenerateJob& j) { return v.To(j.request.cache_salt); }},
    {"skip_prefix_cache",
     [](const Value& v, GenerateJob& j) { return v.To(j.request.skip_prefix_cache); }},
    {"no_archive", [](const Value& v, GenerateJob& j) { return v.To(Options(j).no_archive); }},
    {"sources", [](const Value& v, GenerateJob& j) { return v.To(Options(j).sources); }},
    {"attention_shares",
     [](const Value& v, GenerateJob& j) { return v.To(Options(j).attention_shares); }},
    // How the answer comes.
    {"stream", [](const Value& v, GenerateJob& j) { return v.To(j.stream); }},
    {"stream_options", ReadStreamOptions},
    {"return_progress", [](const Value& v, GenerateJob& j) { return v.To(j.return_progress); }},
    {"return_token_ids", [](const Value& v, GenerateJob& j) { return v.To(j.return_token_ids); }},
    {"return_tokens_as_token_ids",
     [](const Value& v, GenerateJob& j) { return v.To(j.tokens_as_ids); }},
};

constexpr Field kAbsent[] = {
    {"response_format", ReadResponseFormat},
    {"tool_choice", ReadToolChoice},
    {"skip_special_tokens", MustBeTrue},
    {"spaces_between_special_tokens", MustBeTrue},
    {"tools", MustBeUnset},
    {"functions", MustBeUnset},
    {"function_call", ReadToolChoice},
    {"bad_words", MustBeUnset},
    {"use_beam_search", MustBeUnset},
    {"structured_outputs", MustBeUnset},
    {"guided_json", MustBeUnset},
    {"guided_regex", MustBeUnset},
    {"guided_choice", MustBeUnset},
    {"guided_grammar", MustBeUnset},
    {"logprob_token_ids", MustBeUnset},
    {"truncate_prompt_tokens", MustBeUnset},
    {"prompt_embeds", MustBeUnset},
    {"repetition_detection", MustBeUnset},
    {"watermarking", MustBeUnset},
    {"logits_processors", MustBeUnset},
    {"return_hidden_states", MustBeUnset},
    {"audio", MustBeUnset},
};

const Field* Find(std::initializer_list<std::span<const Field>> tables, std::string_view name) {
  for (const std::span<const Field> table : tables) {
    const auto found = std::ranges::find(table, name, &Field::name);
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace

absl::Status MustBeUnset(const Value& value, GenerateJob& /*job*/) {
  const json& found = value.json;
  const bool is_empty = (found.is_structured() && found.empty()) || found == "" || found == false;
  return is_empty ? absl::OkStatus() : value.Refuse("unset; this server does not support it");
}

absl::Status MustBeTrue(const Value& value, GenerateJob& /*job*/) {
  return value.json == true ? absl::OkStatus() : value.Refuse("true");
}

absl::Status MustBeFalse(const Value& value, GenerateJob& /*job*/) {
  return value.json == false ? absl::OkStatus() : value.Refuse("false");
}

absl::Status ReadFields(const json& body, std::initializer_list<std::span<const Field>> tables,
                        GenerateJob& job) {
  for (const auto& [name, value] : body.items()) {
    if (value.is_null()) continue;
    const Field* field = Find(tables, name);
    if (field == nullptr) {
      job.ignored.push_back(name);
    } else if (absl::Status status = field->read({name, value}, job); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

std::span<const Field> CommonFields() { return kCommon; }

std::span<const Field> AbsentFields() { return kAbsent; }

}  // namespace fmaserver::openai
