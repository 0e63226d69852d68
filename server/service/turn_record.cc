#include "server/service/turn_record.h"

#include "fma/internal/turn_request.pb.h"

namespace fmaserver::service {

std::string EncodeTurn(const GenerateRequest& request) {
  const engine::GenerateRequest& options = request.options;
  const engine::SamplingParams& sampling = options.sampling;
  internal::TurnRequest record;
  record.set_temperature(sampling.temperature);
  record.set_top_k(sampling.top_k);
  record.set_top_p(sampling.top_p);
  record.set_min_p(sampling.min_p);
  record.set_repetition_penalty(sampling.repetition_penalty);
  record.set_frequency_penalty(sampling.frequency_penalty);
  record.set_presence_penalty(sampling.presence_penalty);
  record.mutable_logit_bias()->insert(sampling.logit_bias.begin(), sampling.logit_bias.end());
  record.mutable_allowed_token_ids()->Add(sampling.allowed_token_ids.begin(),
                                          sampling.allowed_token_ids.end());
  record.mutable_banned_token_ids()->Add(sampling.banned_token_ids.begin(),
                                         sampling.banned_token_ids.end());
  record.set_max_tokens(options.max_tokens);
  record.set_min_tokens(options.min_tokens);
  record.set_ignore_eos(options.ignore_eos);
  for (const std::string& stop : options.stop) record.add_stop(stop);
  record.mutable_stop_token_ids()->Add(options.stop_token_ids.begin(),
                                       options.stop_token_ids.end());
  record.set_include_stop(options.include_stop);
  record.set_time_limit_seconds(options.time_limit_seconds);
  record.set_logprobs(options.logprobs);
  record.set_top_logprobs(options.top_logprobs);
  record.set_priority(options.priority);
  record.set_cache_salt(request.cache_salt);
  record.set_skip_prefix_cache(request.skip_prefix_cache);
  record.set_no_archive(options.no_archive);
  record.set_sources(options.sources);
  record.set_attention_shares(options.attention_shares);
  return record.SerializeAsString();
}

absl::StatusOr<GenerateRequest> DecodeTurn(const std::string& bytes) {
  internal::TurnRequest record;
  if (!record.ParseFromString(bytes)) {
    return absl::DataLossError("the session's interrupted request cannot be read");
  }
  GenerateRequest request;
  engine::GenerateRequest& options = request.options;
  engine::SamplingParams& sampling = options.sampling;
  sampling.temperature = record.temperature();
  sampling.top_k = record.top_k();
  sampling.top_p = record.top_p();
  sampling.min_p = record.min_p();
  sampling.repetition_penalty = record.repetition_penalty();
  sampling.frequency_penalty = record.frequency_penalty();
  sampling.presence_penalty = record.presence_penalty();
  sampling.logit_bias.insert(record.logit_bias().begin(), record.logit_bias().end());
  sampling.allowed_token_ids.assign(record.allowed_token_ids().begin(),
                                    record.allowed_token_ids().end());
  sampling.banned_token_ids.assign(record.banned_token_ids().begin(),
                                   record.banned_token_ids().end());
  options.max_tokens = record.max_tokens();
  options.min_tokens = record.min_tokens();
  options.ignore_eos = record.ignore_eos();
  options.stop.assign(record.stop().begin(), record.stop().end());
  options.stop_token_ids.assign(record.stop_token_ids().begin(), record.stop_token_ids().end());
  options.include_stop = record.include_stop();
  options.time_limit_seconds = record.time_limit_seconds();
  options.logprobs = record.logprobs();
  options.top_logprobs = record.top_logprobs();
  options.priority = record.priority();
  request.cache_salt = record.cache_salt();
  request.skip_prefix_cache = record.skip_prefix_cache();
  options.no_archive = record.no_archive();
  options.sources = record.sources();
  options.attention_shares = record.attention_shares();
  return request;
}

}  // namespace fmaserver::service
