#include "server/rpc/to_wire.h"

#include <algorithm>
#include <limits>
#include <string>
#include <variant>
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

v1::CacheMiss ToWire(engine::CacheMiss miss) {
  switch (miss) {
    case engine::CacheMiss::kNone:
      return v1::CACHE_MISS_UNSPECIFIED;
    case engine::CacheMiss::kOff:
      return v1::CACHE_MISS_OFF;
    case engine::CacheMiss::kSkipped:
      return v1::CACHE_MISS_SKIPPED;
    case engine::CacheMiss::kSession:
      return v1::CACHE_MISS_SESSION;
    case engine::CacheMiss::kShort:
      return v1::CACHE_MISS_SHORT;
    case engine::CacheMiss::kUnseen:
      return v1::CACHE_MISS_UNSEEN;
    case engine::CacheMiss::kNotKept:
      return v1::CACHE_MISS_NOT_KEPT;
  }
  return v1::CACHE_MISS_UNSPECIFIED;
}

v1::Usage ToWire(const engine::Usage& usage) {
  v1::Usage message;
  message.set_prompt_tokens(usage.prompt_tokens);
  message.set_cached_tokens(usage.cached_tokens);
  message.set_cache_miss(ToWire(usage.cache_miss));
  message.set_generated_tokens(usage.generated_tokens);
  message.set_archived_tokens(usage.archived_tokens);
  message.set_queue_seconds(usage.queue_seconds);
  message.set_prefill_seconds(usage.prefill_seconds);
  message.set_decode_seconds(usage.decode_seconds);
  return message;
}

v1::Source ToWire(const engine::Source& source) {
  v1::Source message;
  message.set_first_token(source.begin);
  message.set_end_token(source.end);
  message.set_share(source.share);
  message.set_text(source.text);
  if (!source.bytes.has_value()) return message;
  message.set_first_byte(source.bytes->begin);
  message.set_end_byte(source.bytes->end);
  return message;
}

v1::AttentionShares ToWire(const engine::AttentionShares& shares) {
  v1::AttentionShares message;
  for (const engine::LayerShares& layer : shares) {
    v1::LayerShares& to = *message.add_layers();
    to.set_sinks(layer.sinks);
    to.set_near_field(layer.near_field);
    to.mutable_levels()->Add(layer.levels.begin(), layer.levels.end());
    to.set_opened_units(layer.opened_units);
  }
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
  for (const std::vector<engine::Source>& found : delta.sources) {
    v1::Sources& sources = *message.add_sources();
    for (const engine::Source& source : found) *sources.add_sources() = ToWire(source);
  }
  for (const engine::AttentionShares& shares : delta.attention_shares) {
    *message.add_attention_shares() = ToWire(shares);
  }
  return message;
}

v1::Finished ToWire(const service::GenerationFinished& finished) {
  const engine::Finished& end = finished.end;
  v1::Finished message;
  message.set_index(end.index);
  message.set_reason(ToWire(end.reason));
  *message.mutable_usage() = ToWire(end.usage);
  message.set_text(end.text);
  if (end.stop_token.has_value()) message.set_stop_token_id(*end.stop_token);
  if (!end.stop.empty()) message.set_stop(end.stop);
  if (finished.session.has_value()) {
    v1::SessionTurn& session = *message.mutable_session();
    session.set_session_id(finished.session->id);
    session.set_tokens(finished.session->tokens);
    session.set_durable(finished.session->durable);
  }
  return message;
}

void Assign(const std::vector<engine::TokenScore>& scores, const model::Tokenizer* tokenizer,
            v1::TokenScores& message) {
  for (const engine::TokenScore& score : scores) *message.add_tokens() = ToWire(score, tokenizer);
}

/// Fills the answer's one event of each kind.
struct FillResponse {
  const model::Tokenizer* tokenizer;
  v1::GenerateResponse& response;

  void operator()(const engine::PromptProgress& progress) const {
    response.mutable_progress()->set_processed_tokens(progress.processed_tokens);
    response.mutable_progress()->set_total_tokens(progress.total_tokens);
    response.mutable_progress()->set_cached_tokens(progress.cached_tokens);
  }
  void operator()(const service::PromptTokens& prompt) const {
    Assign(prompt.tokens, tokenizer, *response.mutable_prompt());
  }
  void operator()(const engine::Delta& delta) const {
    *response.mutable_delta() = ToWire(delta, tokenizer);
  }
  void operator()(const service::GenerationFinished& finished) const {
    *response.mutable_finished() = ToWire(finished);
  }
  void operator()(const service::GenerationInterrupted& interrupted) const {
    response.mutable_interrupted()->set_resume_token(interrupted.resume_token);
  }
};

v1::Role ToWire(service::Role role) {
  switch (role) {
    case service::Role::kPrefill:
      return v1::ROLE_PREFILL;
    case service::Role::kDecode:
      return v1::ROLE_DECODE;
    case service::Role::kAny:
      break;
  }
  return v1::ROLE_ANY;
}

void DescribeEncoder(const engine::EncoderEngine& engine, v1::Model& message) {
  const engine::Encoder& encoder = engine.encoder();
  message.set_encoder(true);
  message.set_max_sequence_length(engine.MaxTokens());
  if (const auto mask = encoder.config().mask_token_id) message.set_mask_token_id(*mask);
  message.set_parameters(encoder.num_parameters());
  message.set_weight_bytes(encoder.weight_bytes());
  message.set_num_slots(engine.options().num_slots);
  message.set_device(encoder.device());
}

void DescribeDecoder(const models::ServedModel& served, v1::Model& message) {
  const engine::Engine& engine = served.engine();
  const engine::Model& model = engine.model();
  message.set_max_sequence_length(MaxSequenceLengthOnWire(model.config()));
  message.set_parameters(model.num_parameters());
  message.set_weight_bytes(model.weight_bytes());
  message.set_slot_bytes(model.slot_bytes());
  message.set_parked_bytes(engine.parking().bytes());
  message.set_full_cache_bytes_per_token(model.full_cache_bytes_per_token());
  message.set_num_slots(engine.options().num_slots);
  message.set_device(model.device());
  const model::SamplingDefaults& sampling = served.sampling_defaults();
  message.mutable_sampling()->set_temperature(sampling.temperature);
  message.mutable_sampling()->set_top_k(static_cast<uint32_t>(sampling.top_k));
  message.mutable_sampling()->set_top_p(sampling.top_p);
  message.mutable_sampling()->set_min_p(sampling.min_p);
  message.mutable_sampling()->set_repetition_penalty(sampling.repetition_penalty);
  message.set_chat(engine.tokenizer() != nullptr && served.chat_template() != nullptr);
  if (const engine::ArchivePool* archives = engine.archives().get(); archives != nullptr) {
    message.set_open_units(model.config().attention.open_units);
    message.set_archive_bytes_per_1000_tokens(archives->BytesPer1000Tokens());
    message.set_archive_budget_bytes(archives->budget_bytes());
    message.set_archive_used_bytes(archives->used_bytes());
  }
}

v1::EncoderSummary ToWire(const service::EncodeSummary& summary) {
  v1::EncoderSummary message;
  message.set_tokens(summary.tokens);
  message.set_queue_seconds(summary.queue_seconds);
  message.set_seconds(summary.seconds);
  return message;
}

}  // namespace

v1::EmbedResponse EmbeddingToWire(const service::EncodeEvent& event) {
  v1::EmbedResponse response;
  if (const auto* summary = std::get_if<service::EncodeSummary>(&event)) {
    *response.mutable_summary() = ToWire(*summary);
    return response;
  }
  const auto& [text, truncated_tokens] = std::get<service::TextEncoded>(event);
  v1::Embedding& embedding = *response.mutable_embedding();
  embedding.set_index(static_cast<uint32_t>(text.index));
  embedding.mutable_values()->Add(text.embedding.begin(), text.embedding.end());
  embedding.set_tokens(text.tokens);
  embedding.set_truncated_tokens(truncated_tokens);
  return response;
}

v1::FillMaskResponse FilledToWire(const service::EncodeEvent& event,
                                  const model::Tokenizer* tokenizer) {
  v1::FillMaskResponse response;
  if (const auto* summary = std::get_if<service::EncodeSummary>(&event)) {
    *response.mutable_summary() = ToWire(*summary);
    return response;
  }
  const engine::EncodedText& text = std::get<service::TextEncoded>(event).text;
  v1::FilledText& filled = *response.mutable_text();
  filled.set_index(static_cast<uint32_t>(text.index));
  filled.set_tokens(text.tokens);
  for (const engine::FilledMask& mask : text.masks) {
    v1::FilledMask& message = *filled.add_masks();
    message.set_position(mask.position);
    for (const engine::TokenLogprob& candidate : mask.candidates) {
      *message.add_candidates() = ToWire(candidate, tokenizer);
    }
  }
  return response;
}

v1::GenerateResponse ToWire(const service::GenerateEvent& event,
                            const model::Tokenizer* tokenizer) {
  v1::GenerateResponse response;
  std::visit(FillResponse{tokenizer, response}, event);
  return response;
}

v1::ScoreResponse ToWire(const service::ScoreEvent& event, const model::Tokenizer* tokenizer) {
  v1::ScoreResponse response;
  if (const auto* scores = std::get_if<service::Scores>(&event)) {
    Assign(scores->tokens, tokenizer, *response.mutable_scores());
    return response;
  }
  const auto& end = std::get<service::ScoreSummary>(event);
  v1::ScoreSummary& summary = *response.mutable_summary();
  summary.set_scored_tokens(end.scored_tokens);
  summary.set_total_logprob(end.total_logprob);
  summary.set_seconds(end.seconds);
  return response;
}

grpc::ByteBuffer SerializeTokens(std::span<const int32_t> tokens,
                                 const model::Tokenizer& tokenizer) {
  // The bytes of several messages, one after the other, are those of the message that holds what
  // all of them hold.
  constexpr size_t kTokensPerPart = 4096;
  std::vector<grpc::Slice> parts;
  while (!tokens.empty()) {
    const auto part = tokens.first(std::min(tokens.size(), kTokensPerPart));
    tokens = tokens.subspan(part.size());
    v1::TokenizeResponse message;
    message.mutable_token_ids()->Add(part.begin(), part.end());
    for (const int32_t token : part) message.add_tokens(tokenizer.TokenBytes(token));
    parts.emplace_back(message.SerializeAsString());
  }
  return {parts.data(), parts.size()};
}

v1::Model DescribeModel(const models::ServedModel& served, const service::Share& share) {
  const engine::RequestRunner& runner = served.runner();
  const model::ModelConfig& config = runner.config();
  v1::Model message;
  message.set_name(served.name());
  message.mutable_aliases()->Add(served.aliases().begin(), served.aliases().end());
  message.set_vocab_size(config.vocab_size);
  message.set_hidden_size(config.hidden_size);
  message.set_horizon_tokens(config.attention.hierarchy.Horizon());
  if (runner.tokenizer() != nullptr) message.set_tokenizer(std::string(runner.tokenizer()->Kind()));
  message.mutable_bos_token_ids()->Add(config.bos_token_ids.begin(), config.bos_token_ids.end());
  message.mutable_eos_token_ids()->Add(config.eos_token_ids.begin(), config.eos_token_ids.end());
  message.set_server_version(FMA_VERSION);
  message.set_role(ToWire(share.role));
  if (share.role != service::Role::kAny) message.set_role_tokens(share.tokens);
  if (served.is_encoder()) {
    DescribeEncoder(served.encoder(), message);
  } else {
    DescribeDecoder(served, message);
  }
  return message;
}

}  // namespace fmaserver::rpc
