#include "server/openai/response_answer.h"

#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/id.h"
#include "base/text.h"
#include "server/openai/errors.h"
#include "server/openai/ignored_fields.h"

namespace fmaserver::openai {

using service::GenerateEvent;

void ResponseAnswer::Start(Hall& hall, GenerateJob job, Request request,
                           std::shared_ptr<Responder> responder) {
  const std::shared_ptr<ResponseAnswer> answer(
      new ResponseAnswer(hall, std::move(job), std::move(request), std::move(responder)));
  if (answer->stream_ != nullptr) answer->stream_->AwaitSilence();
  answer->responder_->OnGone([answer] { answer->Leave(); });
  if (!answer->over_) answer->StartCall();
}

ResponseAnswer::ResponseAnswer(Hall& hall, GenerateJob job, Request request,
                               std::shared_ptr<Responder> responder)
    : hall_(hall),
      job_(std::move(job)),
      request_(std::move(request)),
      responder_(std::move(responder)),
      form_(std::make_shared<ResponseForm>(job_, Concat("resp_", RandomId()),
                                           absl::ToUnixSeconds(absl::Now()))),
      stream_(job_.stream
                  ? std::make_shared<EventStream>(hall, responder_, IgnoredFields(job_.ignored))
                  : nullptr),
      events_(*form_) {}

void ResponseAnswer::StartCall() {
  const auto model = hall_.service.Find(job_.model, *request_.call);
  service::GenerateRequest request = std::move(job_.request);
  request.prompt = std::move(job_.prompts.front());
  const size_t bytes = service::BytesOf(*request.prompt.messages);
  const auto note = [form = form_](const service::Answered& answered) {
    return TextOf(form->Finished(answered));
  };
  request.branch = {.parent = job_.response.previous,
                    .child = job_.response.store ? form_->id() : std::string(),
                    .note = note};
  generation_ = service::Generation::Start(
      hall_.service, model, request_.call,
      std::make_shared<LoopWire<GenerateEvent>>(hall_.loop, shared_from_this(), 0), bytes,
      [request = std::move(request)]() mutable { return std::move(request); });
}

void ResponseAnswer::OnEvent(size_t /*call*/, GenerateEvent event) {
  if (over_) return Acknowledge(absl::CancelledError("the answer is over"));
  Show(std::move(event));
  if (unsent_.empty()) return Acknowledge(absl::OkStatus());
  stream_->Write(
      std::exchange(unsent_, {}),
      [self = shared_from_this()](const absl::Status& status) { self->Acknowledge(status); });
}

void ResponseAnswer::Show(GenerateEvent event) {
  if (const auto* delta = std::get_if<engine::Delta>(&event)) {
    ShowText(delta->text);
  } else if (auto* finished = std::get_if<service::GenerationFinished>(&event)) {
    ShowText(finished->end.text);
    if (finished->answered.has_value()) answered_ = *std::move(finished->answered);
  }
}

void ResponseAnswer::ShowText(const std::string& text) {
  if (stream_ != nullptr && !text.empty()) unsent_ += events_.Delta(text);
}

void ResponseAnswer::Acknowledge(const absl::Status& status) {
  // Held, because what it does may be its end.
  if (const auto generation = generation_) generation->OnWritten(status);
}

void ResponseAnswer::OnEnd(size_t /*call*/, const absl::Status& status) {
  generation_.reset();
  if (std::exchange(over_, true)) return;
  status.ok() ? Complete() : Fail(status);
}

void ResponseAnswer::Leave() {
  over_ = true;
  if (stream_ != nullptr) stream_->Stop();
  if (const auto generation = generation_) {
    generation->OnCancel(absl::CancelledError("the client went away"));
  }
}

// Of what is longer, others would notice the time. It is sent even when too much waits already,
// because it may be kept.
void ResponseAnswer::Complete() {
  auto write = [self = shared_from_this()]() mutable {
    std::string bytes = self->stream_ == nullptr ? TextOf(self->form_->Finished(self->answered_))
                                                 : self->events_.Finished(self->answered_);
    Loop& loop = self->hall_.loop;
    loop.Post([self = std::move(self), bytes = std::move(bytes)]() mutable {
      self->Send(std::move(bytes));
    });
  };
  if (!hall_.service.Read(answered_.text.size(), write).ok()) write();
}

void ResponseAnswer::Send(std::string whole_or_events) {
  if (stream_ != nullptr) return stream_->End(std::move(whole_or_events));
  responder_->Answer({.body = std::move(whole_or_events), .headers = IgnoredFields(job_.ignored)});
}

void ResponseAnswer::Fail(const absl::Status& status) {
  if (stream_ != nullptr && stream_->began()) return stream_->End(events_.Failed(status));
  if (stream_ != nullptr) stream_->Stop();
  responder_->Answer(ErrorResponse(status));
}

}  // namespace fmaserver::openai
