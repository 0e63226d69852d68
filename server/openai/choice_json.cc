#include "server/openai/choice_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace fmaserver::openai {
namespace {

using engine::FinishReason;
using engine::TokenLogprob;
using engine::TokenScore;

/// JSON has no infinity; clients know this number for it.
double Finite(float logprob) {
  constexpr double kImpossible = -9999;
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kImpossible;
}

std::string BytesOf(const GenerateJob& job, int32_t token) {
  const model::Tokenizer* tokenizer = job.vocabulary.tokenizer.get();
  return tokenizer == nullptr ? std::string() : tokenizer->TokenBytes(token);
}

std::string TokenText(const GenerateJob& job, int32_t token) {
  if (job.tokens_as_ids || job.vocabulary.tokenizer == nullptr) return Concat("token_id:", token);
  return ReplaceInvalidUtf8(BytesOf(job, token));
}

/// Valid UTF-8 has as many characters as bytes that do not go on with one.
int64_t CharactersOf(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; });
}

/// The alternatives by text, with the token itself. Several tokens may have one text: the likeliest
/// counts.
Json TopOf(const GenerateJob& job, const TokenScore& score) {
  Json top = Json::object();
  const auto add = [&](int32_t token, float value) {
    const std::string text = TokenText(job, token);
    const double logprob = Finite(value);
    const auto known = top.find(text);
    if (known == top.end()) {
      top[text] = logprob;
    } else if (*known < logprob) {
      *known = logprob;
    }
  };
  for (const TokenLogprob& candidate : score.top) add(candidate.token, candidate.value);
  add(score.token, *score.logprob);
  return top;
}

/// Four lists of equal length. A sequence's first token has no probability.
Json CompletionLogprobs(const GenerateJob& job, const std::vector<TokenScore>& scores,
                        Shown& shown) {
  Json tokens = Json::array();
  Json values = Json::array();
  Json tops = Json::array();
  Json offsets = Json::array();
  for (const TokenScore& score : scores) {
    std::string text = TokenText(job, score.token);
    offsets.push_back(shown.offset);
    shown.offset += CharactersOf(text);
    tokens.push_back(std::move(text));
    values.push_back(score.logprob ? Json(Finite(*score.logprob)) : Json());
    tops.push_back(score.logprob ? TopOf(job, score) : Json());
  }
  Json logprobs;
  logprobs["text_offset"] = std::move(offsets);
  logprobs["token_logprobs"] = std::move(values);
  logprobs["tokens"] = std::move(tokens);
  logprobs["top_logprobs"] = std::move(tops);
  return logprobs;
}

Json ChatLogprob(const GenerateJob& job, int32_t token, float logprob) {
  Json bytes = Json::array();
  for (const char byte : BytesOf(job, token)) bytes.push_back(static_cast<uint8_t>(byte));
  Json json;
  json["token"] = TokenText(job, token);
  json["logprob"] = Finite(logprob);
  json["bytes"] = std::move(bytes);
  return json;
}

Json ChatLogprobs(const GenerateJob& job, const std::vector<TokenScore>& scores) {
  Json content = Json::array();
  for (const TokenScore& score : scores) {
    Json json = ChatLogprob(job, score.token, score.logprob.value_or(-INFINITY));
    Json top = Json::array();
    for (const TokenLogprob& candidate : score.top) {
      top.push_back(ChatLogprob(job, candidate.token, candidate.value));
    }
    json["top_logprobs"] = std::move(top);
    content.push_back(std::move(json));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

/// One entry for each token of the prompt, by id; null for the first.
Json PromptLogprobs(const GenerateJob& job, const std::vector<TokenScore>& scores) {
  Json list = Json::array();
  for (const TokenScore& score : scores) {
    if (!score.logprob.has_value()) {
      list.emplace_back(nullptr);
      continue;
    }
    Json entry = Json::object();
    const auto add = [&](int32_t token, float logprob) {
      entry[Concat(token)] = {{"logprob", Finite(logprob)},
                              {"decoded_token", TokenText(job, token)}};
    };
    for (const TokenLogprob& candidate : score.top) add(candidate.token, candidate.value);
    add(score.token, *score.logprob);
    list.push_back(std::move(entry));
  }
  return list;
}

Json SourcesOf(const std::vector<std::vector<engine::Source>>& sources) {
  Json list = Json::array();
  for (const auto& found : sources) {
    Json& token = list.emplace_back(Json::array());
    for (const engine::Source& source : found) {
      Json& unit = token.emplace_back();
      unit["first_token"] = source.begin;
      unit["end_token"] = source.end;
      unit["share"] = Finite(source.share);
      unit["text"] = source.text;
      unit["first_byte"] = source.bytes.has_value() ? Json(source.bytes->begin) : Json();
      unit["end_byte"] = source.bytes.has_value() ? Json(source.bytes->end) : Json();
    }
  }
  return list;
}

/// To six places, because a stream of all digits would take three times the bytes.
double ShareOf(float share) { return std::round(double{share} * 1e6) / 1e6; }

/// For each token a list of layers.
Json SharesOf(const std::vector<engine::AttentionShares>& tokens) {
  Json list = Json::array();
  for (const engine::AttentionShares& shares : tokens) {
    Json& layers = list.emplace_back(Json::array());
    for (const engine::LayerShares& layer : shares) {
      Json& json = layers.emplace_back();
      json["sinks"] = ShareOf(layer.sinks);
      json["near_field"] = ShareOf(layer.near_field);
      for (const float level : layer.levels) json["levels"].push_back(ShareOf(level));
      json["opened_units"] = ShareOf(layer.opened_units);
    }
  }
  return list;
}

Json FinishReasonOf(const std::optional<End>& end) {
  if (!end.has_value()) return nullptr;
  const bool stopped =
      end->reason == FinishReason::kEos || end->reason == FinishReason::kStopSequence;
  return stopped ? "stop" : "length";
}

Json StopReasonOf(const std::optional<End>& end) {
  if (!end.has_value()) return nullptr;
  if (end->reason == FinishReason::kTimeLimit) return "time_limit";
  if (!end->stop.empty()) return end->stop;
  return end->stop_token.has_value() ? Json(*end->stop_token) : Json();
}

/// "message", or of a stream "delta", whose first names the role.
void AddMessage(const GenerateJob& job, const Part& part, const Shown& shown, Json& choice) {
  Json said = Json::object();
  if (!job.stream || !shown.begun) said["role"] = "assistant";
  // The last delta of a stream says nothing, but that the text held back was some after all.
  const bool silent = job.stream && part.text.empty() && shown.begun;
  if (!silent) said["content"] = part.text;
  if (!job.stream) said["refusal"] = nullptr;
  choice[job.stream ? "delta" : "message"] = std::move(said);
}

}  // namespace

Json ChoiceOf(const GenerateJob& job, int64_t index, const Part& part, Shown& shown) {
  Json choice;
  choice["index"] = index;
  if (job.chat) {
    AddMessage(job, part, shown, choice);
  } else {
    choice["text"] = part.text;
  }
  Json logprobs;
  const bool shows = job.logprobs && (!part.scores.empty() || !job.stream);
  if (shows && job.chat) logprobs = ChatLogprobs(job, part.scores);
  if (shows && !job.chat) logprobs = CompletionLogprobs(job, part.scores, shown);
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = FinishReasonOf(part.end);
  choice["stop_reason"] = StopReasonOf(part.end);
  if (!part.prompt.empty()) choice["prompt_logprobs"] = PromptLogprobs(job, part.prompt);
  if (!part.prompt_tokens.empty()) choice["prompt_token_ids"] = part.prompt_tokens;
  if (job.return_token_ids) choice["token_ids"] = part.tokens;
  if (!part.sources.empty()) choice["sources"] = SourcesOf(part.sources);
  if (!part.attention_shares.empty()) choice["attention_shares"] = SharesOf(part.attention_shares);
  shown.begun = true;
  return choice;
}

Json MaxLengthOf(const models::ServedModel& model) {
  if (model.is_encoder()) return model.encoder().MaxTokens();
  const int64_t length = model.engine().model().config().MaxSequenceLength();
  return length == std::numeric_limits<int64_t>::max() ? Json() : Json(length);
}

Json UsageOf(const TokenUsage& usage) {
  Json json;
  json["prompt_tokens"] = usage.prompt;
  json["completion_tokens"] = usage.completion;
  json["total_tokens"] = usage.prompt + usage.completion;
  json["prompt_tokens_details"] = {{"cached_tokens", usage.cached}};
  return json;
}

std::string TextOf(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string EventOf(const std::string& datum) { return Concat("data: ", datum, "\n\n"); }

}  // namespace fmaserver::openai
