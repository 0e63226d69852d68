#include "server/openai/read_job.h"

#include <utility>

#include "base/json.h"
#include "base/refusal.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "server/openai/value.h"

namespace fmaserver::openai {
namespace {

/// What both kinds of requests have to agree with themselves about.
absl::Status CompleteBoth(GenerateJob& job) {
  engine::GenerateRequest& options = job.request.options;
  options.logprobs = job.logprobs;
  options.top_logprobs = job.top_logprobs;
  // Whoever asks how likely tokens were asks about the last one, too.
  options.include_eos = job.logprobs;
  options.echo = job.return_token_ids;
  // Before there is room for the choices.
  if (options.n < 1 || options.n > engine::kMaxSamples) {
    return Refusal("n", options.n, FromTo(1, engine::kMaxSamples));
  }
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

absl::StatusOr<Addressed> ParseAddressed(const service::Service& service, const Request& request) {
  auto body = ParseBody(request.body);
  if (!body.ok()) return body.status();
  const auto name = ModelOf(*body);
  if (!name.ok()) return name.status();
  auto model = service.Find(*name, *request.call);
  if (!model.ok()) return model.status();
  return Addressed{*std::move(body), *std::move(model)};
}

absl::StatusOr<GenerateJob> ReadJob(const nlohmann::json& body, bool chat,
                                    const service::Vocabulary& vocabulary) {
  GenerateJob job;
  job.chat = chat;
  job.vocabulary = vocabulary;
  job.request.options.sampling = service::DefaultSampling(vocabulary);
  absl::Status status = chat ? ReadChat(body, job) : ReadCompletion(body, job);
  if (status.ok()) status = CompleteBoth(job);
  if (!status.ok()) return status;
  return job;
}

}  // namespace fmaserver::openai
