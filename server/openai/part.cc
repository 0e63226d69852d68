#include "server/openai/part.h"

#include <iterator>
#include <utility>

namespace fmaserver::openai {
namespace {

template <class T>
void Append(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

void Part::Join(Part&& next) {
  text += next.text;
  Append(tokens, std::move(next.tokens));
  Append(scores, std::move(next.scores));
  Append(prompt, std::move(next.prompt));
  Append(prompt_tokens, std::move(next.prompt_tokens));
  Append(sources, std::move(next.sources));
  Append(attention_shares, std::move(next.attention_shares));
  if (next.end.has_value()) end = std::move(next.end);
}

size_t Part::bytes() const {
  size_t bytes = text.size() + (tokens.size() + prompt_tokens.size()) * sizeof(int32_t) +
                 service::BytesOf(scores) + service::BytesOf(prompt);
  for (const auto& found : sources) {
    for (const engine::Source& source : found) bytes += sizeof source + source.text.size();
  }
  for (const engine::AttentionShares& shares : attention_shares) bytes += service::BytesOf(shares);
  return bytes;
}

Part PartOf(service::PromptTokens event, const GenerateJob& job) {
  Part part;
  if (job.return_token_ids) {
    for (const engine::TokenScore& score : event.tokens) part.prompt_tokens.push_back(score.token);
  }
  if (job.echo && job.logprobs) {
    part.scores = std::move(event.tokens);
  } else if (job.request.options.prompt_logprobs.has_value()) {
    part.prompt = std::move(event.tokens);
  }
  return part;
}

Part PartOf(engine::Delta event) {
  Part part;
  for (size_t i = 0; i < event.logprobs.size(); ++i) {
    engine::TokenScore& score = part.scores.emplace_back();
    score.token = event.tokens[i];
    score.logprob = event.logprobs[i];
    if (i < event.top_logprobs.size()) score.top = std::move(event.top_logprobs[i]);
  }
  part.text = std::move(event.text);
  part.tokens = std::move(event.tokens);
  part.sources = std::move(event.sources);
  part.attention_shares = std::move(event.attention_shares);
  return part;
}

Part PartOf(const service::GenerationFinished& event) {
  Part part;
  part.text = event.end.text;
  End& end = part.end.emplace();
  end.reason = event.end.reason;
  end.stop = event.end.stop;
  if (end.reason == engine::FinishReason::kStopSequence) end.stop_token = event.end.stop_token;
  return part;
}

}  // namespace fmaserver::openai
