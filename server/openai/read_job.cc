#include "server/openai/read_job.h"

#include "base/json.h"
#include "base/refusal.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "server/openai/value.h"

namespace fmaserver::openai {
namespace {

/// What counts when a request does not say.
engine::SamplingParams DefaultsOf(const model::SamplingDefaults& defaults) {
  return {.temperature = defaults.temperature,
          .top_k = defaults.top_k,
          .top_p = defaults.top_p,
          .min_p = defaults.min_p,
          .repetition_penalty = defaults.repetition_penalty};
}

/// What both kinds of requests have to agree with themselves about.
absl::Status CompleteBoth(GenerateJob& job) {
  engine::GenerateRequest& options = job.request.options;
  options.logprobs = job.logprobs;
  options.top_logprobs = job.top_logprobs;
  // Whoever asks how likely tokens were asks about the last one, too.
  options.include_eos = job.logprobs;
  options.echo = job.return_token_ids;
  if (job.stream) return absl::OkStatus();
  if (job.include_usage || job.continuous_usage) {
    return Refusal("stream_options", Words{"set"}, "none, unless stream is true");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseBody(std::string_view body) {
  return ParseJsonObject(body, "body");
}

absl::StatusOr<std::string> ModelOf(const nlohmann::json& body) {
  const auto found = body.find("model");
  std::string name;
  if (found == body.end() || found->is_null()) return name;
  if (absl::Status status = Value{"model", *found}.To(name); !status.ok()) return status;
  return name;
}

absl::StatusOr<GenerateJob> ReadJob(const nlohmann::json& body, bool chat,
                                    const service::Vocabulary& vocabulary) {
  GenerateJob job;
  job.chat = chat;
  job.vocabulary = vocabulary;
  job.request.options.sampling = DefaultsOf(vocabulary.sampling);
  absl::Status status = chat ? ReadChat(body, job) : ReadCompletion(body, job);
  if (status.ok()) status = CompleteBoth(job);
  if (!status.ok()) return status;
  return job;
}

}  // namespace fmaserver::openai
