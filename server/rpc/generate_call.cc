#include "server/rpc/generate_call.h"

#include <memory>
#include <utility>

#include "server/rpc/byte_buffer.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/to_wire.h"

namespace fmaserver::rpc {

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateCall::Start(const Services& services,
                                                                std::shared_ptr<Call> record,
                                                                const grpc::ByteBuffer& request) {
  const std::shared_ptr<GenerateCall> call(new GenerateCall(services, std::move(record)));
  auto* reactor = Open(call);
  if (!call->call_->admission().ok()) {
    call->Close(call->call_->admission());
    return reactor;
  }
  v1::GenerateRequest message;
  if (absl::Status status = ParseMessage(request, message); !status.ok()) {
    call->Close(status);
    return reactor;
  }
  call->call_->KeepPrompt(message.text());
  if (!message.session_id().empty() || !message.resume_token().empty()) {
    services.workers.Run([call, message = std::move(message)] { call->BeginTurn(message); });
  } else {
    call->SubmitRequest(FromWire(message, call->call_->tenant(), VocabularyOf(services.engine)));
  }
  return reactor;
}

void GenerateCall::SubmitRequest(absl::StatusOr<engine::GenerateRequest> request) {
  if (request.ok()) {
    unfinished_ = request->n;
    const absl::Status status = call_->Take(*request);
    if (!status.ok()) request = status;
  }
  Submit(shared_from_this(), std::move(request));
}

void GenerateCall::BeginTurn(const v1::GenerateRequest& message) {
  auto turn = SessionTurn::Begin(services_.sessions, message, call_->tenant(),
                                 VocabularyOf(services_.engine));
  if (!turn.ok()) return Close(turn.status());
  turn_ = *std::move(turn);
  SubmitRequest(turn_->TakeRequest());
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

void GenerateCall::OnPrompt(std::vector<engine::TokenScore> tokens) {
  for (v1::TokenScores& scores : ToWireChunks(tokens, engine().tokenizer())) {
    v1::GenerateResponse response;
    *response.mutable_prompt() = std::move(scores);
    Send(std::move(response));
  }
}

void GenerateCall::OnDelta(engine::Delta delta) {
  call_->AddGenerated(static_cast<int64_t>(delta.tokens.size()));
  v1::GenerateResponse response;
  *response.mutable_delta() = ToWire(delta, engine().tokenizer());
  Send(std::move(response));
}

void GenerateCall::OnState(engine::SnapshotPtr state) { turn_->AddPoint(std::move(state)); }

void GenerateCall::OnFinish(engine::Finished finish) {
  call_->SetUsage(finish.usage);
  if (turn_ != nullptr) {
    services_.workers.Run([call = shared_from_this(), finish = std::move(finish)]() mutable {
      call->CommitTurn(std::move(finish));
    });
    return;
  }
  v1::GenerateResponse response;
  *response.mutable_finished() = ToWire(finish);
  Send(std::move(response));
  if (--unfinished_ == 0) Close(absl::OkStatus());
}

// What the session holds is said only once it holds it.
void GenerateCall::CommitTurn(engine::Finished finish) {
  const auto session = turn_->Commit(std::move(finish.kept));
  turn_.reset();
  if (!session.ok()) return Close(session.status());
  v1::GenerateResponse response;
  *response.mutable_finished() = ToWire(finish);
  *response.mutable_finished()->mutable_session() = *session;
  Send(std::move(response));
  Close(absl::OkStatus());
}

void GenerateCall::OnInterrupted(engine::Kept kept, uint64_t seed) {
  services_.workers.Run([call = shared_from_this(), kept = std::move(kept), seed]() mutable {
    call->InterruptTurn(std::move(kept), seed);
  });
}

void GenerateCall::InterruptTurn(engine::Kept kept, uint64_t seed) {
  const auto token = turn_->Interrupt(std::move(kept), seed);
  turn_.reset();
  if (!token.ok()) return Close(token.status());
  v1::GenerateResponse response;
  response.mutable_interrupted()->set_resume_token(*token);
  Send(std::move(response));
  Close(absl::UnavailableError("the server shuts down; go on elsewhere with the resume token"));
}

// One sample's failure is the call's, so the others end too.
void GenerateCall::OnError(const absl::Status& status) {
  turn_.reset();
  Abandon(status);
}

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

}  // namespace fmaserver::rpc
