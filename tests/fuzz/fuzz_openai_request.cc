#include "model_loader/tokenizer.h"
#include "server/openai/read_job.h"
#include "server/openai/response_request.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

namespace {

const fmaserver::service::Vocabulary& Bytes() {
  static const fmaserver::service::Vocabulary vocabulary{
      .tokenizer = fmaserver::model::MakeByteTokenizer(256), .size = 256};
  return vocabulary;
}

void RequireSound(const fmaserver::openai::GenerateJob& job) {
  Require(!job.prompts.empty());
  Require(job.samples() >= 1 && job.samples() <= fmaserver::engine::kMaxSamples);
  Require(!job.echo || job.echoes.size() == job.prompts.size());
  for (const fmaserver::service::Input& prompt : job.prompts) {
    Require(!prompt.empty());
    if (!prompt.ids.has_value()) continue;
    for (const int32_t id : *prompt.ids) Require(id >= 0 && id < 256);
  }
}

}  // namespace

/// The body of a completion, of a chat or of a response, whichever it can be.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto body = fmaserver::openai::ParseBody(fmaserver::AsText(data, size));
  if (!body.ok()) return 0;
  (void)fmaserver::openai::ModelOf(*body);
  for (const bool chat : {false, true}) {
    const auto job = fmaserver::openai::ReadJob(*body, chat, Bytes());
    if (job.ok()) RequireSound(*job);
  }
  auto response = fmaserver::openai::ReadResponse(*body, Bytes());
  if (!response.ok()) return 0;
  RequireSound(*response);
  const size_t messages = response->prompts.front().messages->size();
  fmaserver::openai::ApplyInstructions("Be kind.", *response);
  Require(response->response.instructions.has_value());
  const size_t more = response->response.instructions == "Be kind." ? 0 : 1;
  Require(response->prompts.front().messages->size() == messages + more);
  return 0;
}
