#include "server/rpc/to_wire.h"

#include <limits>
#include <string>
#include <vector>

namespace fmaserver::rpc {
namespace {

// Without learned positions the config says "longest int64": the wire says 0.
uint64_t MaxSequenceLengthOnWire(const model::ModelConfig& config) {
  const int64_t length = config.MaxSequenceLength();
  return length == std::numeric_limits<int64_t>::max() ? 0 : static_cast<uint64_t>(length);
}

std::string BytesOf(int32_t token, const model::Tokenizer* tokenizer) {
  return tokenizer == nullptr ? std::string() : tokenizer->TokenBytes(token);
}

v1::TokenLogprob ToWire(const engine::TokenLogprob& candidate, const model::Tokenizer* tokenizer) {
  v1::TokenLogprob message;
  message.set_token_id(candidate.token);
  message.set_token(BytesOf(candidate.token, tokenizer));
  message.set_logprob(candidate.value);
  return message;
}

v1::TokenScore ToWire(const engine::TokenScore& score, const model::Tokenizer* tokenizer) {
  v1::TokenScore message;
  message.set_token_id(score.token);
  message.set_token(BytesOf(score.token, tokenizer));
  if (score.logprob.has_value()) message.set_logprob(*score.logprob);
  for (const engine::TokenLogprob& candidate : score.top) {
    *message.add_top() = ToWire(candidate, tokenizer);
  }
  return message;
}

v1::FinishReason ToWire(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case engine::FinishReason::kStopSequence:
      return v1::FINISH_REASON_STOP_SEQUENCE;
    case engine::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case engine::FinishReason::kTimeLimit:
      return v1::FINISH_REASON_TIME_LIMIT;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Usage ToWire(const engine::Usage& usage) {
  v1::Usage message;
  message.set_prompt_tokens(usage.prompt_tokens);
  message.set_cached_tokens(usage.cached_tokens);
  message.set_generated_tokens(usage.generated_tokens);
  message.set_queue_seconds(usage.queue_seconds);
  message.set_prefill_seconds(usage.prefill_seconds);
  message.set_decode_seconds(usage.decode_seconds);
  return message;
}

}  // namespace

v1::Finished ToWire(const engine::Finished& finish) {
  v1::Finished message;
  message.set_index(finish.index);
  message.set_reason(ToWire(finish.reason));
  *message.mutable_usage() = ToWire(finish.usage);
  message.set_text(finish.text);
  if (finish.stop_token.has_value()) message.set_stop_token_id(*finish.stop_token);
  if (!finish.stop.empty()) message.set_stop(finish.stop);
  return message;
}

v1::Delta ToWire(const engine::Delta& delta, const model::Tokenizer* tokenizer) {
  v1::Delta message;
  message.set_index(delta.index);
  message.mutable_token_ids()->Add(delta.tokens.begin(), delta.tokens.end());
  message.set_text(delta.text);
  message.mutable_logprobs()->Add(delta.logprobs.begin(), delta.logprobs.end());
  for (const std::vector<engine::TokenLogprob>& candidates : delta.top_logprobs) {
    v1::TopLogprobs& top = *message.add_top_logprobs();
    for (const engine::TokenLogprob& candidate : candidates) {
      *top.add_tokens() = ToWire(candidate, tokenizer);
    }
  }
  return message;
}

std::vector<v1::TokenScores> ToWireChunks(std::span<const engine::TokenScore> scores,
                                          const model::Tokenizer* tokenizer) {
  constexpr int kTokensPerMessage = 64;
  std::vector<v1::TokenScores> chunks;
  for (const engine::TokenScore& score : scores) {
    if (chunks.empty() || chunks.back().tokens_size() == kTokensPerMessage) chunks.emplace_back();
    *chunks.back().add_tokens() = ToWire(score, tokenizer);
  }
  return chunks;
}

v1::Model DescribeModel(const engine::Engine& engine) {
  const engine::Model& model = engine.model();
  const model::ModelConfig& config = model.config();
  v1::Model message;
  message.set_name(model.name());
  message.set_vocab_size(config.vocab_size);
  message.set_max_sequence_length(MaxSequenceLengthOnWire(config));
  message.set_horizon_tokens(config.attention.hierarchy.Horizon());
  if (engine.tokenizer() != nullptr) message.set_tokenizer(std::string(engine.tokenizer()->Kind()));
  message.mutable_bos_token_ids()->Add(config.bos_token_ids.begin(), config.bos_token_ids.end());
  message.mutable_eos_token_ids()->Add(config.eos_token_ids.begin(), config.eos_token_ids.end());
  message.set_parameters(model.num_parameters());
  message.set_weight_bytes(model.weight_bytes());
  message.set_slot_bytes(model.slot_bytes());
  message.set_full_cache_bytes_per_token(model.full_cache_bytes_per_token());
  message.set_num_slots(engine.options().num_slots);
  message.set_device(model.device());
  message.set_server_version(FMA_VERSION);
  return message;
}

}  // namespace fmaserver::rpc
