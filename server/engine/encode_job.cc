#include "server/engine/encode_job.h"

#include <optional>
#include <utility>

namespace fmaserver::engine {

EncodeJob::EncodeJob(RequestId id, EncodeRequest request, std::shared_ptr<EncodeSink> sink,
                     EngineObserver& observer)
    : id_(id),
      request_(std::move(request)),
      sink_(std::move(sink)),
      observer_(observer),
      tokens_(request_.Tokens()),
      times_(Clock::now()),
      tokens_left_(tokens_),
      unfinished_(std::ssize(request_.texts)) {}

bool EncodeJob::Report(EncodedText text) {
  tokens_left_ -= text.tokens;
  sink_->OnEncoded(std::move(text));
  if (--unfinished_ > 0) return true;
  const Usage usage = CurrentUsage();
  ReportEnd(absl::StatusCode::kOk, usage);
  sink_->OnFinish(usage);
  return false;
}

void EncodeJob::Fail(const absl::Status& status) {
  const Usage usage = CurrentUsage();
  ReportEnd(status.code(), usage);
  sink_->OnError(status, usage);
}

Usage EncodeJob::CurrentUsage() const {
  Usage usage;
  usage.prompt_tokens = tokens_;
  times_.FillIn(usage, Clock::now());
  return usage;
}

void EncodeJob::ReportEnd(absl::StatusCode code, const Usage& usage) {
  observer_.OnEnd({.code = code,
                   .reason = std::nullopt,
                   .usage = usage,
                   .end_to_end_seconds = SecondsSince(times_.arrival())});
}

}  // namespace fmaserver::engine
