#include "server/rpc/score_call.h"

#include <memory>
#include <utility>

#include "server/rpc/byte_buffer.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/to_wire.h"

namespace fmaserver::rpc {
namespace {

absl::StatusOr<engine::ScoreRequest> ParseRequest(const grpc::ByteBuffer& bytes,
                                                  const engine::Engine& engine) {
  v1::ScoreRequest message;
  if (absl::Status status = ParseMessage(bytes, message); !status.ok()) return status;
  return FromWire(message, VocabularyOf(engine));
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* ScoreCall::Start(const Services& services,
                                                             std::shared_ptr<Call> record,
                                                             const grpc::ByteBuffer& request) {
  const std::shared_ptr<ScoreCall> call(new ScoreCall(services.engine, std::move(record)));
  auto* reactor = Open(call);
  if (!call->call_->admission().ok()) {
    call->Close(call->call_->admission());
    return reactor;
  }
  auto parsed = ParseRequest(request, services.engine);
  if (parsed.ok()) {
    const absl::Status status = call->call_->Take(*parsed);
    if (!status.ok()) parsed = status;
  }
  Submit(call, std::move(parsed));
  return reactor;
}

void ScoreCall::OnScores(std::vector<engine::TokenScore> scores) {
  for (const engine::TokenScore& score : scores) {
    if (!score.logprob.has_value()) continue;
    ++scored_tokens_;
    total_logprob_ += *score.logprob;
  }
  for (v1::TokenScores& chunk : ToWireChunks(scores, engine().tokenizer())) {
    v1::ScoreResponse response;
    *response.mutable_scores() = std::move(chunk);
    Send(std::move(response));
  }
}

void ScoreCall::OnFinish(const engine::Usage& usage) {
  call_->SetUsage(usage);
  v1::ScoreResponse response;
  v1::ScoreSummary& summary = *response.mutable_summary();
  summary.set_scored_tokens(scored_tokens_);
  summary.set_total_logprob(total_logprob_);
  summary.set_seconds(usage.queue_seconds + usage.prefill_seconds + usage.decode_seconds);
  Send(std::move(response));
  Close(absl::OkStatus());
}

void ScoreCall::OnError(const absl::Status& status) { Close(status); }

bool ScoreCall::Merge(v1::ScoreResponse& last, const v1::ScoreResponse& next) {
  if (!last.has_scores() || !next.has_scores()) return false;
  last.mutable_scores()->MergeFrom(next.scores());
  return true;
}

}  // namespace fmaserver::rpc
