#include "server/openai/event_stream.h"

#include <utility>

namespace fmaserver::openai {

void EventStream::Begin() {
  if (!std::exchange(began_, true)) responder_->BeginStream(headers_);
}

// Nothing may come for minutes, while other requests are served or a long prompt is read. What is
// between here and the client would take that for a broken connection.
void EventStream::AwaitSilence() {
  silence_.Set(hall_.patience.ping, [self = shared_from_this()] {
    if (!std::exchange(self->spoke_, false) && self->responder_->idle()) {
      self->Begin();
      self->responder_->Write(": ping\n\n", [](const absl::Status&) {});
    }
    self->AwaitSilence();
  });
}

void EventStream::Write(std::string events, Responder::Written written) {
  Begin();
  spoke_ = true;
  responder_->Write(std::move(events), std::move(written));
}

void EventStream::End(std::string events) {
  Stop();
  Begin();
  responder_->Write(std::move(events), [](const absl::Status&) {});
  responder_->EndStream();
}

}  // namespace fmaserver::openai
