#include "server/rpc/generate_call.h"

#include <memory>
#include <utility>

#include "server/rpc/byte_buffer.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/to_wire.h"

namespace fmaserver {
namespace {

absl::StatusOr<GenerateRequest> ParseRequest(const grpc::ByteBuffer& bytes, const Engine& engine) {
  v1::GenerateRequest message;
  if (absl::Status status = ParseMessage(bytes, message); !status.ok()) return status;
  return FromWire(message, "default", VocabularyOf(engine));
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateCall::Start(Engine& engine,
                                                                const grpc::ByteBuffer& request) {
  absl::StatusOr<GenerateRequest> parsed = ParseRequest(request, engine);
  const int32_t samples = parsed.ok() ? parsed->n : 1;
  return Run(std::shared_ptr<GenerateCall>(new GenerateCall(engine, samples)), std::move(parsed));
}

void GenerateCall::OnPromptProgress(int64_t processed_tokens, int64_t total_tokens) {
  // A prompt that took a single step has nothing to report.
  if (!progress_sent_ && processed_tokens == total_tokens) return;
  progress_sent_ = true;
  v1::GenerateResponse response;
  response.mutable_progress()->set_processed_tokens(processed_tokens);
  response.mutable_progress()->set_total_tokens(total_tokens);
  Send(std::move(response));
}

void GenerateCall::OnPrompt(std::vector<TokenScore> tokens) {
  for (v1::TokenScores& scores : ToWireChunks(tokens, engine().tokenizer())) {
    v1::GenerateResponse response;
    *response.mutable_prompt() = std::move(scores);
    Send(std::move(response));
  }
}

void GenerateCall::OnDelta(Delta delta) {
  v1::GenerateResponse response;
  *response.mutable_delta() = ToWire(delta, engine().tokenizer());
  Send(std::move(response));
}

void GenerateCall::OnFinish(Finished finish) {
  v1::GenerateResponse response;
  *response.mutable_finished() = ToWire(finish);
  Send(std::move(response));
  if (--unfinished_ == 0) Close(absl::OkStatus());
}

// One sample's failure is the call's, so the others end too.
void GenerateCall::OnError(const absl::Status& status) { Abandon(status); }

bool GenerateCall::Merge(v1::GenerateResponse& last, const v1::GenerateResponse& next) {
  if (last.has_progress() && next.has_progress()) {
    *last.mutable_progress() = next.progress();
    return true;
  }
  if (last.has_prompt() && next.has_prompt()) {
    last.mutable_prompt()->MergeFrom(next.prompt());
    return true;
  }
  if (!last.has_delta() || !next.has_delta() || last.delta().index() != next.delta().index()) {
    return false;
  }
  v1::Delta& delta = *last.mutable_delta();
  delta.mutable_token_ids()->MergeFrom(next.delta().token_ids());
  delta.mutable_text()->append(next.delta().text());
  delta.mutable_logprobs()->MergeFrom(next.delta().logprobs());
  delta.mutable_top_logprobs()->MergeFrom(next.delta().top_logprobs());
  return true;
}

}  // namespace fmaserver
