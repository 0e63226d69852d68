#include "server/sessions/blob_parser.h"

#include <utility>

#include "base/id.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

BlobParser::BlobParser(const SessionModel& model, Reserve reserve)
    : model_(model), reserve_(std::move(reserve)) {
  reader_.emplace(model_.fingerprint);
}

bool BlobParser::complete() const {
  return has_session_ && parts_read_ == parts_.size() && reader_->at_start();
}

absl::Status BlobParser::Explain(const absl::Status& status) const {
  if (absl::IsResourceExhausted(status)) return status;
  const std::string where = has_session_ ? Concat("state ", parts_read_ + 1, " of ", parts_.size())
                                         : std::string("session");
  return absl::InvalidArgumentError(At("data", At(where, std::string(status.message()))));
}

absl::Status BlobParser::Write(std::string_view bytes) {
  while (status_.ok() && !bytes.empty()) {
    if (complete()) {
      status_ = Refusal("data", Words{"longer than its session"}, "nothing after the last state");
    } else if (absl::Status status = Advance(bytes); !status.ok()) {
      status_ = Explain(status);
    }
  }
  return status_;
}

absl::Status BlobParser::Advance(std::string_view& bytes) {
  absl::StatusOr<RecordReader::Event> event = reader_->Read(bytes);
  if (!event.ok()) return event.status();
  if (*event == RecordReader::Event::kHeader) {
    if (absl::Status status = has_session_ ? BeginPart() : BeginSession(); !status.ok()) {
      return status;
    }
    // An empty payload may be complete without another byte.
    event = reader_->Read(bytes);
    if (!event.ok()) return event.status();
  }
  return *event == RecordReader::Event::kDone ? EndRecord() : absl::OkStatus();
}

absl::Status BlobParser::BeginSession() {
  const internal::RecordHeader& header = reader_->header();
  absl::StatusOr<SessionContents> contents = ContentsFromHeader(header, model_);
  if (!contents.ok()) return contents.status();
  if (header.session().log_tokens() > static_cast<uint64_t>(kMaxLogTokens)) {
    return Refusal("log", Words{Concat(header.session().log_tokens(), " tokens")},
                   Concat("up to ", kMaxLogTokens));
  }
  if (header.session().has_interruption()) {
    return Refusal("interrupted turn", Words{"present"}, "none in a blob");
  }
  contents_ = *std::move(contents);
  parts_ = PartsOf(contents_.points);
  auto bytes = static_cast<int64_t>(header.payload_bytes());
  for (const PartPtr& part : parts_) bytes += part->bytes;
  if (absl::Status status = reserve_(bytes); !status.ok()) return status;
  session_payload_.resize(header.payload_bytes());
  reader_->SetPayload(std::as_writable_bytes(std::span(session_payload_)));
  return absl::OkStatus();
}

absl::Status BlobParser::BeginPart() {
  const Part& part = *parts_[parts_read_];
  absl::Status status = CheckPartHeader(reader_->header(), part);
  if (!status.ok()) return status;
  bytes_ = std::make_shared<engine::Snapshot>(part.tokens, part.bytes);
  reader_->SetPayload(bytes_->mutable_bytes());
  return absl::OkStatus();
}

absl::Status BlobParser::EndRecord() {
  if (has_session_) {
    parts_[parts_read_++]->memory = std::move(bytes_);
  } else {
    auto tail = TailFromPayload(reader_->header(), std::exchange(session_payload_, {}), model_);
    if (!tail.ok()) return tail.status();
    contents_.tail = *std::move(tail);
    has_session_ = true;
  }
  reader_.emplace(model_.fingerprint);
  return absl::OkStatus();
}

absl::StatusOr<SessionContents> BlobParser::Finish() {
  if (!status_.ok()) return status_;
  if (!complete()) {
    return Explain(absl::InvalidArgumentError("the blob ends too early"));
  }
  // The ids were the sender's choice; here they name files.
  for (const PartPtr& part : parts_) part->id = RandomId();
  return std::move(contents_);
}

}  // namespace fmaserver::sessions
