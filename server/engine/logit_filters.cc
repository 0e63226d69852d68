#include "server/engine/logit_filters.h"

#include <algorithm>
#include <limits>
#include <map>

namespace fmaserver::engine {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

std::vector<int32_t> EachOnce(std::vector<int32_t> tokens) {
  std::ranges::sort(tokens);
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

std::vector<kernels::TokenValue> Values(const std::map<int32_t, float>& values) {
  std::vector<kernels::TokenValue> list;
  list.reserve(values.size());
  for (const auto& [token, value] : values) list.push_back({token, value});
  return list;
}

bool Penalizes(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
         params.presence_penalty != 0;
}

}  // namespace

void Ban(std::span<const int32_t> tokens, std::span<float> logits) {
  for (const int32_t token : tokens) logits[token] = kNever;
}

LogitFilters::LogitFilters(const SamplingParams& params, std::span<const int32_t> prompt)
    : allowed_(EachOnce(params.allowed_token_ids)),
      banned_(EachOnce(params.banned_token_ids)),
      bias_(Values(params.logit_bias)),
      repetition_penalty_(params.repetition_penalty),
      frequency_penalty_(params.frequency_penalty),
      presence_penalty_(params.presence_penalty),
      penalizes_(Penalizes(params)),
      counts_(penalizes_ ? prompt : std::span<const int32_t>()) {}

void LogitFilters::Apply(std::span<float> logits) const {
  KeepAllowed(logits);
  Ban(banned_, logits);
  for (const auto& [token, bias] : bias_) logits[token] += bias;
  if (penalizes_) Penalize(logits);
}

void LogitFilters::Describe(kernels::RowSampling& row) {
  row.allowed = allowed_;
  row.banned = banned_;
  row.bias = bias_;
  if (!penalizes_) return;
  count_values_.clear();
  for (const auto& [token, times] : counts_.generated()) {
    count_values_.push_back({token, static_cast<float>(times)});
  }
  row.counts = count_values_;
  row.repetition_penalty = repetition_penalty_;
  row.frequency_penalty = frequency_penalty_;
  row.presence_penalty = presence_penalty_;
}

void LogitFilters::KeepAllowed(std::span<float> logits) const {
  if (allowed_.empty()) return;
  std::vector<float> kept;
  kept.reserve(allowed_.size());
  for (const int32_t token : allowed_) kept.push_back(logits[token]);
  std::ranges::fill(logits, kNever);
  for (size_t i = 0; i < allowed_.size(); ++i) logits[allowed_[i]] = kept[i];
}

void LogitFilters::Penalize(std::span<float> logits) const {
  for (const auto& [token, times] : counts_.generated()) {
    float& logit = logits[token];
    logit = logit > 0 ? logit / repetition_penalty_ : logit * repetition_penalty_;
    logit -= frequency_penalty_ * static_cast<float>(times);
    if (times > 0) logit -= presence_penalty_;
  }
}

}  // namespace fmaserver::engine
