#include "server/vllm/from_wire.h"

#include <string>
#include <string_view>
#include <utility>

#include "base/refusal.h"
#include "fma/v1/generation.pb.h"
#include "server/rpc/from_wire.h"

namespace fmaserver::vllm {
namespace {

namespace wire = ::vllm;

constexpr uint32_t kDefaultNewTokens = 20;

/// The oneof's field that is set, or null.
const char* StructuredOutput(const wire::DecodingParameters& decoding) {
  switch (decoding.structured_output_case()) {
    case wire::DecodingParameters::kJson:
      return "json";
    case wire::DecodingParameters::kRegex:
      return "regex";
    case wire::DecodingParameters::kChoice:
      return "choice";
    case wire::DecodingParameters::kGrammar:
      return "grammar";
    case wire::DecodingParameters::kJsonObject:
      return decoding.json_object() ? "json_object" : nullptr;
    case wire::DecodingParameters::kStructuralTag:
      return "structural_tag";
    case wire::DecodingParameters::STRUCTURED_OUTPUT_NOT_SET:
      return nullptr;
  }
  return nullptr;
}

absl::Status RefuseIf(bool set, std::string_view what) {
  if (!set) return absl::OkStatus();
  return Refusal(what, Words{"set"}, "unset: this server does not have it");
}

absl::Status RefuseWhatIsNotServed(const wire::GenerateRequest& message) {
  const char* structured = StructuredOutput(message.decoding());
  const wire::ResponseOptions& response = message.response();
  absl::Status status = RefuseIf(message.media_size() > 0, "media");
  status.Update(RefuseIf(!message.lora_name().empty(), "lora_name"));
  status.Update(RefuseIf(structured != nullptr,
                         Concat("decoding.", structured == nullptr ? "" : structured)));
  status.Update(RefuseIf(message.kv().has_kv_transfer_params(), "kv.kv_transfer_params"));
  status.Update(RefuseIf(message.kv().has_ec_transfer_params(), "kv.ec_transfer_params"));
  status.Update(RefuseIf(response.prompt_logprobs(), "response.prompt_logprobs"));
  status.Update(RefuseIf(response.has_prompt_candidates(), "response.prompt_candidates"));
  const wire::CandidateTokens& candidates = response.output_candidates();
  status.Update(RefuseIf(candidates.has_token_ids(), "response.output_candidates.token_ids"));
  status.Update(RefuseIf(candidates.all(), "response.output_candidates.all"));
  return status;
}

void SetSampling(const wire::GenerateRequest& message, v1::GenerateRequest& native) {
  const wire::RandomSampling& random = message.sampling();
  const wire::DecodingParameters& decoding = message.decoding();
  v1::SamplingParams& sampling = *native.mutable_sampling();
  sampling.set_temperature(message.temperature());
  if (random.top_k() != 0) sampling.set_top_k(random.top_k());
  if (random.top_p() != 0) sampling.set_top_p(random.top_p());
  if (random.min_p() != 0) sampling.set_min_p(random.min_p());
  // A seed is 64 bits here, whatever they stand for.
  if (random.has_seed()) sampling.set_seed(static_cast<uint64_t>(random.seed()));
  if (decoding.repetition_penalty() != 0) {
    sampling.set_repetition_penalty(decoding.repetition_penalty());
  }
  sampling.set_presence_penalty(decoding.presence_penalty());
  sampling.set_frequency_penalty(decoding.frequency_penalty());
  sampling.mutable_logit_bias()->insert(decoding.logit_bias().begin(), decoding.logit_bias().end());
  *sampling.mutable_allowed_token_ids() = decoding.allowed_token_ids();
  if (random.num_sequences() != 0) native.set_n(random.num_sequences());
}

void SetStopping(const wire::StoppingCriteria& stopping, v1::GenerateRequest& native) {
  native.set_max_tokens(stopping.max_new_tokens() != 0 ? stopping.max_new_tokens()
                                                       : kDefaultNewTokens);
  native.set_min_tokens(stopping.min_new_tokens());
  *native.mutable_stop_token_ids() = stopping.stop_token_ids();
  *native.mutable_stop() = stopping.stop_strings();
  native.set_include_stop(stopping.include_stop_strings());
  native.set_ignore_eos(stopping.ignore_eos());
}

Wanted SetResponse(const wire::GenerateRequest& message, v1::GenerateRequest& native) {
  const wire::ResponseOptions& response = message.response();
  native.set_logprobs(response.output_logprobs());
  if (response.output_logprobs()) native.set_top_logprobs(response.output_candidates().top_n());
  Wanted wanted{.text = !response.has_output_text() || response.output_text(),
                .token_ids = response.output_token_ids(),
                .prompt_token_ids = response.prompt_token_ids()};
  if (native.has_token_ids()) wanted.prompt_tokens = native.token_ids().ids_size();
  native.set_echo(!wanted.prompt_tokens.has_value() || wanted.prompt_token_ids);
  return wanted;
}

absl::Status SetPrompt(wire::GenerateRequest& message, v1::GenerateRequest& native) {
  const auto most = static_cast<int64_t>(message.truncate_prompt_tokens());
  if (message.has_text()) {
    native.set_allocated_text(message.release_text());
    if (most == 0) return absl::OkStatus();
    return Refusal("truncate_prompt_tokens", most,
                   "0 with text; a number of tokens with token_ids");
  }
  if (!message.has_token_ids()) return absl::OkStatus();
  auto& ids = *native.mutable_token_ids()->mutable_ids();
  ids.Swap(message.mutable_token_ids()->mutable_ids());
  if (most > 0 && ids.size() > most) ids.erase(ids.begin(), ids.end() - most);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Request> FromWire(wire::GenerateRequest message,
                                 const service::Vocabulary& vocabulary) {
  absl::Status status = RefuseWhatIsNotServed(message);
  v1::GenerateRequest native;
  if (status.ok()) status = SetPrompt(message, native);
  if (!status.ok()) return status;
  SetSampling(message, native);
  SetStopping(message.stopping(), native);
  native.set_priority(message.priority());
  native.set_cache_salt(message.kv().cache_salt());
  native.set_skip_prefix_cache(message.kv().bypass_prefix_cache());
  const Wanted wanted = SetResponse(message, native);
  auto request = rpc::FromWire(std::move(native), vocabulary);
  if (!request.ok()) return request.status();
  return Request{.generate = *std::move(request), .wanted = wanted};
}

}  // namespace fmaserver::vllm
